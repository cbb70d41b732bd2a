"""Redis keeps the contract, on one server and in a Cluster, and says what to do when its keys are not as they should be."""

import asyncio
import contextlib
import itertools
import logging
import pathlib
import re
from collections.abc import Iterator

import pytest
from store_contract import Connect, StoreContract, append, directive, grant, key, pause, report, until_changed, with_store

from frontiergate.config.store_url import RedisUrl, read_store_url
from frontiergate.errors import StoreError, StoreUnavailable
from frontiergate.store.protocol import FORGOTTEN, DirectiveAdded, DirectiveLifted, GrantIssued, KeyCreated, ModelPaused, Position, Store
from frontiergate.store.redis import RedisStore
from frontiergate.store.registry import open_store
from tests.fixtures.redis import RedisServer, cluster

_numbers = itertools.count()


def store_at(url: str, **environ: str) -> RedisStore:
    """A store whose clock stands still: `changed` tells what was heard, and nothing else."""
    read = read_store_url(url)
    assert isinstance(read, RedisUrl)
    return RedisStore(read, environ, monotonic=lambda: 0.0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def prefix() -> str:
    return f"p{next(_numbers)}"


@pytest.fixture
def url(server: RedisServer, prefix: str) -> str:
    return f"{server.url}?prefix={prefix}"


class TestRedisKeepsTheContract(StoreContract):
    @pytest.fixture
    def connect(self, url: str) -> Connect:
        return lambda: store_at(url)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    with cluster(tmp_path_factory.mktemp("cluster")) as nodes:
        yield nodes


class TestAClusterKeepsTheContract(StoreContract):
    @pytest.fixture
    def connect(self, nodes: list[RedisServer], prefix: str) -> Connect:
        """Found from whichever node is asked first: each test's prefix lies on one of the three."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
        return lambda: store_at(f"redis+cluster://{hosts}?prefix={prefix}")


def test_all_keys_of_a_gate_are_in_one_slot(server: RedisServer, url: str, prefix: str) -> None:
    async def story(store: Store) -> None:
        await append(store, DirectiveAdded(directive("a}b{c")))
        await append(store, GrantIssued(grant("g", "https://idp.example|{x}")))
        await append(store, KeyCreated(key("k")))
        await append(store, ModelPaused(pause("m")))
        await store.report(report("w"))

    with_store(lambda: open_store(url), story)
    names = server.call("KEYS", f"{{{prefix}}}:*")
    assert len(names) == 12
    assert all(name.startswith(f"{{{prefix}}}:") for name in names)


def test_a_grant_is_looked_up_in_one_round_trip(server: RedisServer, url: str) -> None:
    async def story(store: Store) -> None:
        for name in ("a", "b", "c"):
            await append(store, GrantIssued(grant(name)))
        await store.grants_of("somebody")
        server.call("CONFIG", "RESETSTAT")
        assert len(await store.grants_of("https://idp.example|alice")) == 3
        assert "cmdstat_evalsha" in (stats := server.call("INFO", "commandstats"))
        assert stats["cmdstat_evalsha"]["calls"] == 1
        assert set(stats) - {"cmdstat_evalsha", "cmdstat_smembers", "cmdstat_hget"} <= {
            "cmdstat_config|resetstat",
            "cmdstat_info",
            "cmdstat_config",
        }

    with_store(lambda: open_store(url), story)


def test_asking_whether_something_changed_asks_nobody(server: RedisServer, url: str) -> None:
    async def story(store: Store) -> None:
        await store.changed()
        await until_changed(store, True)  # it listens by now
        server.call("CONFIG", "RESETSTAT")
        for _ in range(100):
            await store.changed()
        assert not {name for name in server.call("INFO", "commandstats") if "info" not in name and "config" not in name}

    with_store(lambda: store_at(url), story)


def test_it_is_time_to_look_at_the_latest_after_200_ms(url: str) -> None:
    now = 0.0
    read = read_store_url(url)
    assert isinstance(read, RedisUrl)

    async def story(store: Store) -> None:
        nonlocal now
        await listening(store)
        now += 0.199
        assert not await store.changed()
        now += 0.001
        assert await store.changed()
        assert not await store.changed()

    with_store(lambda: RedisStore(read, {}, monotonic=lambda: now), story)


async def listening(store: Store) -> None:
    """Returns once nothing but a message can make `changed` true."""
    await store.changed()
    await until_changed(store, True)
    await until_changed(store, False)


def test_an_append_by_another_is_heard(url: str) -> None:
    async def story(store: Store) -> None:
        await listening(store)
        other = open_store(url)
        await other.open()
        await append(other, DirectiveAdded(directive("a")))
        await until_changed(store, True)
        await other.close()

    with_store(lambda: store_at(url), story)


def test_a_server_that_is_gone_counts_as_a_change_at_once(tmp_path: pathlib.Path) -> None:
    with RedisServer(tmp_path) as server:

        async def story(store: Store) -> None:
            await listening(store)
            server.kill()
            async with asyncio.timeout(10):
                while not await store.changed():
                    with contextlib.suppress(StoreUnavailable):
                        await store.key("x")

        with_store(lambda: store_at(server.url), story)


def test_a_gap_in_hearing_counts_as_a_change(server: RedisServer, url: str) -> None:
    async def story(store: Store) -> None:
        await listening(store)
        server.call("CLIENT", "KILL", "TYPE", "pubsub")
        await until_changed(store, True)

    with_store(lambda: store_at(url), story)


def test_a_newer_layout_is_refused_by_all_that_run(server: RedisServer, url: str, prefix: str) -> None:
    async def story(store: Store) -> None:
        server.call("HSET", f"{{{prefix}}}:meta", "layout", "2")
        questions = (
            store.open,
            store.position,
            store.state,
            store.keys,
            store.grants,
            lambda: store.entries(0),
            lambda: store.directive_history("d"),
            lambda: store.grant("g"),
            lambda: store.grants_of("i|alice"),
            lambda: store.key("5ha"),
            lambda: append(store, ModelPaused(pause("m"))),
        )
        for question in questions:
            with pytest.raises(StoreUnavailable, match=r"newer Frontier Gate .layout 2; this one knows 1"):
                await question()
        await store.report(report("w"))
        assert len(await store.replicas()) == 1, "what refuses can be told all the same"

    with_store(lambda: open_store(url), story)


def test_another_programs_keys_are_refused(server: RedisServer, url: str, prefix: str) -> None:
    server.call("SET", f"{{{prefix}}}:meta", "hello")
    with pytest.raises(StoreError, match=r"another program's keys .* choose another, with .prefix=NAME"):
        with_store(lambda: open_store(url), lambda store: store.head())
    assert server.call("GET", f"{{{prefix}}}:meta") == "hello"


@pytest.mark.parametrize("lost", ["directives", "pauses"])
def test_policy_that_was_evicted_is_missed(server: RedisServer, url: str, prefix: str, lost: str) -> None:
    async def story(store: Store) -> None:
        await append(store, DirectiveAdded(directive("a")))
        await append(store, ModelPaused(pause("m")))
        server.call("DEL", f"{{{prefix}}}:{lost}")
        with pytest.raises(StoreError, match="are gone that nobody lifted"):
            await store.state()

    with_store(lambda: open_store(url), story)


def test_a_log_without_its_head_is_not_begun_anew(server: RedisServer, url: str, prefix: str) -> None:
    async def story(store: Store) -> None:
        await append(store, DirectiveAdded(directive("a")))
        server.call("DEL", f"{{{prefix}}}:meta")
        with pytest.raises(StoreError, match=r"parts of a log .* restore a backup"):
            await store.open()

    with_store(lambda: open_store(url), story)


def test_a_flushed_store_is_seen_as_what_it_is_and_not_written_to(server: RedisServer, url: str, prefix: str) -> None:
    async def story(store: Store) -> None:
        await append(store, DirectiveAdded(directive("a")))
        server.call("DEL", *server.call("KEYS", f"{{{prefix}}}:*"))
        assert await store.position() == Position("", 0)
        for question in (store.state, lambda: append(store, DirectiveAdded(directive("b")))):
            with pytest.raises(StoreUnavailable, match=r"holds no policy log any more .* restore it, or begin a new one"):
                await question()
        assert server.call("KEYS", f"{{{prefix}}}:*") == []

    with_store(lambda: open_store(url), story)


@pytest.mark.parametrize(
    ("name", "field", "question"),
    [("directives", "a", "state"), ("grants", "a", "grants"), ("keys", "sha256-of-a", "keys"), ("pauses", "m", "state")],
)
def test_a_value_edited_into_nonsense_is_named(server: RedisServer, url: str, prefix: str, name: str, field: str, question: str) -> None:
    async def story(store: Store) -> None:
        for change in (DirectiveAdded(directive("a")), GrantIssued(grant("a")), KeyCreated(key("a")), ModelPaused(pause("m"))):
            await append(store, change)
        server.call("HSET", f"{{{prefix}}}:{name}", field, "{}")
        with pytest.raises(StoreError, match=rf"store's {name.removesuffix('s')} .* is unreadable"):
            await getattr(store, question)()

    with_store(lambda: open_store(url), story)


@pytest.mark.parametrize(("field", "value"), [("at", "yesterday"), ("change", "{}"), ("other", "x")])
def test_an_entry_edited_into_nonsense_is_named(server: RedisServer, url: str, prefix: str, field: str, value: str) -> None:
    async def story(store: Store) -> None:
        server.call("XADD", f"{{{prefix}}}:log", "1-0", field, value)
        with pytest.raises(StoreError, match="log entry 1 is unreadable"):
            await store.entries(0)

    with_store(lambda: open_store(url), story)


def test_a_value_that_cannot_be_stored_is_refused(url: str) -> None:
    async def story(store: Store) -> None:
        with pytest.raises(StoreError, match="cannot be stored"):
            await store.grants_of("https://idp.example|\ud800")
        with pytest.raises(StoreError, match="cannot be stored"):
            await store.append(DirectiveAdded(directive("a")), actor="\ud800", reason="r")
        assert await store.head() == 0

    with_store(lambda: open_store(url), story)


def test_the_lineage_is_drawn_at_random(server: RedisServer, url: str, prefix: str) -> None:
    lineages = set()

    async def story(store: Store) -> None:
        lineages.add((await store.position()).lineage)

    for _ in range(2):
        with_store(lambda: open_store(url), story)
        with_store(lambda: open_store(url), story)
        server.call("DEL", *server.call("KEYS", f"{{{prefix}}}:*"))
    assert len(lineages) == 2


def test_two_gates_with_prefixes_of_their_own_share_a_server(server: RedisServer) -> None:
    async def story(store: Store) -> None:
        await append(store, DirectiveAdded(directive("a")))
        other = open_store(f"{server.url}?prefix=another-gate")
        await other.open()
        assert await other.head() == 0
        await other.close()

    with_store(lambda: open_store(f"{server.url}?prefix=one-gate"), story)


def test_a_replica_that_stopped_reporting_is_forgotten_after_an_hour(server: RedisServer, url: str, prefix: str) -> None:
    async def story(store: Store) -> None:
        await store.report(report("gone"))
        await store.report(report("silent"))
        hour = FORGOTTEN
        assert hour == 3600
        (seconds, _) = server.call("TIME")
        server.call("ZADD", f"{{{prefix}}}:replicas:seen", int(seconds) - hour - 2, "gone")
        server.call("ZADD", f"{{{prefix}}}:replicas:seen", int(seconds) - hour + 60, "silent")
        assert [r.name for r in await store.replicas()] == ["gone", "silent"], "with nobody left, all who went silent are shown"
        await store.report(report("alive"))
        assert [r.name for r in await store.replicas()] == ["alive", "silent"]

    with_store(lambda: open_store(url), story)


def test_a_history_with_entries_that_were_trimmed_is_what_is_left(server: RedisServer, url: str, prefix: str) -> None:
    async def story(store: Store) -> None:
        await append(store, DirectiveAdded(directive("a")))
        lifted = await append(store, DirectiveLifted("a"))
        server.call("XTRIM", f"{{{prefix}}}:log", "MINID", "2-0")
        assert await store.directive_history("a") == (lifted,)
        assert await store.entries(0) == (lifted,)

    with_store(lambda: open_store(url), story)


def test_the_time_of_an_entry_is_the_servers(server: RedisServer, url: str) -> None:
    async def story(store: Store) -> None:
        before, _ = server.call("TIME")
        entry = await append(store, DirectiveAdded(directive("a")))
        assert int(before) <= entry.at <= int(server.call("TIME")[0]) + 1

    with_store(lambda: open_store(url, clock=lambda: 1.0), story)


def test_a_server_that_forgot_our_scripts_is_told_them_again(server: RedisServer, url: str) -> None:
    async def story(store: Store) -> None:
        await append(store, DirectiveAdded(directive("a")))
        server.call("SCRIPT", "FLUSH")
        assert (await append(store, DirectiveAdded(directive("b")))).epoch == 2
        server.call("SCRIPT", "FLUSH")
        assert await store.grants() == ()

    with_store(lambda: open_store(url), story)


def test_many_appends_from_several_processes_are_each_made_once(url: str) -> None:
    async def main() -> None:
        stores = [open_store(url) for _ in range(4)]
        for store in stores:
            await store.open()
        names = [f"{number}-{index}" for number in range(len(stores)) for index in range(25)]
        await asyncio.gather(*(append(stores[index % 4], GrantIssued(grant(name))) for index, name in enumerate(names)))
        entries = await stores[0].entries(0)
        assert [entry.epoch for entry in entries] == list(range(1, 101))
        assert sorted(entry.change.grant.id for entry in entries) == sorted(names)
        for store in stores:
            await store.close()

    asyncio.run(main())


def test_more_operations_than_connections_wait_for_their_turn(server: RedisServer, url: str) -> None:
    async def story(store: Store) -> None:
        await append(store, GrantIssued(grant("g")))
        found = await asyncio.gather(*(store.grants_of("https://idp.example|alice") for _ in range(500)))
        assert all(len(grants) == 1 for grants in found)
        assert server.call("INFO", "clients")["connected_clients"] < 40

    with_store(lambda: open_store(url), story)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, []),
        ({"appendonly": "no"}, ["appendonly is no: .* set appendonly yes"]),
        ({"appendfsync": "everysec"}, ["appendfsync is everysec: .* set appendfsync always"]),
        ({"maxmemory-policy": "allkeys-lru"}, ["maxmemory-policy is allkeys-lru: .* set maxmemory-policy noeviction"]),
        ({"maxmemory-policy": "volatile-lru"}, []),
    ],
)
def test_what_is_at_risk_is_logged_once(
    server: RedisServer, url: str, caplog: pytest.LogCaptureFixture, settings: dict[str, str], told: list[str]
) -> None:
    usual = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}

    async def story(store: Store) -> None:
        await store.head()
        server.call("CLIENT", "KILL", "TYPE", "normal")
        await store.head()

    for name, value in (usual | settings).items():
        server.call("CONFIG", "SET", name, value)
    try:
        with caplog.at_level(logging.WARNING):
            with_store(lambda: open_store(url), story)
    finally:
        for name, value in usual.items():
            server.call("CONFIG", "SET", name, value)
    assert len(caplog.messages) == len(told)
    for message, pattern in zip(caplog.messages, told, strict=True):
        assert message.startswith(f"store {server.url}: ")
        assert re.search(pattern, message)
