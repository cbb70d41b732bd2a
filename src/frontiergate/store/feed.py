"""What does a flip do? A replica follows the policy log: read, compile, enforce, acknowledge (DESIGN 6; P4).

    changed? ── no ──────────────────────────────────────────────┐
       │ yes                                                     │
    position → same lineage, not behind? ── no → regressed       ├→ confirm the lease → report if due
       │ yes                                                     │
    state + entries → compile → replace the policy → enforce ────┘

The state read is the truth; the entries only say which caches and sessions it touches. A store that lost what was enforced (an
older backup, a flush, another file) never loosens a running replica: it keeps its policy and refuses gated traffic until it is
restarted, which is how an operator confirms the store as it is now.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import msgspec

from frontiergate.errors import GateError, StoreError, StoreUnavailable
from frontiergate.store import lastseen
from frontiergate.store.lease import Lease
from frontiergate.store.protocol import Entry, PolicyState, ReplicaReport, Store

P = TypeVar("P")  # the compiled policy: the feed hands it on and never looks inside

_log = logging.getLogger(__name__)
_PAGE = 1000
_WHOLE = 10_000  # entries behind, from which on forgetting every cache is cheaper than reading which ones to forget
_RETRY = 0.25  # seconds between attempts while the store is away


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """Who this process is, for its reports."""

    name: str  # host/worker-number, stable across restarts
    instance: str  # new at every start
    version: str
    config: Callable[[], str]  # short digest of the configuration in force
    live_sessions: Callable[[], int]


class _RegressionError(StoreError):
    """The store does not hold what was enforced."""


class Feed(Generic[P]):
    """One replica's policy. `policy` is replaced whole; read it anew for each decision.

    `enforce(policy, entries)` makes every live session and cache reflect it and returns how many sessions it severed; entries is
    None where what changed is not known, so that everything cached must go. `on_enforced(seconds)` is called for each entry.
    """

    policy: P

    def __init__(
        self,
        store: Store,
        compile: Callable[[PolicyState, float], P],
        enforce: Callable[[P, Sequence[Entry] | None], int],
        replica: Replica,
        *,
        lease: float,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        poll: float = 0.025,
        heartbeat: float = 1.0,
        saved: str | None = None,
        on_enforced: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._compile = compile
        self._enforce = enforce
        self._replica = replica
        self._clock = clock
        self._monotonic = monotonic
        self._poll_every = poll
        self._heartbeat = heartbeat
        self._saved = saved
        self._on_enforced = on_enforced
        self.lease = Lease(lease)
        self._state = PolicyState(0, (), ())
        self._last: Entry | None = None  # the entry at our epoch, to recognise the log by
        self._behind = True
        self._enforced_at = 0.0
        self._severed = 0
        self._report_at = 0.0  # monotonic; 0 is at once
        self._report_problem: str | None = None
        self._stopped = False

    @property
    def epoch(self) -> int:
        """The epoch that this replica enforces."""
        return self._state.epoch

    def stale(self, now: float) -> bool:
        """Whether gated traffic must be refused at this monotonic instant."""
        return self.lease.stale(now)

    async def start(self) -> None:
        """Load the first policy. StoreUnavailable where there is neither a store nor a policy saved by an earlier run."""
        asked_at = self._monotonic()
        saved = None if self._saved is None else lastseen.load(self._saved)
        try:
            await self._store.open()
            state = await self._store.state()
            last = await self._store.entries(state.epoch - 1, 1)
        except StoreUnavailable as error:
            if saved is None:
                raise
            self._adopt(saved, self._compile(saved, self._clock()))
            self._note(f"{error}; starting with the policy of epoch {saved.epoch} seen before, refusing until it is confirmed")
            return
        if saved is not None and not _continues(saved, state.lineage, state.epoch):
            _log.error("the store holds epoch %d, an earlier run enforced %d: the store is taken as it is", state.epoch, saved.epoch)
        self._adopt(state, self._compile(state, self._clock()))
        self._last = last[-1] if last else None
        await self._keep()
        await self._report()  # before anybody is admitted: who waits for all replicas must know of this one
        self.lease.confirm(asked_at)

    async def follow(self) -> None:
        """Follow the log until stopped. One task for the worker's whole life."""
        while not self._stopped:
            await self.poll()
            await asyncio.sleep(self._poll_every if self.lease.problem is None else max(self._poll_every, _RETRY))

    async def poll(self) -> None:
        """One round: at most one new policy, confirmation, and a report if one is due."""
        asked_at = self._monotonic()
        if not self.lease.regressed:
            try:
                if await self._store.changed():
                    self._behind = True
                if self._behind:
                    await self._catch_up()
                    self._behind = False
            except _RegressionError as error:
                self.lease.regress(str(error))
                _log.error("%s", error)
            except (GateError, ValueError) as error:  # ValueError: a directive that this version cannot compile
                self._behind = True
                self._note(str(error))
            else:
                if self.lease.problem is not None:
                    _log.info("the policy is confirmed again, at epoch %d", self.epoch)
                self.lease.confirm(asked_at)
        if self._monotonic() >= self._report_at and not self._stopped:
            await self._report()

    def recompile(self) -> int:
        """The configuration changed: compile the same state anew and enforce it. Returns the sessions severed."""
        self._adopt(self._state, self._compile(self._state, self._clock()))
        self._severed = self._enforce(self.policy, ())
        self._enforced_at = self._clock()
        self._report_at = 0.0
        return self._severed

    async def stop(self) -> None:
        """Leave in good order: `follow` ends, and nobody waits for this replica's acknowledgement any more."""
        self._stopped = True
        try:
            await self._store.forget_replica(self._replica.name, self._replica.instance)
        except StoreError as error:
            _log.warning("could not sign off: %s", error)

    async def _catch_up(self) -> None:
        position = await self._store.position()
        self._check(position.lineage, position.epoch)
        if position.epoch == self.epoch and position.lineage == self._state.lineage:
            return
        state = await self._store.state()
        self._check(state.lineage, state.epoch)
        entries = await self._entries_up_to(state.epoch)
        self._adopt(state, self._compile(state, self._clock()))
        self._severed = self._enforce(self.policy, entries)
        self._enforced_at = self._clock()
        for entry in entries or ():
            self._on_enforced(max(0.0, self._enforced_at - entry.at))
        if entries:
            self._last = entries[-1]
        elif entries is None:
            self._last = None
        self._report_at = 0.0
        await self._keep()

    def _check(self, lineage: str, epoch: int) -> None:
        if not _continues(self._state, lineage, epoch):
            raise _RegressionError(
                f"the store went back: epoch {self.epoch} of log {self._state.lineage} is enforced, the store holds epoch {epoch} "
                f"of log {lineage}. Refusing gated traffic; restore the newer store, or restart the gate to take this one as it is"
            )

    async def _entries_up_to(self, head: int) -> tuple[Entry, ...] | None:
        """The entries after ours up to `head`; None where the log does not reach back so far, or it is too far."""
        if head - self.epoch > _WHOLE:
            return None
        read: list[Entry] = []
        after = self.epoch if self._last is None else self.epoch - 1
        while after < head:
            page = await self._store.entries(after, _PAGE)
            if not page:
                return None
            read += page
            after = page[-1].epoch
        if self._last is not None and read and read[0].epoch == self.epoch and read.pop(0) != self._last:
            raise _RegressionError(
                f"the store's epoch {self.epoch} is not the one that is enforced: its history was replaced. Refusing gated traffic; "
                "restore the right store, or restart the gate to take this one as it is"
            )
        new = tuple(entry for entry in read if entry.epoch <= head)
        if [entry.epoch for entry in new] != list(range(self.epoch + 1, head + 1)):
            return None
        return new

    def _adopt(self, state: PolicyState, policy: P) -> None:
        self._state = state
        self.policy = policy
        self._enforced_at = self._clock()

    async def _keep(self) -> None:
        """Save the state for a restart without the store. Failing that costs nothing now, so it is logged and no more."""
        if self._saved is None:
            return
        try:
            await asyncio.to_thread(lastseen.save, self._saved, self._state)
        except StoreUnavailable as error:
            _log.error("%s", error)

    async def _report(self) -> None:
        """Acknowledge the epoch, or just be alive. A store that can be read but not written still confirms the policy."""
        try:
            await self._store.report(
                ReplicaReport(
                    name=self._replica.name,
                    instance=self._replica.instance,
                    version=self._replica.version,
                    epoch=self.epoch,
                    enforced_at=self._enforced_at,
                    heartbeat=self._clock(),
                    live_sessions=self._replica.live_sessions(),
                    severed=self._severed,
                    config=self._replica.config(),
                )
            )
        except StoreError as error:
            if str(error) != self._report_problem:
                self._report_problem = str(error)
                _log.warning("could not report: %s", error)
            self._report_at = self._monotonic() + _RETRY
        else:
            self._report_problem = None
            self._report_at = self._monotonic() + self._heartbeat

    def _note(self, problem: str) -> None:
        """Log a problem when it appears or changes, not at each attempt."""
        if problem != self.lease.problem:
            _log.error("the policy cannot be confirmed: %s", problem)
        self.lease.fail(problem)


def _continues(known: PolicyState, lineage: str, epoch: int) -> bool:
    """Whether a log at (lineage, epoch) can be `known` and what came after it."""
    return epoch >= known.epoch and (lineage == known.lineage or not known.lineage)
