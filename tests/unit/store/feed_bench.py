"""A feed on a real store in a file, with clocks that stand still."""

import asyncio
import os
import pathlib
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Sequence

from frontiergate.store.feed import Feed
from frontiergate.store.protocol import Entry, PolicyState, ReplicaReport, Store
from frontiergate.store.reporter import Replica
from frontiergate.store.sqlite import SqliteStore

Policy = tuple[int, tuple[str, ...]]


class Bench:
    """A store, a feed on it, clocks that stand still, and what the feed asked to be enforced."""

    def __init__(self, folder: pathlib.Path, *, saved: bool = False) -> None:
        self.path = str(folder / "state.db")
        self.saved = str(folder / "last-seen.json") if saved else None
        self.now = 1000.0
        self.ticks = 50.0
        self.taken: list[tuple[Policy, list[int] | None]] = []
        self.states: list[PolicyState] = []  # that were to be compiled
        self.passes = 0
        self.enforcing = asyncio.Event()  # a pass over the live sessions has begun
        self.held: asyncio.Event | None = None  # what such a pass waits for
        self.delays: list[float] = []
        self.sessions_hit = 0
        self.told: Callable[[], object] = lambda: None
        self.unreadable: Exception | None = None
        self.skew = 5.0  # as configured
        self.ahead = 0.0  # seconds that this host's clock is ahead of the store's
        self.open()

    def open(self, store: Store | None = None) -> None:
        self.store = store or SqliteStore(self.path, clock=lambda: self.now)
        self.feed: Feed[Policy] = Feed(
            self.store,
            self.compile,
            self.take,
            self.enforce,
            Replica(name="host/1", instance="i1", version="0.1.0", config=lambda: "c0ffee", live_sessions=lambda: 7),
            lease=5.0,
            clock_skew=self.skew,
            clock=lambda: self.now + self.ahead,
            monotonic=lambda: self.ticks,
            saved=self.saved,
            on_enforced=self.delays.append,
        )

    async def compile(self, state: PolicyState) -> Policy:
        await asyncio.sleep(0)
        self.states.append(state)
        if self.unreadable is not None:
            raise self.unreadable
        return state.epoch, tuple(stored.directive.id for stored in state.directives)

    def take(self, policy: Policy, entries: Sequence[Entry] | None) -> None:
        self.taken.append((policy, None if entries is None else [entry.epoch for entry in entries]))

    async def enforce(self) -> int:
        self.enforcing.set()
        if self.held is not None:
            await self.held.wait()
        self.passes += 1
        self.told()
        return self.sessions_hit

    async def replica(self) -> ReplicaReport:
        (report,) = await self.store.replicas()
        return report

    def remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            pathlib.Path(self.path + suffix).unlink(missing_ok=True)

    def put(self, other: str) -> None:
        """Another file in the place of the store's."""
        self.remove()
        shutil.copy(other, self.path)

    def back_up(self, name: str = "backup") -> str:
        """A copy of the store as it is."""
        copy = f"{self.path}.{name}"
        source, target = sqlite3.connect(self.path), sqlite3.connect(copy)
        source.backup(target)
        source.close()
        target.close()
        return copy

    async def restart(self) -> None:
        """The process ends, however, and starts again."""
        await self.store.close()
        self.open()
        await self.feed.start()

    def lose(self) -> None:
        """The store is away: not even a new one can be made."""
        os.rename(self.path, self.path + ".away")
        os.mkdir(self.path)

    def find(self) -> None:
        os.rmdir(self.path)
        os.rename(self.path + ".away", self.path)


Story = Callable[[Bench], Awaitable[None]]


def played(bench: Bench, story: Story) -> None:
    async def main() -> None:
        try:
            await story(bench)
        finally:
            await bench.store.close()

    asyncio.run(main())
