"""The store moves from server to server: a failover by Sentinels, a Cluster that moves our keys, a server killed and started again."""

import asyncio
import contextlib
import pathlib
from collections.abc import Awaitable, Callable

import pytest
from redis.exceptions import ResponseError
from store_contract import append, directive, grant, until_changed, with_store

from frontiergate.errors import NotFound, OutcomeUnknown, StoreUnavailable
from frontiergate.store.protocol import DirectiveAdded, Entry, GrantIssued, Store
from frontiergate.store.redis_server import check_master
from frontiergate.store.registry import open_store
from tests.fixtures.redis import RedisServer, cluster, eventually, sentinels


def of_sentinels(watching: list[RedisServer], parameters: str = "wait=1&timeout=500ms") -> str:
    return f"redis+sentinel://{','.join(f'127.0.0.1:{sentinel.port}' for sentinel in watching)}/gate?{parameters}"


def named(sentinel: RedisServer) -> int:
    return int(sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "gate")[1])


async def persist(question: Callable[[], Awaitable[object]], seconds: float = 20) -> object:
    """Ask until the store answers."""
    async with asyncio.timeout(seconds):
        while True:
            with contextlib.suppress(StoreUnavailable):
                return await question()
            await asyncio.sleep(0.02)


async def append_many(store: Store, count: int, at: int, event: Callable[[], object]) -> list[Entry]:
    """The entries that were acknowledged of `count` grants, `event` happening in the middle of the one with number `at`."""
    acknowledged: list[Entry] = []
    for number in range(count):
        appending = asyncio.create_task(append(store, GrantIssued(grant(f"g{number}"))))
        if number == at:
            await asyncio.sleep(0)
            event()
        try:
            acknowledged.append(await appending)
        except StoreUnavailable:
            await persist(store.position)
    return acknowledged


def check_nothing_lost(entries: list[Entry], acknowledged: list[Entry]) -> None:
    assert [entry.epoch for entry in entries] == list(range(1, len(entries) + 1)), "no gap"
    ids = [entry.change.grant.id for entry in entries if isinstance(entry.change, GrantIssued)]
    assert len(set(ids)) == len(ids), "nothing twice"
    assert [entry for entry in entries if entry in acknowledged] == acknowledged


def test_a_failover_in_mid_append_loses_nothing_acknowledged(tmp_path: pathlib.Path) -> None:
    with sentinels(tmp_path) as (data, watching):

        async def story(store: Store) -> None:
            await store.changed()
            acknowledged = await append_many(store, 60, 20, data[0].kill)
            assert len(acknowledged) >= 58
            entries = list(await store.entries(0))
            check_nothing_lost(entries, acknowledged)
            assert (await store.position()).epoch == len(entries)
            await persist(lambda: until_changed(store, True))

        with_store(lambda: open_store(of_sentinels(watching)), story)


def test_a_demoted_master_is_left_for_the_new_one(tmp_path: pathlib.Path) -> None:
    with sentinels(tmp_path) as (data, watching):

        async def story(store: Store) -> None:
            await append(store, DirectiveAdded(directive("a")))
            watching[0].call("SENTINEL", "FAILOVER", "gate")
            await asyncio.to_thread(eventually, lambda: all(named(sentinel) != data[0].port for sentinel in watching))
            assert data[0].call("ROLE")[0] == "master", "the old one does not know yet, and takes what nobody will keep"
            entry = await persist(lambda: append(store, DirectiveAdded(directive("b"))))
            assert isinstance(entry, Entry)
            assert entry.epoch == 2
            new = next(server for server in data if server.port == named(watching[0]))
            assert new.call("XLEN", "{frontiergate}:log") == 2

        with_store(lambda: open_store(of_sentinels(watching)), story)


def test_a_master_that_lost_its_replicas_is_not_believed(tmp_path: pathlib.Path) -> None:
    with sentinels(tmp_path, replicas=1) as (data, watching):

        async def story(store: Store) -> None:
            await append(store, DirectiveAdded(directive("a")))
            await store.position()
            data[1].kill()
            await asyncio.to_thread(eventually, lambda: data[0].call("INFO", "replication")["connected_slaves"] == 0)
            with pytest.raises(StoreUnavailable, match=r"in touch with 0 replicas of the 1 .* may have been replaced; bring them back"):
                await store.position()
            with pytest.raises(OutcomeUnknown):
                await append(store, DirectiveAdded(directive("b")))

        with_store(lambda: open_store(of_sentinels(watching)), story)


@pytest.mark.parametrize(
    ("replicas", "believed"),
    [
        (["state=online,offset=1,lag=0", "state=online,offset=1,lag=3"], 2),
        (["state=online,offset=1,lag=4", "state=online,offset=1,lag=1"], 1),
        (["state=wait_bgsave,offset=0,lag=0"], 0),
        ([], 0),
    ],
)
def test_replicas_that_were_heard_of_lately_count(replicas: list[str], believed: int) -> None:
    lines = [f"slave{number}:ip=10.0.0.{number},port=6379,{text}" for number, text in enumerate(replicas)]
    info = "\r\n".join(["# Replication", "role:master", f"connected_slaves:{len(replicas)}", *lines, "master_replid:x"]).encode()
    check_master("s", info, believed)
    with pytest.raises(StoreUnavailable, match=f"in touch with {believed} replicas"):
        check_master("s", info, believed + 1)


