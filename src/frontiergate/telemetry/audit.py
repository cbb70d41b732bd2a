"""The audit log: JSON lines, written by a thread, one file for each worker and UTC day (P5).

`write` appends to a queue in memory (0.3 µs) and the thread writes every 50 ms: a kill -9 of this process loses at most that.
`durable` gives a future that is done when its record is on disk; one fsync serves all that wait.

What cannot be written (disk full) is kept, up to a bound, and tried again; beyond it records are counted as dropped. `healthy`
is false meanwhile, so that a gate that promises strict durability refuses. Nothing written is ever cut or changed; a line that a
crash left half-written is ended when the file is opened again, and skipped by readers.
"""

import asyncio
import logging
import pathlib
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Literal

import msgspec

from frontiergate.errors import GateError, StoreUnavailable
from frontiergate.telemetry.dayfile import DayFile
from frontiergate.telemetry.records import DecisionRecord, End, EndRecord, Record, recorded_address, recorded_facts

__all__ = ["AuditLog", "DecisionRecord", "End", "EndRecord", "Record", "recorded_address", "recorded_facts"]

_log = logging.getLogger(__name__)
_INTERVAL = 0.05  # seconds between two writes
_MANY = 1000  # records that do not wait for the interval
_CHUNK = 128  # records encoded at a time; each write releases the GIL, so the loop waits for 0.1 ms at most
_SYNC = 1.0  # seconds between two fsyncs that nobody waits for


class AuditLog:
    """One worker's audit log. The constructor raises GateError where it cannot be written to at all."""

    def __init__(
        self,
        directory: str,
        worker: str,
        durability: Literal["batched", "strict"] = "batched",
        *,
        bound: int = 100_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.strict = durability == "strict"
        self.dropped = 0  # records lost since the start
        self._bound = bound
        self._directory = directory
        self._file = DayFile(pathlib.Path(directory), "decisions-" + re.sub(r"[^A-Za-z0-9_-]", "_", worker), clock)
        self._encoder = msgspec.json.Encoder()
        self._pending: deque[Record] = deque()  # its append and popleft are atomic: the queue between the two threads
        self._waiting: deque[Callable[[str | None], None]] = deque()
        self._problem: str | None = None
        self._synced_at = 0.0
        self._wake = threading.Event()
        self._closing = False
        try:
            self._file.ready()
        except OSError as error:
            raise GateError(
                f"the audit log cannot be written in {directory}: {error.strerror}; check the folder, or change audit.path"
            ) from error
        self._writer = threading.Thread(target=self._run, name="audit", daemon=True)
        self._writer.start()

    @property
    def healthy(self) -> bool:
        """Whether the last attempt to write succeeded and there is room for more."""
        return self._problem is None and len(self._pending) < self._bound

    def write(self, record: Record) -> None:
        """Keep `record` for the next write. For one thread, the loop's."""
        pending = self._pending
        waiting = len(pending)
        if waiting >= self._bound:
            self.dropped += 1
            return
        pending.append(record)
        if waiting == _MANY:
            self._wake.set()

    def durable(self, record: Record) -> asyncio.Future[None]:
        """Done once `record` is on disk. StoreUnavailable where that fails; the record is still kept and tried again."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        healthy = self.healthy
        self.write(record)
        if not healthy:
            _settle(future, self._problem or "too many records wait")
            return future

        def settled(problem: str | None) -> None:
            try:
                loop.call_soon_threadsafe(_settle, future, problem)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return

        self._waiting.append(settled)
        self._wake.set()
        return future

    def flush(self, timeout: float = 10.0) -> None:
        """Return once all that was written before is on disk, or failed to be. Blocks."""
        done = threading.Event()
        self._waiting.append(lambda _: done.set())
        self._wake.set()
        done.wait(timeout)

    def close(self) -> None:
        """Write and sync what is left, and end the thread. Blocks."""
        self._closing = True
        self._wake.set()
        self._writer.join()

    # -- on the thread

    def _run(self) -> None:
        closing = False
        while not closing:
            self._wake.wait(_INTERVAL)
            self._wake.clear()
            closing = self._closing  # read before the last turn, so that nothing comes after it
            self._turn(sync=closing)
        try:
            self._file.close()
        except OSError as error:
            _log.error("the audit log could not be closed: %s", error)
        if self._pending:
            _log.error("%d audit records could not be written", len(self._pending))

    def _turn(self, sync: bool) -> None:
        """Write all that is pending; sync if asked to, if somebody waits, or if it is time."""
        waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]  # their records were appended before them
        try:
            self._write_pending()
            if self._file.unsynced and (sync or waiting or self.strict or time.monotonic() - self._synced_at >= _SYNC):
                self._file.sync()
                self._synced_at = time.monotonic()
        except OSError as error:
            self._note(error.strerror or str(error))
        else:
            self._note(None)
        for settled in waiting:
            settled(self._problem)

    def _write_pending(self) -> None:
        self._file.ready()
        for _ in range(0, len(self._pending), _CHUNK):
            chunk = [self._pending.popleft() for _ in range(min(_CHUNK, len(self._pending)))]
            self._file.write(self._encoder.encode_lines(chunk))

    def _note(self, problem: str | None) -> None:
        """Log a problem when it appears, changes or ends, not at each attempt."""
        if problem == self._problem:
            return
        self._problem = problem
        if problem is None:
            _log.warning("the audit log is written again; %d records were lost", self.dropped)
        else:
            _log.error("the audit log cannot be written in %s: %s; keeping records meanwhile", self._directory, problem)


def _settle(future: asyncio.Future[None], problem: str | None) -> None:
    if future.done():  # cancelled: the caller went away
        return
    if problem is None:
        future.set_result(None)
    else:
        future.set_exception(StoreUnavailable(f"the audit log cannot be written: {problem}"))
