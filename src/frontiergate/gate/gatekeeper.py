"""What the exchanges of one worker share, and the judgement of one request: everything but the bytes (DESIGN 5)."""

import itertools
import secrets
from collections.abc import Awaitable, Callable
from time import monotonic, time
from typing import Final

from frontiergate.dialects.models import ModelError
from frontiergate.domain.catalogue import Model
from frontiergate.domain.facts import Facts
from frontiergate.domain.policy import Policy, decide
from frontiergate.domain.reason import Reason
from frontiergate.domain.verdict import Outcome
from frontiergate.domain.vetting import Grant
from frontiergate.errors import CredentialError
from frontiergate.gate.ground import Ground
from frontiergate.gate.refused import Refused, untold
from frontiergate.gate.request import Request
from frontiergate.gate.sessions import Sessions
from frontiergate.identity.caller import Caller, Callers
from frontiergate.identity.geoip import Locator
from frontiergate.store.lease import Lease
from frontiergate.telemetry.audit import AuditLog
from frontiergate.telemetry.metrics import Metrics

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

    def stale(self) -> bool:
        """Whether the policy cannot be trusted to be current any more, so that gated traffic is refused (P4)."""
        return monotonic() > self._lease.until

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
        """Fill `caller.grants` from the store. Raises StoreUnavailable.

        If an epoch comes in between, what was read may be older than the policy in force, so it is read again.
        """
        while True:
            epoch = self.policy.epoch
            grants = await self._grants_of(caller.principal)
            if self.policy.epoch == epoch:
                caller.grants = grants
                return

    def offered(self, dialect: str, facts: Facts, caller: Caller, at: float) -> list[Model] | None:
        """The models of the dialect that this caller may use now; None where that takes approvals that are not loaded yet."""
        models = self.ground.catalogue.of_dialect(dialect)
        outcomes = [decide(facts, (model,), self.policy, caller.grants or (), at).outcome for model in models]
        if caller.grants is None and Outcome.QUEUE in outcomes:
            return None
        return [model for model, outcome in zip(models, outcomes, strict=True) if outcome <= Outcome.PAUSED]
