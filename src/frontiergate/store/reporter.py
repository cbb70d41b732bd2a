"""What a replica says of itself: which epoch it enforces, that it is alive, and whether it refuses."""

import logging
import time
from collections import deque
from collections.abc import Callable

import msgspec

from frontiergate.errors import StoreError
from frontiergate.store.lease import Lease
from frontiergate.store.protocol import Enforced, ReplicaReport, Store
from frontiergate.store.storeclock import StoreClock

_log = logging.getLogger(__name__)
_RETRY = 0.25  # seconds
_REMEMBERED = 8  # epochs: who waits for one is told of that one, though others came since


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """Who this process is, for its reports."""

    name: str  # host/worker-number, stable across restarts
    instance: str  # new at every start
    version: str
    config: Callable[[], str]  # short digest of the configuration in force
    live_sessions: Callable[[], int]


class Reporter:
    """Reports each `heartbeat` seconds, and as soon as there is something to say."""

    def __init__(
        self,
        store: Store,
        replica: Replica,
        clock: StoreClock,
        lease: Lease,
        *,
        heartbeat: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._replica = replica
        self._clock = clock
        self._lease = lease
        self._heartbeat = heartbeat
        self._monotonic = monotonic
        self._enforced = deque([Enforced(0, 0.0, 0)], _REMEMBERED)
        self._due_at = 0.0  # monotonic; 0 is at once
        self._said: tuple[bool, str | None] = (True, None)  # whether it is stale, and why
        self._problem: str | None = None  # in reporting

    def enforced(self, epoch: int, at: float, severed: int) -> None:
        """Every live session reflects `epoch` since `at`. To be told at once."""
        self._enforced.append(Enforced(epoch, at, severed))
        self._due_at = 0.0

    @property
    def due(self) -> bool:
        now = self._monotonic()
        return now >= self._due_at or (self._lease.stale(now), self._lease.problem) != self._said

    async def report(self, lineage: str) -> None:
        """Acknowledge the epoch, or just be alive. A store that can be read but not written still confirms the policy."""
        replica = self._replica
        self._said = stale, problem = self._lease.stale(self._monotonic()), self._lease.problem
        try:
            await self._store.report(
                ReplicaReport(
                    name=replica.name,
                    instance=replica.instance,
                    version=replica.version,
                    enforced=tuple(self._enforced),
                    heartbeat=self._clock.now(),
                    live_sessions=replica.live_sessions(),
                    config=replica.config(),
                    lineage=lineage,
                    regressed=self._lease.regressed,
                    stale=stale,
                    problem=problem or "",
                    clock_offset=self._clock.offset,
                )
            )
        except StoreError as error:
            if str(error) != self._problem:
                self._problem = str(error)
                _log.warning("could not report: %s", error)
            self._due_at = self._monotonic() + _RETRY
        else:
            self._problem = None
            self._due_at = self._monotonic() + self._heartbeat

    async def sign_off(self) -> None:
        """It stops in good order: nobody is to wait for its acknowledgement any more."""
        try:
            await self._store.forget_replica(self._replica.name, self._replica.instance)
        except StoreError as error:
            _log.warning("could not sign off: %s", error)
