"""Each request's one decision record and one end, for the audit and the metrics (DESIGN 5; P7)."""

from collections.abc import Sequence
from time import perf_counter, time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from frontiergate.domain.reason import Reason
from frontiergate.domain.verdict import Verdict, Violation
from frontiergate.telemetry.audit import DecisionRecord, EndRecord, recorded_address, recorded_facts
from frontiergate.telemetry.records import End

if TYPE_CHECKING:
    from frontiergate.gate.exchange import Exchange
    from frontiergate.gate.gatekeeper import Gatekeeper


class Admission:
    """The record of an admitted request, and what of an exchange it depends on besides its head, which keeps it."""

    __slots__ = ("address", "record", "verdict")

    def __init__(self, verdict: Verdict, address: str, record: DecisionRecord) -> None:
        self.verdict = verdict
        self.address = address
        self.record = record


def admission(keeper: "Gatekeeper", exchange: "Exchange") -> DecisionRecord:
    """The record of a request that is forwarded: the last one's of the same head, but for the instant and the id.

    One and the same verdict is only ever given again for the same facts, of the same caller at the same place, under the same epoch.
    """
    head, verdict = exchange.request.head, exchange.verdict
    assert verdict is not None
    last = head.admitted
    if last is None or last.verdict is not verdict or last.address != exchange.address:
        last = head.admitted = Admission(verdict, exchange.address, decision(keeper, exchange, "forward", None))
    return replace(last.record, at=time(), id=exchange.request_id)


def decision(keeper: "Gatekeeper", exchange: "Exchange", verdict: str, reason: Reason | None) -> DecisionRecord:
    """The record of what was decided of a request, on which facts."""
    caller, facts, decided, request = exchange.caller, exchange.facts, exchange.verdict, exchange.request
    if facts is not None and facts.recorded is None:
        facts.recorded = recorded_facts(facts.evidence)
    return DecisionRecord(
        at=time(),
        id=exchange.request_id,
        worker=keeper.worker,
        epoch=keeper.policy.epoch if decided is None else decided.epoch,
        verdict=verdict,
        reason=reason,
        status=exchange.status or None,
        principal=None if caller is None else caller.pseudonym,
        credential=None if caller is None else caller.kind,
        dialect=request.head.dialect.name,
        operation=None if request.head.route is None else request.head.route.operation.name,
        models=decided.models if decided is not None else tuple([model.id for model in exchange.models]),
        directives=_ids(decided.violations) if decided is not None and decided.violations else (),
        observed=_ids(decided.observed) if decided is not None and decided.observed else (),
        grants=decided.grants if decided is not None else (),
        facts=facts.recorded if facts is not None else (),
        location=exchange.whereabouts.location,
        address=recorded_address(exchange.address, keeper.ground.config.audit.address),
    )


def _ids(violations: Sequence[Violation]) -> tuple[str, ...]:
    return tuple([violation.directive.id for violation in violations])


def ended(keeper: "Gatekeeper", exchange: "Exchange", end: End, reason: Reason | None) -> None:
    """Tell audit and metrics how it ended. Called once for each exchange."""
    request, models, decided = exchange.request, exchange.models, exchange.verdict
    keeper.audit.write(
        EndRecord(
            at=time(),
            id=exchange.request_id,
            end=end,
            status=exchange.status or None,
            reason=reason,
            bytes_in=request.body_size,
            bytes_out=exchange.bytes_out,
            duration_ms=int((perf_counter() - exchange.started) * 1e6) / 1000,
        )
    )
    keeper.metrics.request(models[0].id if models else "none", request.head.dialect.name, exchange.label, reason)
    if decided is not None and decided.observed:
        for violation in decided.observed:
            keeper.metrics.observed_violation(violation.directive.id)
