"""An append is made once or not at all; where neither can be told, that is said. Answers get lost here by a proxy in the way."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from store_contract import append, directive, grant, report, until_changed

from frontiergate.config.store_url import RedisUrl, read_store_url
from frontiergate.errors import Conflict, OutcomeUnknown, StoreError, StoreUnavailable
from frontiergate.store import redis_layout
from frontiergate.store.protocol import DirectiveAdded, Entry, GrantIssued, Position, Store
from frontiergate.store.redis import RedisStore
from frontiergate.store.redis_append import Appender
from frontiergate.store.redis_dialer import Dialer
from frontiergate.store.redis_wire import Wire
from frontiergate.store.registry import open_store
from tests.fixtures.redis import Proxy, RedisServer, eventually, in_step


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(autouse=True)
def emptied(server: RedisServer) -> None:
    """No data; and a server that knows the script, so that an append is one question and one answer."""
    server.call("FLUSHALL")
    server.call("SCRIPT", "LOAD", redis_layout.APPEND.text)


def is_append(request: bytes) -> bool:
    return b"\r\nreason\r\n" in request


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    store = open_store(url)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def behind_proxy(server: RedisServer, story: Callable[[Proxy, Store], Awaitable[None]], parameters: str = "") -> None:
    async def main() -> None:
        proxy = Proxy(server.port)
        async with proxy.running() as address, opened(f"redis://{address}?timeout=400ms{parameters}") as store:
            await story(proxy, store)

    asyncio.run(main())


def epochs(server: RedisServer) -> list[str]:
    return [entry for entry, _ in server.call("XRANGE", "{frontiergate}:log", "-", "+")]


def test_an_append_whose_answer_was_lost_is_recognised_and_not_made_twice(server: RedisServer) -> None:
    async def story(proxy: Proxy, store: Store) -> None:
        proxy.on_request = lambda request: setattr(proxy, "cut_at_answer", is_append(request))
        entry = await append(store, DirectiveAdded(directive("a")))
        assert list(await store.entries(0)) == [entry]

    behind_proxy(server, story)
    assert epochs(server) == ["1-0"]


def test_an_append_that_never_arrived_is_not_known_to_be_undone(server: RedisServer) -> None:
    async def story(proxy: Proxy, store: Store) -> None:
        proxy.on_request = lambda request: setattr(proxy, "swallow", is_append(request))
        with pytest.raises(
            OutcomeUnknown, match=r"does not answer in time.* It is not changed so far, and may yet be: look before you repeat it"
        ):
            await append(store, DirectiveAdded(directive("a")))
        proxy.on_request = lambda _: None
        proxy.swallow = False
        assert (await append(store, DirectiveAdded(directive("a")))).epoch == 1

    behind_proxy(server, story)


def test_an_append_that_another_overtook_is_known_not_to_be_made(server: RedisServer) -> None:
    overtaken: list[Entry] = []

    async def story(proxy: Proxy, store: Store) -> None:
        async with opened(server.url) as other:
            loop = asyncio.get_running_loop()
            tasks = []

            async def overtake() -> None:
                overtaken.append(await append(other, DirectiveAdded(directive("b"))))

            def swallow(request: bytes) -> None:
                proxy.swallow = is_append(request)
                if proxy.swallow:
                    tasks.append(loop.create_task(overtake()))

            proxy.on_request = swallow
            with pytest.raises(StoreUnavailable, match="Nothing was changed, somebody else's change came first; repeat it") as caught:
                await append(store, DirectiveAdded(directive("a")))
            assert not isinstance(caught.value, OutcomeUnknown)
            await asyncio.gather(*tasks)
            assert list(await store.entries(0)) == overtaken

    behind_proxy(server, story)


def test_without_anybody_to_ask_the_outcome_is_unknown(server: RedisServer) -> None:
    async def story(proxy: Proxy, store: Store) -> None:
        def hang(request: bytes) -> None:
            proxy.swallow = proxy.swallow or is_append(request)

        proxy.on_request = hang
        with pytest.raises(OutcomeUnknown, match="Whether it was changed is not known: look before you repeat it"):
            await append(store, DirectiveAdded(directive("a")))

    behind_proxy(server, story)


def test_a_repeated_change_conflicts_with_the_one_that_was_made_after_all(server: RedisServer) -> None:
    async def story(proxy: Proxy, store: Store) -> None:
        late: list[bytes] = []

        def hold(request: bytes) -> None:
            if is_append(request):
                late.append(request)
            proxy.swallow = bool(late)

        proxy.on_request = hold
        with pytest.raises(OutcomeUnknown):
            await append(store, DirectiveAdded(directive("a")))
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(late[0])  # the network delivers it at last
        assert await reader.readline() == b":1\r\n"
        writer.write(late[0])
        assert (await reader.readline()).startswith(b"*"), "a second copy finds the log moved on"
        writer.close()
        proxy.on_request = lambda _: None
        proxy.swallow = False
        with pytest.raises(Conflict, match="'a' exists"):
            await append(store, DirectiveAdded(directive("a")))

    behind_proxy(server, story)
    assert epochs(server) == ["1-0"]


def test_a_read_is_repeated_once_where_its_connection_fails(server: RedisServer) -> None:
    async def story(proxy: Proxy, store: Store) -> None:
        proxy.cut_at_answer = True
        assert await store.head() == 0
        await store.report(report("w"))
        proxy.cut_at_answer = True
        assert len(await store.replicas()) == 1

    behind_proxy(server, story)


def test_a_cancelled_append_leaves_no_answer_for_the_next_question(server: RedisServer) -> None:
    async def story(proxy: Proxy, store: Store) -> None:
        for number in range(30):
            task = asyncio.create_task(append(store, GrantIssued(grant(f"g{number}"))))
            for _ in range(number):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            assert isinstance(await store.head(), int)
            assert isinstance(await store.position(), Position)
        assert len(await store.grants()) == await store.head()

    behind_proxy(server, story)


def test_an_append_among_too_many_others_is_given_up_in_time(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def moved(*_: object) -> bool:
        return False

    async def story(proxy: Proxy, store: Store) -> None:
        monkeypatch.setattr(Appender, "_make", moved)
        with pytest.raises(StoreUnavailable, match="too many append at once; nothing was changed, repeat it"):
            await append(store, DirectiveAdded(directive("a")))

    behind_proxy(server, story)


def test_what_no_replica_confirms_is_in_force_and_not_acknowledged(server: RedisServer) -> None:
    async def main() -> None:
        async with opened(f"{server.url}?wait=1&timeout=300ms") as store:
            with pytest.raises(
                OutcomeUnknown, match=r"in force as epoch 1, but 0 of 1 replicas confirmed it within 0.3s: a failover could undo it"
            ):
                await append(store, DirectiveAdded(directive("a")))
            with pytest.raises(StoreUnavailable, match="in touch with 0 replicas of the 1 that the URL asks for"):
                await store.position()
            assert [stored.directive.id for stored in (await store.state()).directives] == ["a"]

    asyncio.run(main())


def test_what_a_replica_confirms_is_acknowledged(tmp_path_factory: pytest.TempPathFactory) -> None:
    with (
        RedisServer(tmp_path_factory.mktemp("m")) as master,
        RedisServer(tmp_path_factory.mktemp("r"), replicaof=f"127.0.0.1 {master.port}") as replica,
    ):
        eventually(lambda: in_step(master) == 1)

        async def main() -> None:
            async with opened(f"{master.url}?wait=1") as store:
                entry = await append(store, DirectiveAdded(directive("a")))
                assert replica.call("XLEN", "{frontiergate}:log") == entry.epoch == 1
                assert (await store.position()).epoch == 1

        asyncio.run(main())


def test_a_lost_answer_does_not_stand_for_a_replicas_confirmation(server: RedisServer) -> None:
    async def story(proxy: Proxy, store: Store) -> None:
        proxy.on_request = lambda request: setattr(proxy, "cut_at_answer", is_append(request))
        with pytest.raises(OutcomeUnknown, match="in force as epoch 1, but unconfirmed: a failover could undo it"):
            await append(store, DirectiveAdded(directive("a")))

    behind_proxy(server, story, "&wait=1")


def test_waiting_for_disks_needs_a_server_that_can(server: RedisServer) -> None:
    async def main() -> None:
        version = server.call("INFO", "server")
        able = "valkey_version" in version or tuple(map(int, version["redis_version"].split(".")[:2])) >= (7, 2)
        if not able:
            with pytest.raises(StoreError, match=r"waitaof needs Redis 7.2 or Valkey, with appendonly yes; else use wait"):
                async with opened(f"{server.url}?waitaof=0"):
                    pass
            return
        async with opened(f"{server.url}?waitaof=0&timeout=300ms") as store:
            assert (await append(store, DirectiveAdded(directive("a")))).epoch == 1
        async with opened(f"{server.url}?waitaof=1&timeout=300ms") as store:
            with pytest.raises(OutcomeUnknown, match="in force as epoch 2, but 0 of 1 replicas confirmed it"):
                await append(store, DirectiveAdded(directive("b")))

    asyncio.run(main())


def test_more_than_is_answered_in_time_is_refused(server: RedisServer) -> None:
    async def story(proxy: Proxy, store: Store) -> None:
        proxy.swallow = True
        asked = [asyncio.create_task(store.key("x")) for _ in range(100)]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
        assert any("more is asked of it at once" in str(outcome) for outcome in outcomes)
        proxy.swallow = False
        assert await store.key("x") is None

    behind_proxy(server, story)


def test_a_crowd_is_no_reason_to_leave_the_server(server: RedisServer) -> None:
    async def story(proxy: Proxy, store: Store) -> None:
        assert isinstance(store, RedisStore)
        wire = store._link._wire
        assert wire is not None
        for _ in range(16):
            await wire._turns.acquire()
        with pytest.raises(StoreUnavailable, match="more is asked of it at once"):
            await store.key("x")
        assert store._link._wire is wire
        wire._turns.release()
        assert await store.key("x") is None

    behind_proxy(server, story)


def test_a_connection_that_the_server_closed_is_not_used_again(server: RedisServer) -> None:
    async def main() -> None:
        url = read_store_url(server.url)
        assert isinstance(url, RedisUrl)
        wire = Wire(Dialer(url, {}), ("127.0.0.1", server.port))
        deadline = asyncio.get_running_loop().time() + 5
        await asyncio.gather(*(wire.exchange(deadline, ("PING",)) for _ in range(3)))
        server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        for connection in wire._idle:
            async with asyncio.timeout(5):
                await connection._reader.read()  # its end has come
        for _ in range(4):
            assert await wire.exchange(deadline, ("PING",)) == [b"PONG"]
        await wire.close()

    asyncio.run(main())


def test_appends_that_wait_for_one_that_hangs_are_given_up_in_time(server: RedisServer) -> None:
    async def story(proxy: Proxy, store: Store) -> None:
        proxy.swallow = True
        began = time.monotonic()
        outcomes = await asyncio.gather(*(append(store, GrantIssued(grant(f"g{n}"))) for n in range(5)), return_exceptions=True)
        assert time.monotonic() - began < 2 * 0.4 + 0.3
        assert all(isinstance(outcome, StoreUnavailable) and not isinstance(outcome, OutcomeUnknown) for outcome in outcomes)

    behind_proxy(server, story)
    assert epochs(server) == []


def test_a_subscription_that_went_dead_is_noticed_and_made_again(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody says that a connection is cut, as when a router forgets it."""
    monkeypatch.setattr("frontiergate.store.redis_ear._SILENCE", 0.05)
    monkeypatch.setattr("frontiergate.store.redis_ear._AGAIN", 0.01)

    async def story(proxy: Proxy, store: Store) -> None:
        assert isinstance(store, RedisStore)
        store._monotonic = lambda: 0.0
        subscribed: list[bytes] = []
        proxy.on_request = lambda request: subscribed.append(request) if b"SUBSCRIBE" in request else None
        await store.changed()
        await until_changed(store, True)
        await asyncio.to_thread(eventually, lambda: server.call("INFO", "commandstats")["cmdstat_ping"]["calls"] > 2)
        assert len(subscribed) == 1, "as long as it answers it is kept"
        await until_changed(store, False)
        proxy.swallow = True
        await asyncio.to_thread(eventually, lambda: len(subscribed) > 1)
        proxy.swallow = False
        await until_changed(store, True)

    behind_proxy(server, story)
