"""What must not outlast a lease, step by step: requests that wait, questions that nobody answered, histories that were replaced."""

import asyncio
import contextlib
import select
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from frontiergate.config.store_url import RedisUrl, read_store_url
from frontiergate.store.protocol import DirectiveAdded, Entry, Store
from frontiergate.store.redis import RedisStore
from frontiergate.store.sqlite import SqliteStore
from tests.faults.histories import LEASE, Follower
from tests.fixtures.gate import Gate, Reply, wait_until
from tests.fixtures.partition import Partition
from tests.fixtures.redis import RedisServer
from tests.fixtures.upstream import Upstream
from tests.unit.store.store_contract import append, directive

OPEN = {"model": "gpt-open", "messages": [{"role": "user", "content": "Hi"}]}


class Jammed:
    """An upstream that takes no connections until it is told to, then all that are waiting."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._queue = []
        while True:  # until the kernel drops what comes
            waiting = socket.socket()
            self._queue.append(waiting)
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(self._listening.getsockname())
            if not select.select([], [waiting], [], 0.1)[1]:
                return

    def first_bytes(self, within: float) -> bytes:
        """What the first to send something sends, or nothing."""
        for waiting in self._queue:
            waiting.close()
        taken: list[socket.socket] = []
        try:
            while ready := select.select([self._listening, *taken], [], [], within)[0]:
                for sock in ready:
                    if sock is self._listening:
                        taken.append(sock.accept()[0])
                    elif data := sock.recv(65536):
                        return data
                    else:
                        taken.remove(sock)
                        sock.close()
            return b""
        finally:
            for sock in taken:
                sock.close()

    def close(self) -> None:
        for sock in (*self._queue, self._listening):
            sock.close()


@pytest.fixture
def jammed() -> Iterator[Jammed]:
    upstream = Jammed()
    yield upstream
    upstream.close()


def test_a_request_that_waits_for_a_connection_when_the_lease_ends_is_not_forwarded(
    jammed: Jammed, upstream: Upstream, tmp_path: Path
) -> None:
    with RedisServer(tmp_path / "redis") as server, Partition(server.port) as link:
        config = {
            "store": f"redis://127.0.0.1:{link.port}?timeout=300ms",
            "enforcement": {"lease": "500ms"},
            "limits": {"connect_timeout": "20s"},
            "upstreams": {"stub": {"url": jammed.url}},
        }
        with Gate(tmp_path / "gate", upstream, **config) as gate:
            replies: list[Reply] = []
            caller = threading.Thread(target=lambda: replies.append(gate.call(OPEN)))
            caller.start()
            wait_until(lambda: gate.metric("frontiergate_live_sessions"), lambda live: live == 1)
            link.holds()
            wait_until(lambda: gate.call({"model": "gpt-vetted"}).reason, lambda reason: reason == "gate_policy_stale")
            try:
                assert jammed.first_bytes(within=5.0) == b"", "it was forwarded by a replica that had been stale"
            finally:
                jammed.close()
                caller.join(30)
            assert [reply.reason for reply in replies] == ["gate_policy_stale"]


def test_two_gates_on_one_host_are_told_apart(upstream: Upstream, tmp_path: Path) -> None:
    """Else the report of one hides that the other does not enforce."""
    with RedisServer(tmp_path / "redis") as server, contextlib.ExitStack() as stack:
        gates = [stack.enter_context(Gate(tmp_path / name, upstream, store=server.url)) for name in ("one", "two")]
        listed = gates[0].admin("GET", "/admin/v1/replicas").json["replicas"]
        assert len({replica["name"] for replica in listed}) == 2


def run_follower(connect: Callable[[], Store], folder: Path, now: Callable[[], float], story: Callable) -> None:
    async def main() -> None:
        follower = Follower("r", connect, folder, now)
        try:
            await story(follower)
        finally:
            await follower.close()

    asyncio.run(main())


def test_a_lease_begins_with_a_question_that_was_answered(tmp_path: Path) -> None:
    now = 1000.0

    async def story(follower: Follower) -> None:
        nonlocal now
        assert await follower.restart()
        feed = follower.feed
        assert feed is not None
        async with asyncio.timeout(20):
            while await follower.store.changed() or not follower.store._ear.listening:  # type: ignore[attr-defined]
                await follower.store.head()
            await feed.poll()
        asked_at = now
        link.holds()
        now += 0.1  # the next look is due after 0.2 s
        await feed.poll()
        assert feed.lease.until <= asked_at + LEASE

    def connect() -> Store:
        url = read_store_url(f"redis://127.0.0.1:{link.port}?timeout=300ms")
        assert isinstance(url, RedisUrl)
        return RedisStore(url, monotonic=lambda: now)

    with RedisServer(tmp_path / "redis") as server, Partition(server.port) as link:
        run_follower(connect, tmp_path, lambda: now, story)


def test_a_replica_that_starts_without_the_store_notices_that_its_history_was_replaced(tmp_path: Path) -> None:
    """The store went back to a backup and on to the same epoch with another order, while the replica was down and could not look."""
    live, backup, away = tmp_path / "live", tmp_path / "backup", tmp_path / "away"

    async def appended(id: str) -> Entry:
        store = SqliteStore(str(live / "state.db"))
        await store.open()
        try:
            return await append(store, DirectiveAdded(directive(id)))
        finally:
            await store.close()

    async def story(follower: Follower) -> None:
        await appended("first")
        shutil.copytree(live, backup)  # nobody has it open
        await appended("undone")
        assert await follower.restart()
        assert follower.feed is not None
        assert follower.feed.epoch == 2
        await follower.close()
        shutil.rmtree(live)
        backup.rename(live)
        assert (await appended("instead")).epoch == 2
        live.rename(away)
        assert not await follower.restart(), "the store is away: what was kept is enforced, and nobody is admitted"
        assert follower.feed is not None
        away.rename(live)
        await follower.feed.poll()
        held = {stored.directive.id for stored in follower.feed.policy.directives}
        assert follower.feed.lease.regressed or held == {"first", "instead"}, f"confirmed with {held}"

    live.mkdir()
    run_follower(lambda: SqliteStore(str(live / "state.db")), tmp_path, lambda: 1000.0, story)
