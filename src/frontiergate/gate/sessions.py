"""Live sessions: decided again when the policy changes or an instant comes, severed where they must be (DESIGN 3, 4.2, 6; P4).

What the admitted request was judged on is judged again by the same `decide`: the caller's evidence as it is now, the models that
it can reach, the policy in force. A session whose caller or model is not there any more ends with the same reason that a new
request would be given.
"""

import math
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from frontiergate.domain.policy import decide
from frontiergate.domain.reason import Reason
from frontiergate.domain.verdict import Outcome, Verdict
from frontiergate.domain.vetting import Grant, GrantState
from frontiergate.gate.refused import Refused
from frontiergate.store.protocol import Entry, GrantChanged, GrantIssued, KeyRevoked

if TYPE_CHECKING:
    from frontiergate.gate.exchange import Exchange
    from frontiergate.gate.gatekeeper import Gatekeeper


class Sessions:
    """The live sessions of one worker, and the next instant at which one of them must be decided again."""

    __slots__ = ("_forgettings", "live", "next_instant")

    def __init__(self) -> None:
        self.live: set[Exchange] = set()
        self.next_instant = math.inf  # POSIX seconds
        self._forgettings = 0  # of callers, as of the last look

    def __len__(self) -> int:
        return len(self.live)

    def add(self, session: "Exchange") -> None:
        """An exchange was admitted: from now on it is decided again."""
        self.live.add(session)
        until = _valid_until(session)
        if until < self.next_instant:
            self.next_instant = until

    def discard(self, session: "Exchange") -> None:
        self.live.discard(session)

    def by_model(self) -> Counter[str]:
        """How many sessions are live on each model id."""
        return Counter(model.id for session in self.live for model in session.models)

    def enforce(self, keeper: "Gatekeeper", entries: Sequence[Entry] | None) -> int:
        """Decide every live session again after `entries`, None where they are not known; how many were severed."""
        if entries is None:
            keeper.callers.forget_all()
        else:
            _apply(keeper, entries, self.live)
        return self._redecide(keeper, list(self.live))

    def instant(self, keeper: "Gatekeeper") -> int:
        """Decide again those whose verdict or caller has come to its end; how many were severed."""
        now, forgettings = time.time(), keeper.callers.forgettings
        if now < self.next_instant and forgettings == self._forgettings:
            return 0
        self._forgettings = forgettings  # an issuer's key may be gone, which is no change of policy
        severed = self._redecide(keeper, [session for session in self.live if _ended(session) or _valid_until(session) <= now])
        self.next_instant = min((_valid_until(session) for session in self.live), default=math.inf)
        return severed

    def _redecide(self, keeper: "Gatekeeper", sessions: Iterable["Exchange"]) -> int:
        severed = 0
        for session in sessions:
            verdict = _judge_again(keeper, session)
            if isinstance(verdict, Verdict) and verdict.outcome is Outcome.FORWARD:
                session.verdict = verdict
                self.next_instant = min(self.next_instant, _valid_until(session))
            else:
                session.sever(verdict)
                severed += 1
        return severed


def _ended(session: "Exchange") -> bool:
    return session.caller is not None and session.caller.ended


def _valid_until(session: "Exchange") -> float:
    caller, verdict = session.caller, session.verdict
    assert caller is not None
    assert verdict is not None
    return caller.expires_at if caller.expires_at < verdict.valid_until else verdict.valid_until


def _judge_again(keeper: "Gatekeeper", session: "Exchange") -> Verdict | Refused:
    caller, now = session.caller, time.time()
    assert caller is not None
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

    A cached caller's grants are forgotten and read again at need. A live session cannot wait for that: its caller's grants are
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
    callers = {session.caller for session in live if session.caller is not None and session.caller.principal in principals}
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