def test_the_master_is_whom_most_of_the_sentinels_name(tmp_path: pathlib.Path) -> None:
    """A Sentinel that is cut off from the others does not hear of a failover."""
    with contextlib.ExitStack() as stack:
        old, new = (stack.enter_context(RedisServer(tmp_path / name)) for name in ("old", "new"))
        watching = []
        for number, master in enumerate((old, new, new)):
            path = tmp_path / f"sentinel{number}.conf"
            path.write_text(f"sentinel monitor gate 127.0.0.1 {master.port} 2\n")
            sentinel = RedisServer(tmp_path / f"sentinel{number}", str(path), "--sentinel")
            sentinel._settings = {"bind": "127.0.0.1", "port": str(sentinel.port), "dir": str(sentinel.folder)}
            watching.append(stack.enter_context(sentinel))

        async def story(store: Store) -> None:
            await append(store, DirectiveAdded(directive("a")))

        with_store(lambda: open_store(of_sentinels(watching, "timeout=2s")), story)
        assert (old.call("EXISTS", "{frontiergate}:log"), new.call("EXISTS", "{frontiergate}:log")) == (0, 1)
        watching[2].kill()
        watching[1].pause()
        with_store(lambda: open_store(of_sentinels(watching[:1] + watching[2:], "timeout=2s")), lambda store: store.head())
        with pytest.raises(StoreUnavailable, match=r"no Sentinel names a master: .*cannot be reached"):
            with_store(lambda: open_store(of_sentinels(watching[2:])), story)
        wrong = of_sentinels(watching[:1], "").replace("/gate?", "/gaet?")
        with pytest.raises(StoreUnavailable, match="this Sentinel knows no master 'gaet'; correct the name"):
            with_store(lambda: open_store(wrong), story)
        watching[1].resume()


def test_sentinels_may_have_a_password_of_their_own(tmp_path: pathlib.Path) -> None:
    with RedisServer(tmp_path / "master") as master:
        path = tmp_path / "sentinel.conf"
        path.write_text(f"sentinel monitor gate 127.0.0.1 {master.port} 1\nrequirepass for-sentinels\n")
        sentinel = RedisServer(tmp_path / "sentinel", str(path), "--sentinel")
        sentinel._settings = {"bind": "127.0.0.1", "port": str(sentinel.port), "dir": str(sentinel.folder)}
        with sentinel:
            with pytest.raises(StoreUnavailable, match="it wants a password"):
                with_store(lambda: open_store(of_sentinels([sentinel], "")), lambda store: store.head())
            url = of_sentinels([sentinel], "sentinel_password_env=S")
            with_store(lambda: open_store(url, environ={"S": "for-sentinels"}), lambda store: store.head())


def test_a_cluster_that_moves_our_keys_is_followed(tmp_path: pathlib.Path) -> None:
    with cluster(tmp_path) as nodes:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
        slot = nodes[0].call("CLUSTER", "KEYSLOT", "{frontiergate}:meta")
        names = [node.call("CLUSTER", "MYID") for node in nodes]

        def owner() -> int:
            for number, node in enumerate(nodes):
                with contextlib.suppress(ResponseError):
                    node.call("EXISTS", "{frontiergate}:meta")
                    return number
            raise AssertionError

        source = owner()
        target = (source + 1) % 3

        async def story(store: Store) -> None:
            await append(store, DirectiveAdded(directive("a")))
            await store.position()
            nodes[target].call("CLUSTER", "SETSLOT", slot, "IMPORTING", names[source])
            nodes[source].call("CLUSTER", "SETSLOT", slot, "MIGRATING", names[target])
            keys = nodes[source].call("CLUSTER", "GETKEYSINSLOT", slot, 100)
            assert len(keys) >= 3
            for key in sorted(keys):
                if not key.endswith(":meta"):
                    nodes[source].call("MIGRATE", "127.0.0.1", nodes[target].port, key, 0, 1000)
            for question in (store.state, lambda: append(store, DirectiveAdded(directive("b")))):
                with pytest.raises(StoreUnavailable, match="the Cluster is moving our keys to another node"):
                    await question()
            nodes[source].call("MIGRATE", "127.0.0.1", nodes[target].port, "{frontiergate}:meta", 0, 1000)
            for node in (target, source, 3 - source - target):
                nodes[node].call("CLUSTER", "SETSLOT", slot, "NODE", names[target])
            assert (await append(store, DirectiveAdded(directive("b")))).epoch == 2
            assert owner() == target
            await until_changed(store, True)
            assert await store.head() == 2

        with_store(lambda: open_store(f"redis+cluster://{hosts}"), story)

        async def lost(store: Store) -> None:
            with pytest.raises(NotFound):
                await store.grant("x")
            nodes[target].kill()
            with pytest.raises(StoreUnavailable, match=r"no node leads to our keys: .*cannot be reached"):
                await store.head()

        with_store(lambda: open_store(f"redis+cluster://{hosts}"), lost)
        other = next(node for number, node in enumerate(nodes) if number != target)
        with pytest.raises(StoreUnavailable, match=r"with redis:// in the URL, write redis\+cluster://"):
            with_store(lambda: open_store(other.url), lost)


@pytest.mark.parametrize("at", [0, 7])
def test_what_was_acknowledged_survives_kill_9_of_the_server(tmp_path: pathlib.Path, at: int) -> None:
    with RedisServer(tmp_path) as server:

        def kill_and_start() -> None:
            server.kill()
            server.start()

        async def story(store: Store) -> None:
            acknowledged = await append_many(store, 20, at, kill_and_start)
            check_nothing_lost(list(await store.entries(0)), acknowledged)
            assert len(acknowledged) >= 19
            assert len(await store.grants()) == await store.head()

        with_store(lambda: open_store(server.url), story)
