"""The embedded store: one SQLite file, shared by the processes of one machine (DESIGN 6; P4, P5).

All access runs on one thread of its own, so that the event loop never waits for a disk. Readers never wait for a writer (WAL).
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from frontiergate.domain.vetting import Grant, GrantState
from frontiergate.errors import NotFound, StoreUnavailable
from frontiergate.store import tables
from frontiergate.store.connection import Watch, connect, create, identity, transaction, translated
from frontiergate.store.effects import after, check_expected
from frontiergate.store.protocol import (
    FORGOTTEN,
    Bearing,
    Change,
    Entry,
    KeyRecord,
    PolicyState,
    Position,
    ReplicaReport,
)
from frontiergate.store.rows import GRANT, KEY, REPORT, decode, encode
from frontiergate.store.schema import bring_forward, require_current, require_ours

T = TypeVar("T")
_BUSY = 2.0  # seconds that an append waits for another process's transaction; each takes milliseconds


class _Connections:
    """What the store's thread holds: `log` writes through to the disk. `reports` leaves a heartbeat to the next append's
    fsync: it is news, not a record (measured: 15 µs instead of 460 µs)."""

    def __init__(self, path: str) -> None:
        create(path)
        self.file = identity(path)
        self.log = connect(path, busy=_BUSY, synchronous="FULL", require=require_ours)
        try:
            bring_forward(self.log, path)
            self.reports = connect(path, busy=0.1, synchronous="NORMAL")
        except BaseException:
            self.log.close()
            raise

    def close(self) -> None:
        self.reports.close()
        self.log.close()


class SqliteStore:
    """`Store` in one file. Opens again by itself when the file comes back, or another is put in its place."""

    lag = 0.0

    def __init__(self, path: str, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._connections: _Connections | None = None
        self._watch = Watch(path)
        self._head: tuple[int, object] | None = None  # the last entry seen, and its epoch
        self._closed = False

    async def open(self) -> None:
        await self._read(lambda _: None)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._watch.close()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._drop)
        self._thread.shutdown(wait=False)

    async def append(self, change: Change, *, actor: str, reason: str, expect: int | None = None) -> Entry:
        def work(to: _Connections) -> Entry:
            with transaction(to.log, "IMMEDIATE"):
                require_current(to.log, self._path)
                head, before = tables.position(to.log).epoch, tables.look_up(to.log, change)
                if expect is not None:
                    check_expected(change, before, expect, head)
                entry = Entry(epoch=head + 1, at=self._clock(), actor=actor, reason=reason, change=change)
                tables.record(to.log, entry, after(entry, before))
            return entry

        return await self._run(work)

    async def head(self) -> int:
        return (await self.position()).epoch

    async def position(self) -> Position:
        return (await self.bearing()).position

    async def bearing(self) -> Bearing:
        """A file that holds another entry at the epoch than was seen there, as a backup that was written to, is of another lineage."""

        def work(to: _Connections) -> tuple[Position, object]:
            with transaction(to.log, "DEFERRED"):
                position = tables.position(to.log)
                return position, to.log.execute("SELECT at, actor, reason, change FROM log WHERE epoch = ?", (position.epoch,)).fetchone()

        position, entry = await self._read(work)
        if self._head is None or self._head[0] != position.epoch:
            self._head = position.epoch, entry
        elif self._head[1] != entry:
            position = Position(f"{position.lineage}~", position.epoch)
        return Bearing(position, self._clock())

    async def changed(self) -> bool:
        if self._closed:
            raise StoreUnavailable(f"store {self._path} is closed")
        return self._watch.moved()

    async def state(self) -> PolicyState:
        def work(to: _Connections) -> PolicyState:
            with transaction(to.log, "DEFERRED"):
                position = tables.position(to.log)
                directives, pauses = tuple(tables.directives(to.log)), tuple(tables.pauses(to.log))
            return PolicyState(position.epoch, directives, pauses, position.lineage)

        return await self._read(work)

    async def entries(self, after: int, limit: int = 1000) -> Sequence[Entry]:
        return await self._entries("epoch > ? ORDER BY epoch LIMIT ?", after, limit)

    async def directive_history(self, id: str) -> Sequence[Entry]:
        return await self._entries("subject = ? ORDER BY epoch", f"directive/{id}")

    async def grant(self, id: str) -> Grant:
        rows = await self._rows("SELECT id, body FROM grants WHERE id = ?", id)
        if not rows:
            raise NotFound(f"no grant {id!r}")
        return decode(GRANT, rows[0][1], f"grant {id}")

    async def grants_of(self, principal: str) -> tuple[Grant, ...]:
        where, live = "principal = ? AND state IN (?, ?) ORDER BY id", (GrantState.ACTIVE, GrantState.SUSPENDED)
        return await self._read(lambda to: tuple(tables.grants(to.log, where, principal, *live)))

    async def grants(self, *, after: str = "", limit: int = 100) -> Sequence[Grant]:
        return await self._read(lambda to: tuple(tables.grants(to.log, "id > ? ORDER BY id LIMIT ?", after, limit)))

    async def key(self, sha256: str) -> KeyRecord | None:
        rows = await self._rows("SELECT id, body FROM keys WHERE sha256 = ?", sha256)
        return decode(KEY, rows[0][1], f"key {rows[0][0]}") if rows else None

    async def keys(self) -> Sequence[KeyRecord]:
        return await self._read(lambda to: tuple(tables.keys(to.log)))

    async def report(self, report: ReplicaReport) -> None:
        def work(to: _Connections) -> None:
            to.reports.execute("INSERT OR REPLACE INTO replicas VALUES (?, ?, ?)", (report.name, report.instance, encode(report)))
            old = "DELETE FROM replicas WHERE json_extract(CAST(body AS TEXT), '$.heartbeat') < ?"
            to.reports.execute(old, (report.heartbeat - FORGOTTEN,))  # 10 µs where there is none

        await self._run(work)

    async def forget_replica(self, name: str, instance: str) -> None:
        query = "DELETE FROM replicas WHERE name = ? AND instance = ?"
        await self._run(lambda to: to.reports.execute(query, (name, instance)))

    async def replicas(self) -> Sequence[ReplicaReport]:
        rows = await self._rows("SELECT name, body FROM replicas ORDER BY name")
        return tuple(decode(REPORT, body, f"report of replica {name}") for name, body in rows)

    async def _entries(self, where: str, *values: str | int) -> Sequence[Entry]:
        return await self._read(lambda to: tuple(tables.entries(to.log, where, *values)))

    async def _rows(self, query: str, *values: str | int) -> list[tuple[Any, ...]]:
        return await self._read(lambda to: to.log.execute(query, values).fetchall())

    async def _read(self, work: Callable[[_Connections], T]) -> T:
        """As `_run`, if the layout is ours after it: it only ever goes forward, so it was before."""

        def checked(to: _Connections) -> T:
            found = work(to)
            require_current(to.log, self._path)
            return found

        return await self._run(checked)

    async def _run(self, work: Callable[[_Connections], T]) -> T:
        """`work` on the store's thread, with open connections, its errors translated."""
        if self._closed:
            raise StoreUnavailable(f"store {self._path} is closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._connected, work)

    def _connected(self, work: Callable[[_Connections], T]) -> T:
        with translated(self._path):
            if self._connections is not None and self._connections.file != identity(self._path):
                self._drop()
            if self._connections is None:
                self._connections = _Connections(self._path)
            try:
                return work(self._connections)
            except StoreUnavailable:  # of another layout: whoever opens it next looks what can be done
                self._drop()
                raise

    def _drop(self) -> None:
        if self._connections is not None:
            self._connections.close()
            self._connections = None
