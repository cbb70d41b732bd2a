"""What does a flip do? A replica follows the policy log: read, compile, take, enforce, acknowledge (DESIGN 6; P4).

    changed? ── no ───────────────────────────────────────────────────┐
       │ yes                                                          │
    position → the log that is known, and not behind? ── no → doubted ├→ confirm the lease → report if due
       │ yes                                                          │
    entries → state → compile → take ─────────────────────────────────┘
                                 └→ enforce: live sessions, meanwhile; then that epoch is acknowledged

The log is the truth. What is read of it moves the state on, so that an epoch costs what it changes; the whole state is read at the
start, and where the log does not reach back to what is known. A policy that was taken decides every new request; while live sessions
are still decided again, the next one can be taken already. A store that lost what was enforced (an older backup, a flush, another
file) never loosens a replica, not even a restarted one: it keeps its policy and refuses gated traffic until the right store is back,
or an operator accepts this one (decision 0018).
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import msgspec

from frontiergate.errors import GateError, StoreError, StoreUnavailable
from frontiergate.store.lastseen import LastSeen, Seen
from frontiergate.store.lease import Lease
from frontiergate.store.lineage import log_of, mark_of, stands_for
from frontiergate.store.protocol import Entry, PolicyState, Position, Store
from frontiergate.store.replay import lost, replayed
from frontiergate.store.reporter import Replica, Reporter
from frontiergate.store.storeclock import StoreClock

P = TypeVar("P")  # the compiled policy: the feed hands it on and never looks inside

_log = logging.getLogger(__name__)
_PAGE = 500
_WHOLE = 5_000  # entries behind, from which on reading the whole state is cheaper than what led to it
_RETRY = 0.25  # seconds between attempts while the store is away


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
        clock_skew: float = 5.0,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        poll: float = 0.01,
        saved: str | None = None,
        on_enforced: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._compile = compile
        self._take = take
        self._enforce = enforce
        self._monotonic = monotonic
        self._poll_every = poll
        self._saved = None if saved is None else LastSeen(saved)
        self._on_enforced = on_enforced
        self.lease = Lease(lease)
        self.clock = StoreClock(clock_skew, clock, monotonic)
        self._reporter = Reporter(store, replica, self.clock, self.lease, monotonic=monotonic)
        self._state = PolicyState(0, (), ())
        self._mark: str | None = None  # of the entry at our epoch, to recognise the log by
        self._regression: str | None = None  # how the store went back, as long as it has not been put right
        self._told: str | None = None  # the last problem that was logged
        self._behind = True
        self._recognised = False  # whether the store was seen to hold the entry that we know at our epoch, since it was last away
        self._taking = asyncio.Lock()  # one policy after the other
        self._taken = 0  # policies, so that one of the same epoch is told from the one before
        self._unenforced: list[Entry] = []
        self._enforcing: asyncio.Task[None] | None = None
        self._enforced = 0  # of the policies taken, the last that every live session reflects
        self._stopped = False

    @property
    def epoch(self) -> int:
        """The epoch whose policy decides here."""
        return self._state.epoch

    def stale(self, now: float) -> bool:
        """Whether gated traffic must be refused at this monotonic instant, but for models that may be served all the same."""
        return self.lease.stale(now)

    async def start(self) -> bool:
        """Load and take the first policy. False where none can be had: nobody is admitted then, and it is to be called again."""
        try:
            await self._load()
        except StoreUnavailable as error:
            self._note(str(error))
        except (StoreError, ValueError) as error:  # the store answers: there, too, it is told what is wrong
            self._note(str(error))
            with contextlib.suppress(StoreError):
                await self.clock.ask(self._store)
                await self._report()
        else:
            return True
        return False

    async def follow(self) -> None:
        """Follow the log until stopped. One task for the worker's whole life."""
        while not self._stopped:
            await self.poll()
            if self._enforcing is None:
                await asyncio.sleep(self._poll_every if self.lease.problem is None else max(self._poll_every, _RETRY))

    async def poll(self) -> None:
        """One round: at most one new policy, confirmation, and a report if one is due. Enforcement that is quick is waited for."""
        asked_at = self._monotonic()
        try:
            if await self._store.changed():
                self._behind = True
            elif not self._behind:
                asked_at -= self._store.lag
            if self._behind:
                async with self._taking:
                    await self._catch_up()
                self._behind = False
        except _RegressionError as error:
            self._behind = True
            await self._doubt_store(str(error))
        except (GateError, ValueError) as error:  # ValueError: a directive that this version cannot compile
            self._behind, self._recognised = True, False
            self._note(str(error))
        else:
            self._confirm(asked_at)
        if self._enforcing is not None:
            await asyncio.wait({self._enforcing}, timeout=self._poll_every)
            self._reap()
        if self._reporter.due and not self._stopped:
            await self._report()

    async def recompile(self) -> None:
        """The configuration changed: compile the same state anew, take it, and begin to enforce it. ValueError: nothing has changed."""
        async with self._taking:
            await self._adopt(self._state, ())
            self._begin_to_enforce()

    def bound(self, *, lease: float, clock_skew: float) -> None:
        """The configuration's bounds, which begin to count with the next confirmation."""
        self.lease.seconds, self.clock.bound = lease, clock_skew

    async def stop(self) -> None:
        """Leave in good order: `follow` ends, and nobody waits for this replica's acknowledgement any more."""
        self._stopped = True
        if self._enforcing is not None:
            self._enforcing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._enforcing
        await self._reporter.sign_off()

    # -- the first policy

    async def _load(self) -> None:
        """From the store, or else the one saved by an earlier run. Raises StoreError or ValueError where neither can be used.

        A saved one that cannot be read is not passed over: without it nobody can tell whether the store went back.
        """
        asked_at = self._monotonic()
        saved = None if self._saved is None else await asyncio.to_thread(self._saved.load)
        self._state, self._mark = (PolicyState(0, (), ()), None) if saved is None else (saved.state, saved.mark)
        try:
            await self._begin(await self._first())
        except _RegressionError as error:
            assert saved is not None, "nothing was known that could have been lost"
            await self._begin(saved)
            await self._doubt_store(str(error))
            await self._report()
        except (StoreError, ValueError) as error:  # ValueError: a directive that this version cannot compile
            if saved is None:
                raise
            await self._begin(saved)
            self._note(f"{error}; starting with the policy of epoch {saved.state.epoch} seen before, refusing until it is confirmed")
        else:
            await self._keep(None)
            await self._report()  # before anybody is admitted: who waits for all replicas must know of this one
            self._confirm(asked_at)

    async def _first(self) -> Seen:
        """What the store holds, held against what is known. Raises _RegressionError."""
        await self._store.open()
        await self.clock.ask(self._store)
        state = await self._store.state()
        if self._recognises(Position(state.lineage, state.epoch)):
            self._check_history(await self._entry_at(self.epoch))
        return Seen(state, mark_of(await self._entry_at(state.epoch)))

    async def _begin(self, seen: Seen) -> None:
        """Take it."""
        await self._adopt(seen.state, None)
        self._mark = seen.mark
        self.lease.known = True
        await self._settle()

    # -- reading the log

    async def _catch_up(self) -> None:
        position = await self.clock.ask(self._store)
        entries = await self._news(position)
        self._recognised = True
        if not entries and entries is not None:
            return
        state = None if entries is None else await self._moved_on(entries, position.lineage)
        if state is None:
            state = await self._store.state()
            entries = await self._news(Position(state.lineage, state.epoch))
        last = entries[-1] if entries else await self._entry_at(state.epoch)
        await self._adopt(state, entries)
        self._mark = mark_of(last)
        self._begin_to_enforce()
        await self._keep(entries)

    async def _news(self, position: Position) -> tuple[Entry, ...] | None:
        """What came since our epoch; None where it cannot be told: the log does not reach back so far, it is too far, or it is another
        log that an operator put in the place of ours. Raises _RegressionError."""
        if self._recognised and position.epoch == self.epoch and position.lineage == self._state.lineage and not self.lease.regressed:
            return ()
        if not self._recognises(position):
            return None
        if position.epoch - self.epoch > _WHOLE:
            self._check_history(await self._entry_at(self.epoch))
            return None
        return await self._entries_up_to(position.epoch)

    def _recognises(self, position: Position) -> bool:
        """Whether the log at `position` can be the one that is known, and what came of it; False where an operator accepted it in the
        place of that one, or none is known. Raises _RegressionError where it is neither."""
        known = self._state
        if not known.lineage or stands_for(position.lineage, known.lineage):
            return False
        if not position.lineage:
            raise _RegressionError(f"the store went back: {self._known}, the store holds no policy log any more")
        if position.lineage != known.lineage or position.epoch < known.epoch:
            found = f"the store holds epoch {position.epoch} of log {log_of(position.lineage)}"
            raise _RegressionError(f"the store went back: {self._known}, {found}")
        return True

    def _check_history(self, entry: Entry | None) -> None:
        """`entry` is what the store holds at our epoch, if its log reaches back so far. Raises _RegressionError."""
        if entry is not None and self._mark not in (None, mark_of(entry)):
            raise _RegressionError(f"the store went back: {self._known}, the store holds another at that epoch: its history was replaced")

    @property
    def _known(self) -> str:
        return f"epoch {self.epoch} of log {log_of(self._state.lineage)} is enforced here"

    async def _entry_at(self, epoch: int) -> Entry | None:
        """None where the log does not reach back so far."""
        found = await self._store.entries(epoch - 1, 1) if epoch else ()
        return found[0] if found and found[0].epoch == epoch else None

    async def _entries_up_to(self, head: int) -> tuple[Entry, ...] | None:
        """The entries after ours up to `head`; None where the log does not reach back so far. Raises _RegressionError."""
        read: list[Entry] = []
        after = self.epoch if self._mark is None else self.epoch - 1
        while after < head:
            page = await self._store.entries(after, _PAGE)
            if not page:
                return None
            read += page
            after = page[-1].epoch
        if read and read[0].epoch == self.epoch:
            self._check_history(read.pop(0))
        new = tuple(entry for entry in read if entry.epoch <= head)
        return new if [entry.epoch for entry in new] == list(range(self.epoch + 1, head + 1)) else None

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

    # -- taking and enforcing

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
            severed = await self._enforce()
            self._enforced, at = taken, self.clock.now()
            self._reporter.enforced(epoch, at, severed)
            for entry in entries:
                self._on_enforced(max(0.0, at - entry.at))

    async def _keep(self, entries: Sequence[Entry] | None) -> None:
        """Save the state for a restart. Failing that costs nothing now, so it is logged and no more."""
        if self._saved is None:
            return
        try:
            await asyncio.to_thread(self._saved.keep, Seen(self._state, self._mark), entries)
        except StoreUnavailable as error:
            _log.error("%s", error)

    # -- the lease, and saying so

    def _confirm(self, asked_at: float) -> None:
        """What is known is the store's policy now; but it cannot be gone by with a wrong clock."""
        self._regression = None
        if self.clock.problem is not None:
            self.lease.doubt(self.clock.problem)
            self._note(self.clock.problem)
            return
        if self._told is not None:
            self._told = None
            _log.info("the policy is confirmed again, at epoch %d", self.epoch)
        self.lease.confirm(asked_at)

    async def _doubt_store(self, regression: str) -> None:
        if regression == self._regression:
            return
        self._regression = regression
        self.lease.regress(regression)  # at once; then what can be said of it
        missing: Sequence[str] = ()
        with contextlib.suppress(StoreError):
            missing = lost(self._state, await self._store.state())
        problem = (
            f"{regression}. {f'Not in it: {_listed(missing)}. ' if missing else ''}Refusing gated traffic; "
            "bring the right store back, or have this one taken as it is with `frontiergate store accept`"
        )
        self.lease.regress(problem)
        self._note(problem)

    def _note(self, problem: str) -> None:
        """Log a problem when it appears or changes, not at each attempt."""
        if problem != self._told:
            self._told = problem
            _log.error("the policy cannot be confirmed: %s", problem)
        self.lease.fail(problem)

    async def _report(self) -> None:
        await self._reporter.report(self._state.lineage)


def _listed(names: Sequence[str], most: int = 10) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
