"""Taking a policy from the log, over directives: the first load, one directive or one grant more, and a reload of everything.

What the loop's own thread spends on it, and the longest pause that others on the loop notice: the store's thread takes the
interpreter from it too. The real store, feed and compiler; there are no sessions here (see `live`).
"""

import asyncio
import gc
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import uvloop

from bench.machine import BenchError, median
from bench.scale.apart import resident
from bench.scale.decisions import catalogue_of, grant_of, made
from bench.scale.probe import Probe
from frontiergate.domain.directive import Directive
from frontiergate.domain.groups import resolve_groups
from frontiergate.domain.policy import Policy
from frontiergate.store.compiled import Compiler
from frontiergate.store.feed import Feed
from frontiergate.store.protocol import Change, DirectiveAdded, Entry, GrantIssued, PolicyState
from frontiergate.store.reporter import Replica
from frontiergate.store.rows import encode
from frontiergate.store.sqlite import SqliteStore

_CHANGES = 40
_MODELS = 10


class _Follower:
    """A worker's feed, without the worker."""

    def __init__(self, path: Path) -> None:
        self.catalogue = catalogue_of(_MODELS)
        self.groups = resolve_groups({})
        self.compiler = Compiler()
        self.store = SqliteStore(str(path))
        replica = Replica(name="bench/0", instance="b", version="0", config=lambda: "", live_sessions=lambda: 0)
        saved = str(path.with_suffix(".seen"))
        self.feed: Feed[Policy] = Feed(self.store, self.compile, self.take, self.enforce, replica, lease=5.0, saved=saved)

    async def compile(self, state: PolicyState) -> Policy:
        return await self.compiler.compile(self.catalogue, (), self.groups, state)

    def take(self, policy: Policy, entries: Sequence[Entry] | None) -> None:
        """Nobody else is here."""

    async def enforce(self) -> int:
        return 0


def point(count: int, directory: str) -> dict[str, float]:
    """One point: ms, and KiB for the state and the policy, as a worker holds them."""
    path = Path(directory) / f"directives-{count}.db"
    directives = made(count + 2 * _CHANGES, _MODELS - 1)
    _fill(path, directives[:count])
    return uvloop.run(_point(path, directives[count:]))


def _fill(path: Path, directives: Sequence[Directive]) -> None:
    """Past the store: each append is synced, ten thousand of them would take half a minute."""
    asyncio.run(_create(path))
    now = time.time()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN")
    for epoch, directive in enumerate(directives, start=1):
        change: Change = DirectiveAdded(directive)
        subject = f"directive/{directive.id}"
        connection.execute("INSERT INTO log VALUES (?, ?, 'bench', 'bench', ?, ?)", (epoch, now, subject, encode(change)))
        connection.execute("INSERT INTO directives VALUES (?, ?, ?, 'bench', ?)", (directive.id, encode(directive), epoch, now))
    connection.execute("COMMIT")
    connection.close()


async def _create(path: Path) -> None:
    store = SqliteStore(str(path))
    await store.open()
    await store.close()


async def _point(path: Path, more: Sequence[Directive]) -> dict[str, float]:
    before = resident()
    follower = _Follower(path)
    await follower.store.open()
    found = await _measured("load", follower.feed.start)
    gc.collect()
    gc.freeze()  # as a worker does
    found["worker_kib"] = resident() - before
    appender = SqliteStore(str(path))
    await appender.open()
    try:
        granted = [GrantIssued(grant_of(f"principal-{number}", time.time())) for number in range(2 * _CHANGES)]
        for name, changes in (("change", [DirectiveAdded(directive) for directive in more]), ("grant", granted)):
            found |= await _changes(name, follower.feed, appender, changes)
        follower.groups = resolve_groups({"bench": ["US"]})  # so that nothing of the policy can be kept
        found |= await _measured("reload", follower.feed.recompile)
        return found
    finally:
        await follower.feed.stop()
        await follower.store.close()
        await appender.close()


async def _measured(name: str, work: Callable[[], Awaitable[None]]) -> dict[str, float]:
    """How long it takes, and the longest pause meanwhile."""
    async with Probe() as probe:
        began = time.perf_counter()
        await work()
        took = time.perf_counter() - began
    return {f"{name}_ms": took * 1e3, f"{name}_pause_ms": probe.longest * 1e3, f"{name}_held_ms": probe.held * 1e3}


async def _changes(name: str, feed: Feed[Policy], appender: SqliteStore, changes: Sequence[Change]) -> dict[str, float]:
    """The loop's time for each change, alone; then the longest pause while another is there to notice."""
    spent: list[float] = []
    longest: list[float] = []
    held: list[float] = []
    for number, change in enumerate(changes):
        entry = await appender.append(change, actor="bench", reason="bench")
        if number < _CHANGES:
            began = time.thread_time()
            await feed.poll()
            spent.append(time.thread_time() - began)
        else:
            async with Probe() as probe:
                await feed.poll()
            longest.append(probe.longest)
            held.append(probe.held)
        if feed.epoch != entry.epoch:
            raise BenchError(f"epoch {entry.epoch} was not taken")
    return {f"{name}_loop_ms": median(spent) * 1e3, f"{name}_pause_ms": max(longest) * 1e3, f"{name}_held_ms": max(held) * 1e3}
