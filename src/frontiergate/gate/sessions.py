"""Live sessions: decided again when the policy changes or an instant comes, severed where they must be (DESIGN 3, 4.2, 6; P4).

What the admitted request was judged on is judged again by the same `decide`: the caller's evidence as it is now, the models that
it can reach, the policy in force. A session whose caller or model is not there any more ends with the same reason that a new
request would be given.

Sessions that must get the same verdict are decided together, and all of it is done in slices, so that ten thousand of them do not
hold up the loop. Each step takes the policy in force at that moment: one that comes while a pass is under way decides all that is
left of it, and whoever took that policy makes another pass. The most restrictive verdicts are carried out first.

Who is severed is told so, and nothing more is relayed to them; that is what enforcing means. Closing their connections takes four
times as long, so it is done after all of them were told (decision 0020).
"""

import asyncio
import contextlib
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

import msgspec

from frontiergate.domain.policy import decide
from frontiergate.domain.reason import Reason
from frontiergate.domain.verdict import Outcome, Verdict
from frontiergate.domain.vetting import Grant, GrantState
from frontiergate.errors import StoreError
from frontiergate.gate.farewells import Farewells
from frontiergate.gate.refused import Refused
from frontiergate.identity.caller import Caller
from frontiergate.slices import Slices
from frontiergate.store.protocol import Entry, GrantChanged, GrantIssued, KeyRevoked

if TYPE_CHECKING:
    from frontiergate.gate.exchange import Exchange
    from frontiergate.gate.gatekeeper import Gatekeeper

_LOOK_UPS: Final = 1.0  # seconds for asking the store about sessions that would be severed for want of an answer; then they are
_AT_ONCE: Final = 32  # look-ups
_ENFORCE_FIRST: Final = 0.25  # seconds (P4) in which the host's other workers tell theirs, before connections are closed
_YIELD: Final = 0.003  # seconds between two slices of closing: half a core at most

Group = list["Exchange"]  # same caller, same place, same models: one verdict for all


