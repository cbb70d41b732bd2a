"""What the exchanges of one worker share, and the judgement of one request: everything but the bytes (DESIGN 5)."""

import itertools
import secrets
from collections.abc import Awaitable, Callable
from time import monotonic, time
from typing import Final

from frontiergate.dialects.models import ModelError
from frontiergate.dialects.operation import Answer as AnsweredBy
from frontiergate.domain.catalogue import Model
from frontiergate.domain.facts import Facts
from frontiergate.domain.policy import Policy, decide
from frontiergate.domain.reason import Reason
from frontiergate.domain.verdict import Outcome
from frontiergate.domain.vetting import Grant
from frontiergate.errors import CredentialError, StoreError, StoreUnavailable
from frontiergate.gate.ground import Ground
from frontiergate.gate.refused import Refused, untold
from frontiergate.gate.request import Request
from frontiergate.gate.sessions import Sessions
from frontiergate.identity.caller import Caller, Callers
from frontiergate.identity.geoip import Locator
from frontiergate.store.lease import Lease
from frontiergate.telemetry.audit import AuditLog
from frontiergate.telemetry.metrics import Metrics
from frontiergate.telemetry.records import DecisionRecord

UNKNOWN_MODEL: Final = "This gate serves no model of that name here; names are matched exactly. GET /v1/models lists those open to you."


class Gatekeeper:
    """One worker's gate: the ground, who is known, the policy in force, and where outcomes are told."""

    def __init__(
        self,
        ground: Ground,
        *,
        callers: Callers,
        locator: Locator,
        policy: Policy,
        lease: Lease,
        grants_of: Callable[[str], Awaitable[tuple[Grant, ...]]],
        metrics: Metrics,
        audit: AuditLog,
        worker: str,
    ) -> None:
        self.take_ground(ground)
        self.callers = callers
        self.locator = locator
        self.policy = policy  # the one in force; replaced whole before live sessions are decided again
        self._lease = lease
        self.metrics = metrics
        self.audit = audit
        self.worker = worker
        self.sessions = Sessions()
        self.draining = False
        self._grants_of = grants_of
        self._request_prefix = "req_" + secrets.token_hex(6)
        self._request_count = itertools.count(1)

    def take_ground(self, ground: Ground) -> None:
        """Stand on the ground of another configuration."""
        self.ground = ground
        self.strict = ground.config.audit.durability == "strict"
        self.first_byte_timeout: float = ground.config.limits.first_byte_timeout

    def require_current(self, request: Request) -> None:
        """Raises Refused where the policy may have changed unseen (P4). To be asked again after each wait: it may outlast the lease."""
        if monotonic() > self._lease.until and not self._served_stale(request):
            raise Refused(Reason.GATE_POLICY_STALE, "This gate cannot confirm that its policy is current, so it admits nobody for now.")

    def _served_stale(self, request: Request) -> bool:
        """Whether all the models that it can reach may be served by the policy known last (decision 0017)."""
        if not (self._lease.servable and request.head.forwards):
            return False
        try:
            return all(model.on_stale == "serve" for model in self.models(request))
        except Refused:
            return False

    def request_id(self) -> str:
        """A new id, unique over workers and restarts. It names a request; it opens nothing."""
        return f"{self._request_prefix}{next(self._request_count):06x}"

    def models(self, request: Request) -> tuple[Model, ...]:
        """Every model that the request can reach. Raises Refused."""
        route = request.head.route
        assert route is not None
        if route.model_segment is not None:
            names = [route.model_segment.decode("utf-8", "replace")]  # matched exactly, so what is not UTF-8 matches nothing
        else:
            try:
                names = request.names()
            except ModelError as error:
                raise Refused(error.reason, untold(error)) from None
        resolve = self.ground.catalogue.resolve
        dialect = route.dialect.name
        if len(names) == 1:
            model = resolve(dialect, names[0])
            if model is not None:
                return (model,)
        models = [resolve(dialect, name) for name in names]
        found = tuple(model for model in models if model is not None)
        if len(found) != len(names):
            raise Refused(Reason.CALLER_MODEL_UNKNOWN, UNKNOWN_MODEL)
        if len({model.upstream for model in found}) > 1:
            raise Refused(Reason.CALLER_MODEL_AMBIGUOUS, "The request names models of different upstreams; send one request for each.")
        return found

    async def establish(self, credential: bytes) -> Caller:
        """The caller, verified now. Raises Refused."""
        try:
            return await self.callers.establish(credential, time())
        except CredentialError as error:
            raise Refused(error.reason, str(error)) from None

    async def load_grants(self, caller: Caller) -> None:
        """Fill `caller.grants` from the store. Raises Refused.

        If an epoch comes in between, what was read may be older than the policy in force, so it is read again.
        """
        while True:
            epoch = self.policy.epoch
            try:
                grants = await self._grants_of(caller.principal)
            except StoreError:  # it is away, or what it holds of them cannot be read
                message = "The store of approvals cannot be reached, so nobody is admitted on one."
                raise Refused(Reason.GATE_STORE_UNAVAILABLE, message) from None
            if self.policy.epoch == epoch:
                caller.grants = grants
                return

    async def keep(self, admission: DecisionRecord) -> None:
        """Have it on the disk. Raises Refused."""
        try:
            await self.audit.durable(admission)
        except StoreUnavailable:
            message = "The decision could not be recorded, so the request is not forwarded."
            raise Refused(Reason.GATE_STORE_UNAVAILABLE, message) from None

    def offered(self, dialect: str, facts: Facts, caller: Caller, at: float) -> list[Model] | None:
        """The models of the dialect that this caller may use now; None where that takes approvals that are not loaded yet."""
        models = self.ground.catalogue.of_dialect(dialect)
        outcomes = [decide(facts, (model,), self.policy, caller.grants or (), at).outcome for model in models]
        if caller.grants is None and Outcome.QUEUE in outcomes:
            return None
        return [model for model, outcome in zip(models, outcomes, strict=True) if outcome <= Outcome.PAUSED]


def listed(keeper: Gatekeeper, request: Request, offered: list[Model]) -> bytes:
    """The body of a list of models, or of the one that is asked for. Raises Refused."""
    route = request.head.route
    assert route is not None
    if route.operation.answer is not AnsweredBy.MODEL:
        return route.dialect.list_models(offered)
    # One answer for "does not exist" and "not for you": a list that hides a model is not undone by asking for it.
    wanted = keeper.models(request)[0]
    if wanted not in offered:
        raise Refused(Reason.CALLER_MODEL_UNKNOWN, UNKNOWN_MODEL)
    return route.dialect.show_model(wanted)
