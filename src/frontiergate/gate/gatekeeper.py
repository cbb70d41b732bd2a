"""What the exchanges of one worker share, and the judgement of one request: everything but the bytes (DESIGN 5)."""

import itertools
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from frontiergate.config.schema import Config
from frontiergate.dialects.models import ModelError, read_models
from frontiergate.dialects.registry import DIALECTS, Route, Routes
from frontiergate.domain.catalogue import Catalogue, Model
from frontiergate.domain.policy import Policy, decide
from frontiergate.domain.reason import Reason
from frontiergate.domain.verdict import Outcome, Verdict
from frontiergate.domain.vetting import Grant
from frontiergate.errors import CredentialError
from frontiergate.gate.fields import RequestFields
from frontiergate.gate.refused import Refused
from frontiergate.gate.sessions import Sessions
from frontiergate.gate.upstream import Upstream
from frontiergate.identity.address import TrustedNetworks
from frontiergate.identity.caller import Caller, Callers
from frontiergate.identity.credential import CREDENTIAL_HEADERS
from frontiergate.identity.geoip import Locator, Whereabouts
from frontiergate.telemetry.audit import AuditLog
from frontiergate.telemetry.metrics import Metrics


class Ground(msgspec.Struct, frozen=True):
    """Everything that comes from the configuration; replaced whole at a reload, so an exchange never sees two of them."""

    config: Config
    catalogue: Catalogue
    routes: Routes
    fields: RequestFields
    upstreams: dict[str, Upstream]
    trusted: TrustedNetworks
    extra_credential: bytes | None  # the configured identity header, lower case


def prepare(config: Config, environ: Mapping[str, str]) -> Ground:
    """The ground for `config`. Raises ConfigError or ValueError with what is wrong."""
    extra = config.identity.header.lower().encode() if config.identity.header else None
    marks = frozenset().union(*(dialect.marks for dialect in DIALECTS.values()))
    return Ground(
        config,
        Catalogue(config.models),
        Routes(DIALECTS.values()),
        RequestFields(CREDENTIAL_HEADERS | ({extra} if extra else set()), marks),
        {name: Upstream(name, upstream, environ) for name, upstream in config.upstreams.items()},
        TrustedNetworks(config.clients.trusted_proxies),
        extra,
    )


class Gatekeeper:
    """One worker's gate: the ground, who is known, the policy in force, and where outcomes are told."""

    def __init__(
        self,
        ground: Ground,
        *,
        callers: Callers,
        locator: Locator,
        policy: Callable[[], Policy],
        stale: Callable[[], bool],
        grants_of: Callable[[str], Awaitable[tuple[Grant, ...]]],
        metrics: Metrics,
        audit: AuditLog,
        worker: str,
    ) -> None:
        self.ground = ground
        self.callers = callers
        self.locator = locator
        self.policy = policy
        self.stale = stale
        self.metrics = metrics
        self.audit = audit
        self.worker = worker
        self.sessions = Sessions()
        self.draining = False
        self._grants_of = grants_of
        self._request_prefix = "req_" + secrets.token_hex(6)
        self._request_count = itertools.count(1)

    def request_id(self) -> str:
        """A new id, unique over workers and restarts. It names a request; it opens nothing."""
        return f"{self._request_prefix}{next(self._request_count):06x}"

    def models(self, route: Route, body: bytes) -> list[Model]:
        """Every model that the request can reach. Raises Refused."""
        if route.model_segment is not None:
            names = [route.model_segment.decode("utf-8", "replace")]  # matched exactly, so what is not UTF-8 matches nothing
        else:
            try:
                names = read_models(route.operation, body)
            except ModelError as error:
                raise Refused(error.reason, str(error)) from None
        resolve = self.ground.catalogue.resolve
        dialect = route.dialect.name
        models = [resolve(dialect, name) for name in names]
        if None in models:
            raise Refused(
                Reason.CALLER_MODEL_UNKNOWN,
                "This gate serves no model of that name here; names are matched exactly. GET /v1/models lists those open to you.",
            )
        found = [model for model in models if model is not None]
        if len(found) > 1 and len({model.upstream for model in found}) > 1:
            raise Refused(Reason.CALLER_MODEL_AMBIGUOUS, "The request names models of different upstreams; send one request for each.")
        return found

    async def establish(self, credential: bytes) -> Caller:
        """The caller, verified now. Raises Refused."""
        try:
            return await self.callers.establish(credential, time.time())
        except CredentialError as error:
            raise Refused(error.reason, str(error)) from None

    async def load_grants(self, caller: Caller) -> None:
        """Fill `caller.grants` from the store. Raises StoreUnavailable.

        If an epoch comes in between, what was read may be older than the policy in force, so it is read again.
        """
        while True:
            epoch = self.policy().epoch
            grants = await self._grants_of(caller.principal)
            if self.policy().epoch == epoch:
                caller.grants = grants
                return

    def decide(self, caller: Caller, whereabouts: Whereabouts, models: Sequence[Model], at: float) -> Verdict:
        """The verdict as of now; where it is `queue` and `caller.grants` is None, grants may still change it."""
        return decide(caller.facts(whereabouts, at), models, self.policy(), caller.grants or (), at)

    def offered(self, dialect: str, caller: Caller, whereabouts: Whereabouts, at: float) -> list[Model]:
        """The models of the dialect that this caller may use now."""
        return [
            model
            for model in self.ground.catalogue.of_dialect(dialect)
            if self.decide(caller, whereabouts, (model,), at).outcome <= Outcome.PAUSED
        ]