class Sessions:
    """The live sessions of one worker, and the next instant at which one of them must be decided again."""

    __slots__ = ("_closing", "_forgettings", "_leaving", "_slices", "_unvouched", "live", "next_instant", "on_sooner")

    def __init__(self, slices: Callable[[], Slices] = Slices) -> None:
        self.live: set[Exchange] = set()
        self.next_instant = math.inf  # POSIX seconds
        self.on_sooner: Callable[[], None] = lambda: None  # it was brought forward
        self._slices = slices
        self._forgettings = 0  # of callers, as of the last look
        self._leaving: deque[Exchange] = deque()  # severed, with their connections still open
        self._closing: asyncio.Task[None] | None = None
        self._unvouched: WeakSet[Caller] = WeakSet()  # ended because nobody knows what became of their keys

    def __len__(self) -> int:
        return len(self.live)

    def add(self, session: "Exchange") -> None:
        """An exchange was admitted: from now on it is decided again."""
        self.live.add(session)
        until = _valid_until(session)
        if until < self.next_instant:
            self._bring_forward(until)

    def _bring_forward(self, until: float) -> None:
        self.next_instant = until
        self.on_sooner()

    def discard(self, session: "Exchange") -> None:
        self.live.discard(session)

    def by_model(self) -> Counter[str]:
        """How many sessions are live on each model id."""
        return Counter(model.id for session in self.live for model in session.models)

    def take(self, keeper: "Gatekeeper", entries: Sequence[Entry] | None) -> None:
        """Make what is cached of grants and keys agree with the policy just taken, to which `entries` led; None: that is not known."""
        if entries is None:
            callers = {_caller(session) for session in self.live}
            self._unvouched.update(caller for caller in callers if caller.kind == "key" and not caller.ended)
            keeper.callers.forget_all()
        else:
            _apply(keeper, entries, self.live)

    def due(self, keeper: "Gatekeeper") -> bool:
        """Whether an instant has come, or callers may have ended, since `instant` last began."""
        return time.time() >= self.next_instant or keeper.callers.forgettings != self._forgettings

    async def instant(self, keeper: "Gatekeeper") -> int:
        """Decide again those whose verdict or caller has come to its end; how many were severed."""
        now, slices = time.time(), self._slices()
        self._forgettings = keeper.callers.forgettings  # an issuer's key may be gone, which is no change of policy
        self.next_instant = math.inf  # whoever is added or decided from here on brings it forward
        due: list[Exchange] = []
        for session in list(self.live):
            until = _valid_until(session)
            if until <= now or _ended(session):
                due.append(session)
            elif until < self.next_instant:
                self._bring_forward(until)
            if slices.over:
                await slices.rest()
        return await self._redecide(keeper, due)

    async def redecide(self, keeper: "Gatekeeper") -> int:
        """Decide every live session by the policy in force or a later one; how many were severed."""
        return await self._redecide(keeper, list(self.live))

    async def _redecide(self, keeper: "Gatekeeper", sessions: list["Exchange"]) -> int:
        """`sessions` are used up."""
        slices, farewells = self._slices(), Farewells(keeper.ground.config.docs_url)
        severed = 0
        refused: dict[Outcome, list[Group]] = {Outcome.REFUSE: [], Outcome.QUEUE: [], Outcome.PAUSED: []}
        unknown: list[Group] = []
        for group in await _grouped(sessions, slices):
            verdict = _judge(keeper, group[0])
            outcome = _outcome(verdict)
            if outcome not in refused:  # admitted, or withdrawn
                severed += await self._carry_out(keeper, group, slices, farewells)
            elif self._may_be_entitled(group[0], verdict):
                unknown.append(group)
            else:
                refused[outcome].append(group)
            if slices.over:
                await slices.rest()
        for groups in refused.values():
            for group in groups:
                severed += await self._carry_out(keeper, group, slices, farewells)
        deadline = time.monotonic() + _LOOK_UPS
        for begin in range(0, len(unknown), _AT_ONCE):
            asked = unknown[begin : begin + _AT_ONCE]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    await asyncio.gather(*(self._ask(keeper, group) for group in asked))
            for group in asked:
                severed += await self._carry_out(keeper, group, slices, farewells, asked=True)
        if self._leaving and self._closing is None:
            self._closing = asyncio.create_task(self._close())
        return severed

    async def _close(self) -> None:
        """Have those that were severed give up what they hold, in their order, and not at the cost of workers that still enforce."""
        await asyncio.sleep(_ENFORCE_FIRST)
        slices = self._slices()
        while self._leaving:
            self._leaving.popleft().leave()
            if slices.over:
                await slices.rest(_YIELD)
        self._closing = None

    async def _carry_out(self, keeper: "Gatekeeper", group: Group, slices: Slices, farewells: Farewells, *, asked: bool = False) -> int:
        """Give each session of the group its verdict by the policy as it is by now, or sever it; how many were severed.

        The group is used up: thousands of severed exchanges that were let go of at once would hold up the loop while they are freed.

        `asked`: the store was, so whoever has no answer by now is judged without: closed by default (P2).
        """
        severed = 0
        verdict, caller = None, None
        while group:
            session = group.pop()
            if session in self.live:
                if verdict is None or session.caller is not caller:
                    verdict, caller = _judge(keeper, session), session.caller
                if isinstance(verdict, Verdict) and verdict.outcome is Outcome.FORWARD:
                    session.verdict = verdict
                    until = _valid_until(session)
                    if until < self.next_instant:
                        self._bring_forward(until)
                elif asked or not self._may_be_entitled(session, verdict):  # else its grants were forgotten just now: the next pass asks
                    if verdict.reason is not None:
                        keeper.metrics.severed(session.models[0].id, verdict.reason.value)
                    if session.sever(verdict, farewells):
                        self._leaving.append(session)
                    severed += 1
            if slices.over:
                await slices.rest()
                verdict = None  # others had their turn: the policy, the caller and the time may be others now
        return severed

    def _may_be_entitled(self, session: "Exchange", verdict: Verdict | Refused) -> bool:
        """Whether it is only for want of an answer from the store that the session is not admitted."""
        caller = _caller(session)
        return caller in self._unvouched or (_outcome(verdict) is Outcome.QUEUE and caller.grants is None)

    async def _ask(self, keeper: "Gatekeeper", group: Group) -> None:
        """Ask the store for what was forgotten of the caller: its key, its grants."""
        first = group[0]
        caller = _caller(first)
        with contextlib.suppress(Refused, StoreError):
            if caller in self._unvouched:
                caller = await keeper.establish(first.request.head.credential)
                for session in group:
                    session.caller = caller
            if caller.grants is None and _outcome(_judge(keeper, first)) is Outcome.QUEUE:
                await keeper.load_grants(caller)


