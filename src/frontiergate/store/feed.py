"""What does a flip do? A replica follows the policy log: read, compile, take, enforce, acknowledge (DESIGN 6; P4).

    changed? ── no ──────────────────────────────────────────────┐
       │ yes                                                     │
    position → same lineage, not behind? ── no → regressed       ├→ confirm the lease → report if due
       │ yes                                                     │
    entries → state → compile → take ────────────────────────────┘
                                 └→ enforce: live sessions, meanwhile; then that epoch is acknowledged

The log is the truth. What is read of it moves the state on, so that an epoch costs what it changes; the whole state is read at the
start, and where the log does not reach back to what is known. A policy that was taken decides every new request; while live sessions
are still decided again, the next one can be taken already. A store that lost what was enforced (an older backup, a flush, another
file) never loosens a running replica: it keeps its policy and refuses gated traffic until it is restarted, which is how an operator
confirms the store as it is now.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import msgspec

from frontiergate.errors import GateError, StoreError, StoreUnavailable
from frontiergate.store.lastseen import LastSeen
from frontiergate.store.lease import Lease
from frontiergate.store.protocol import Entry, PolicyState, ReplicaReport, Store
from frontiergate.store.replay import replayed

P = TypeVar("P")  # the compiled policy: the feed hands it on and never looks inside

_log = logging.getLogger(__name__)
_PAGE = 500
_WHOLE = 5_000  # entries behind, from which on reading the whole state is cheaper than what led to it
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
    """One replica's policy.

    `compile(state)` makes it, with rests in between. `take(policy, entries)` puts it in force for all that is decided from then on, at
    once; entries is None where what changed is not known, so that nothing cached can be trusted. `enforce()` decides every live session
    again and returns how many it severed. `on_enforced(seconds)` is called for each entry.
    """

    policy: P

    def __init__(
        self,
        store: Store,
        compile: Callable[[PolicyState], Awaitable[P]],
        take: Callable[[P, Sequence[Entry] | None], None],
        enforce: Callable[[], Awaitable[int]],
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
        self._take = take
        self._enforce = enforce
        self._replica = replica
        self._clock = clock
        self._monotonic = monotonic
        self._poll_every = poll
        self._heartbeat = heartbeat
        self._saved = None if saved is None else LastSeen(saved)
        self._on_enforced = on_enforced
        self.lease = Lease(lease)
        self._state = PolicyState(0, (), ())
        self._last: Entry | None = None  # the entry at our epoch, to recognise the log by
        self._behind = True
        self._taking = asyncio.Lock()  # one policy after the other
        self._taken = 0  # policies, so that one of the same epoch is told from the one before
        self._unenforced: list[Entry] = []
        self._enforcing: asyncio.Task[None] | None = None
        self._enforced = 0  # of the policies taken, the last that every live session reflects
        self._enforced_epoch = 0
        self._enforced_at = 0.0
        self._severed = 0
        self._report_at = 0.0  # monotonic; 0 is at once
        self._report_problem: str | None = None
        self._stopped = False

    @property
    def epoch(self) -> int:
        """The epoch whose policy decides here."""
        return self._state.epoch

    def stale(self, now: float) -> bool:
        """Whether gated traffic must be refused at this monotonic instant."""
        return self.lease.stale(now)

    async def start(self) -> None:
        """Load and take the first policy. StoreUnavailable where there is neither a store nor a policy saved by an earlier run."""
        asked_at = self._monotonic()
        saved = None if self._saved is None else await asyncio.to_thread(self._saved.load)
        try:
            await self._store.open()
            state = await self._store.state()
            last = await self._store.entries(state.epoch - 1, 1)
        except StoreUnavailable as error:
            if saved is None:
                raise
            await self._adopt(saved, None)
            await self._settle()
            self._note(f"{error}; starting with the policy of epoch {saved.epoch} seen before, refusing until it is confirmed")
            return
        if saved is not None and not _continues(saved, state.lineage, state.epoch):
            _log.error("the store holds epoch %d, an earlier run enforced %d: the store is taken as it is", state.epoch, saved.epoch)
        await self._adopt(state, None)
        await self._settle()
        self._last = last[-1] if last else None
        await self._keep(None)
        await self._report()  # before anybody is admitted: who waits for all replicas must know of this one
        self.lease.confirm(asked_at)

    async def follow(self) -> None:
        """Follow the log until stopped. One task for the worker's whole life."""
        while not self._stopped:
            await self.poll()
            if self._enforcing is None:
                await asyncio.sleep(self._poll_every if self.lease.problem is None else max(self._poll_every, _RETRY))

    async def poll(self) -> None:
        """One round: at most one new policy, confirmation, and a report if one is due. Enforcement that is quick is waited for."""
        asked_at = self._monotonic()
        if not self.lease.regressed:
            try:
                if await self._store.changed():
                    self._behind = True
                if self._behind:
                    async with self._taking:
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
        if self._enforcing is not None:
            await asyncio.wait({self._enforcing}, timeout=self._poll_every)
            self._reap()
        if self._monotonic() >= self._report_at and not self._stopped:
            await self._report()

    async def recompile(self) -> None:
        """The configuration changed: compile the same state anew, take it, and begin to enforce it. ValueError: nothing has changed."""
        async with self._taking:
            await self._adopt(self._state, ())
            self._begin_to_enforce()

    async def stop(self) -> None:
        """Leave in good order: `follow` ends, and nobody waits for this replica's acknowledgement any more."""
        self._stopped = True
        if self._enforcing is not None:
            self._enforcing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._enforcing
        try:
            await self._store.forget_replica(self._replica.name, self._replica.instance)
        except StoreError as error:
            _log.warning("could not sign off: %s", error)

    async def _catch_up(self) -> None:
        position = await self._store.position()
        self._check(position.lineage, position.epoch)
        if position.epoch == self.epoch and position.lineage == self._state.lineage:
            return
        entries = await self._entries_up_to(position.epoch)
        state = None if entries is None else await self._moved_on(entries, position.lineage)
        if state is None:
            state = await self._store.state()
            self._check(state.lineage, state.epoch)
            entries = await self._entries_up_to(state.epoch)
        await self._adopt(state, entries)
        self._begin_to_enforce()
        if entries:
            self._last = entries[-1]
        elif entries is None:
            self._last = None
        await self._keep(entries)

    async def _moved_on(self, entries: Sequence[Entry], lineage: str) -> PolicyState | None:
        """Our state after `entries`; None where they do not fit, as when somebody edited the store by hand."""
        state = msgspec.structs.replace(self._state, lineage=lineage)
        try:
            for begin in range(0, len(entries), _PAGE):
                state = replayed(state, entries[begin : begin + _PAGE])
                await asyncio.sleep(0)
        except StoreError as error:
            _log.error("the policy log does not fit what is known of it, so the store is read whole: %s", error)
            return None
        return state

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

    async def _adopt(self, state: PolicyState, entries: Sequence[Entry] | None) -> None:
        """Compile and take the policy of `state`, to which `entries` led. Raises ValueError, and then nothing has changed."""
        policy = await self._compile(state)
        self._state = state
        self.policy = policy
        self._taken += 1
        self._unenforced += entries or ()
        self._take(policy, entries)

    def _begin_to_enforce(self) -> None:
        running = self._enforcing
        if running is None or (running.done() and running.exception() is None):
            self._enforcing = asyncio.create_task(self._settle())

    def _reap(self) -> None:
        """Forget enforcement that has ended. Raises what it raised: a session that cannot be decided again is a defect."""
        if self._enforcing is not None and self._enforcing.done():
            enforced, self._enforcing = self._enforcing, None
            enforced.result()

    async def _settle(self) -> None:
        """Enforce until every live session reflects the last policy taken. What is taken meanwhile is acknowledged with the next round."""
        while self._enforced < self._taken:
            taken, epoch, entries = self._taken, self.epoch, self._unenforced
            self._unenforced = []
            self._severed = await self._enforce()
            self._enforced, self._enforced_epoch, self._enforced_at = taken, epoch, self._clock()
            for entry in entries:
                self._on_enforced(max(0.0, self._enforced_at - entry.at))
            self._report_at = 0.0

    async def _keep(self, entries: Sequence[Entry] | None) -> None:
        """Save the state for a restart without the store. Failing that costs nothing now, so it is logged and no more."""
        if self._saved is None:
            return
        try:
            await asyncio.to_thread(self._saved.keep, self._state, entries)
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
                    epoch=self._enforced_epoch,
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
