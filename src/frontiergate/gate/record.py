"""Each request's one decision record and one end, for the audit and the metrics (DESIGN 5; P7)."""

import time
from typing import TYPE_CHECKING

from frontiergate.domain.reason import Reason
from frontiergate.telemetry.audit import DecisionRecord, EndRecord, recorded_address, recorded_facts
from frontiergate.telemetry.records import End

if TYPE_CHECKING:
    from frontiergate.gate.exchange import Exchange
    from frontiergate.gate.gatekeeper import Gatekeeper


def decision(keeper: "Gatekeeper", exchange: "Exchange", verdict: str, reason: Reason | None) -> DecisionRecord:
    """The record of what was decided of a request, on which facts."""
    caller, whereabouts, decided = exchange.caller, exchange.whereabouts, exchange.verdict
    route, now = exchange.request.route, time.time()
    audit = keeper.ground.config.audit
    return DecisionRecord(
        at=now,
        id=exchange.request_id,
        worker=keeper.worker,
        epoch=keeper.policy().epoch if decided is None else decided.epoch,
        verdict=verdict,
        reason=None if reason is None else reason.value,
        status=exchange.status or None,
        principal=None if caller is None else caller.pseudonym,
        credential=None if caller is None else caller.kind,
        dialect=None if exchange.request.dialect is None else exchange.request.dialect.name,
        operation=None if route is None else route.operation.name,
        models=tuple([model.id for model in exchange.models]),
        directives=() if decided is None else tuple([violation.directive.id for violation in decided.violations]),
        observed=() if decided is None else tuple([violation.directive.id for violation in decided.observed]),
        grants=() if decided is None else decided.grants,
        facts=() if caller is None else recorded_facts(caller.facts(whereabouts, now).evidence),
        location=whereabouts.location,
        address=recorded_address(exchange.address, audit.address),
    )


def ended(keeper: "Gatekeeper", exchange: "Exchange", end: End, reason: Reason | None, verdict: str) -> None:
    """Tell audit and metrics how it ended. Called once for each exchange."""
    keeper.audit.write(
        EndRecord(
            at=time.time(),
            id=exchange.request_id,
            end=end,
            status=exchange.status or None,
            reason=None if reason is None else reason.value,
            bytes_in=exchange.request.body_size,
            bytes_out=exchange.bytes_out,
            duration_ms=round((time.perf_counter() - exchange.started) * 1000, 3),
        )
    )
    models, dialect = exchange.models, exchange.request.dialect
    keeper.metrics.request(
        models[0].id if models else "none", "none" if dialect is None else dialect.name, verdict, None if reason is None else reason.value
    )
    if exchange.verdict is not None:
        for violation in exchange.verdict.observed:
            keeper.metrics.observed_violation(violation.directive.id)