async def _grouped(sessions: list["Exchange"], slices: Slices) -> list[Group]:
    """`sessions` are used up."""
    groups: dict[tuple[object, ...], Group] = {}
    while sessions:
        session = sessions.pop()
        models = session.models
        key = (session.caller, session.whereabouts, models[0].id if len(models) == 1 else tuple(model.id for model in models))
        groups.setdefault(key, []).append(session)
        if slices.over:
            await slices.rest()
    return list(groups.values())


def _outcome(verdict: Verdict | Refused) -> Outcome:
    return verdict.outcome if isinstance(verdict, Verdict) else Outcome.REFUSE


def _caller(session: "Exchange") -> Caller:
    assert session.caller is not None, "a session was admitted, so somebody called"
    return session.caller


def _ended(session: "Exchange") -> bool:
    return _caller(session).ended


def _valid_until(session: "Exchange") -> float:
    caller, verdict = session.caller, session.verdict
    assert caller is not None
    assert verdict is not None
    return caller.expires_at if caller.expires_at < verdict.valid_until else verdict.valid_until


def _judge(keeper: "Gatekeeper", session: "Exchange") -> Verdict | Refused:
    caller, now = _caller(session), time.time()
    if caller.ended:
        return Refused(Reason.CALLER_CREDENTIAL_INVALID, "The credential is not valid any more.")
    if caller.expires_at <= now:
        return Refused(Reason.CALLER_CREDENTIAL_EXPIRED, "The credential has expired; get a new one.")
    models = keeper.ground.catalogue.models
    if any(model.id not in models for model in session.models):
        return Refused(Reason.CALLER_MODEL_UNKNOWN, "This gate does not serve the model any more.")
    return decide(caller.facts(session.whereabouts, now), session.models, keeper.policy, caller.grants or (), now)


def _apply(keeper: "Gatekeeper", entries: Sequence[Entry], live: Iterable["Exchange"]) -> None:
    """Make what is cached of grants and keys agree with `entries`, exactly (DESIGN 6).

    A cached caller's grants are forgotten and read again at need. A live session need not wait for that: its caller's grants are
    moved on by the entries themselves, which say all there is to say.
    """
    changes = [entry.change for entry in entries]
    for change in changes:
        if isinstance(change, KeyRevoked):
            keeper.callers.forget_key(change.id)
    of_grants = [change for change in changes if isinstance(change, GrantIssued | GrantChanged)]
    if not of_grants:
        return
    principals = {_principal(change) for change in of_grants}
    callers = {caller for session in live if (caller := session.caller) is not None and caller.principal in principals}
    held = {caller: caller.grants for caller in callers}
    for principal in principals:
        keeper.callers.forget_grants(principal)
    for caller, grants in held.items():
        if grants is not None:
            caller.grants = _moved(grants, [change for change in of_grants if _principal(change) == caller.principal])


def _principal(change: GrantIssued | GrantChanged) -> str:
    return change.grant.principal if isinstance(change, GrantIssued) else change.principal


def _moved(grants: tuple[Grant, ...], changes: Sequence[GrantIssued | GrantChanged]) -> tuple[Grant, ...]:
    by_id = {grant.id: grant for grant in grants}
    for change in changes:
        if isinstance(change, GrantIssued):
            by_id[change.grant.id] = change.grant
        elif change.id in by_id:
            by_id[change.id] = msgspec.structs.replace(by_id[change.id], state=GrantState(change.state))
    return tuple(by_id.values())
