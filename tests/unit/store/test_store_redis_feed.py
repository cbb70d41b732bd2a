"""A replica that follows Redis: told at once, never loosened by a store that lost what was enforced, refusing where it cannot ask."""

import asyncio
import pathlib
import shutil
from collections.abc import Awaitable, Callable, Iterator, Sequence

import pytest
from store_contract import append, directive

from frontiergate.store.feed import Feed
from frontiergate.store.protocol import DirectiveAdded, Entry, PolicyState, Store
from frontiergate.store.registry import open_store
from frontiergate.store.reporter import Replica
from tests.fixtures.redis import RedisServer

Policy = tuple[int, tuple[str, ...]]


class Bench:
    """A store, and a feed with a store of its own that has enforced the directives `a` and `b` by the time a test's story begins."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.backup = server.folder.with_name("backup")  # of the server's files at epoch 1
        self.ticks = 50.0
        replica = Replica(name="host/1", instance="i1", version="0.1.0", config=lambda: "c", live_sessions=lambda: 0)
        self.store, self.followed = (open_store(f"{server.url}?timeout=500ms") for _ in range(2))
        self.feed: Feed[Policy] = Feed(
            self.followed, self.compile, self.take, self.enforce, replica, lease=5.0, monotonic=lambda: self.ticks
        )

    async def compile(self, state: PolicyState) -> Policy:
        return state.epoch, tuple(stored.directive.id for stored in state.directives)

    def take(self, policy: Policy, entries: Sequence[Entry] | None) -> None: ...

    async def enforce(self) -> int:
        return 0

    def play(self, story: Callable[["Bench"], Awaitable[None]]) -> None:
        async def main() -> None:
            await self.store.open()
            try:
                await append(self.store, DirectiveAdded(directive("a")))
                shutil.copytree(self.server.folder, self.backup)
                await self.feed.start()
                await append(self.store, DirectiveAdded(directive("b")))
                await self.until(lambda: self.feed.policy == (2, ("a", "b")))
                await story(self)
            finally:
                await self.feed.stop()
                await self.store.close()
                await self.followed.close()

        asyncio.run(main())

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await self.feed.poll()

    async def refuses_for_good(self, problem: str) -> None:
        await self.until(lambda: self.feed.lease.regressed)
        assert problem in (self.feed.lease.problem or "")
        assert self.feed.stale(self.ticks)
        assert self.feed.policy == (2, ("a", "b")), "what was enforced stays in force"

    async def other_appends(self, names: str) -> None:
        """Somebody who does not know what was lost."""
        other: Store = open_store(self.server.url)
        await other.open()
        for name in names:
            await append(other, DirectiveAdded(directive(name)))
        await other.close()

    def restore_backup(self) -> None:
        self.server.kill()
        shutil.rmtree(self.server.folder)
        shutil.copytree(self.backup, self.server.folder)
        self.server.start()


@pytest.fixture
def bench(tmp_path: pathlib.Path) -> Iterator[Bench]:
    with RedisServer(tmp_path / "redis") as server:
        yield Bench(server)


def test_a_flushed_store_is_not_believed(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        bench.server.call("FLUSHALL")
        await bench.refuses_for_good("the store went back: epoch 2 of log")

    bench.play(story)


def test_another_log_in_its_place_is_not_believed_however_long_it_is(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        bench.server.call("FLUSHALL")
        await bench.other_appends("vwxyz")
        await bench.refuses_for_good("the store holds epoch 5 of log")

    bench.play(story)


@pytest.mark.parametrize(
    ("afterwards", "problem"),
    [("", "the store holds epoch 1 of log"), ("x", "the store holds epoch 2 of log"), ("xy", "its history was replaced")],
    ids=["behind", "level", "ahead"],
)
def test_an_older_backup_is_not_believed_whatever_came_after_it(bench: Bench, afterwards: str, problem: str) -> None:
    """A replica that was promoted without the last append looks like that, too."""

    async def story(bench: Bench) -> None:
        bench.restore_backup()
        await bench.other_appends(afterwards)
        await bench.refuses_for_good(problem)

    bench.play(story)


def test_a_store_that_hangs_ends_the_lease_and_one_that_is_back_begins_it_again(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        bench.server.pause()
        await bench.until(lambda: bench.feed.lease.problem is not None)
        assert "does not answer in time" in (bench.feed.lease.problem or "")
        assert not bench.feed.stale(bench.ticks)
        bench.ticks += 5.1
        await bench.feed.poll()
        assert bench.feed.stale(bench.ticks)
        bench.server.resume()
        await bench.until(lambda: bench.feed.lease.problem is None)
        assert not bench.feed.stale(bench.ticks)
        assert bench.feed.policy == (2, ("a", "b"))

    try:
        bench.play(story)
    finally:
        bench.server.resume()


def test_a_store_that_is_killed_and_comes_back_with_all_it_acknowledged_is_believed(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        bench.server.kill()
        await bench.until(lambda: bench.feed.lease.problem is not None)
        bench.server.start()
        await append(bench.store, DirectiveAdded(directive("c")))
        await bench.until(lambda: bench.feed.policy == (3, ("a", "b", "c")))
        assert bench.feed.lease.problem is None

    bench.play(story)


def test_a_log_trimmed_past_a_sleeping_replica_is_loaded_whole(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        await append(bench.store, DirectiveAdded(directive("c")))
        await append(bench.store, DirectiveAdded(directive("d")))
        bench.server.call("XTRIM", "{frontiergate}:log", "MINID", "4-0")
        await bench.until(lambda: bench.feed.policy == (4, ("a", "b", "c", "d")))

    bench.play(story)
