"""Explain: what the gate would decide of a caller, on which evidence, under which directives; by the gate's own `decide` (P7)."""

import datetime
import math
from collections.abc import Mapping
from typing import Literal

from aiohttp import web

from frontiergate.config.schema import Programme
from frontiergate.control.bodies import nearest, read, reply
from frontiergate.control.directives import phase
from frontiergate.control.grants import view as grant_view
from frontiergate.control.instants import iso
from frontiergate.control.models import model_of, state_of
from frontiergate.control.operators import Operator
from frontiergate.control.plane import Plane
from frontiergate.control.problems import FieldError, Problem, invalid
from frontiergate.control.statements import Few, Statements, evidence_of, statements_in
from frontiergate.domain.catalogue import Model
from frontiergate.domain.directive import Directive
from frontiergate.domain.evidence import Assurance, Evidence, Kind
from frontiergate.domain.facts import Facts, establish
from frontiergate.domain.policy import Policy, decide, describe, in_force
from frontiergate.domain.verdict import Finding, Outcome, Truth, Verdict, Violation
from frontiergate.domain.vetting import Grant
from frontiergate.identity.address import AddressError, unwrap

GIVEN = "given in the question"


class Question(Statements, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """About whom (a principal, statements of the given worth, or both), from where, which models, and when (now)."""

    principal: str | None = None
    assurance: Literal["presumed", "asserted", "attested", "verified"] = "attested"
    address: str | None = None
    location: str | None = None
    network: Few = ()
    model: str | None = None
    models: Few = ()
    at: datetime.datetime | None = None


async def answer(plane: Plane, request: web.Request, _: Operator) -> web.Response:
    """The verdict on all the models together, and each directive judged for each model."""
    question = await read(request, Question)
    at = plane.clock() if question.at is None else _instant(question.at)
    models = _models(plane, question)
    notes: list[str] = []
    evidence = [*await _of_principal(plane, question, at, notes), *_given(question, at), *_whereabouts(plane, question, notes)]
    grants = () if question.principal is None else await plane.store.grants_of(question.principal)
    policy, facts = await plane.policy(), establish(evidence, at)
    verdict = decide(facts, models, policy, grants, at)
    return reply(
        {
            "at": iso(at),
            "epoch": policy.epoch,
            "principal": question.principal,
            "facts": [_piece(piece) for piece in facts.evidence],
            "models": [_model(model, facts, policy, grants, at) for model in models],
            "grants": [{**grant_view(grant, at), "counts": grant.id in verdict.grants} for grant in grants],
            "verdict": {
                "outcome": verdict.outcome.name.lower(),
                "reason": verdict.reason,
                "directives": [violation.directive.id for violation in verdict.violations],
                "observed": [violation.directive.id for violation in verdict.observed],
                "valid_until": None if math.isinf(verdict.valid_until) else iso(verdict.valid_until),
            },
            "notes": notes,
            "summary": summary(verdict, plane.setup.config.programmes),
        }
    )


def _instant(at: datetime.datetime) -> float:
    if at.tzinfo is None:
        raise invalid([FieldError("at", f"{at.isoformat()} has no time zone: write {at.isoformat()}Z")])
    return at.timestamp()


def _models(plane: Plane, question: Question) -> tuple[Model, ...]:
    names = dict.fromkeys([*question.models, *([] if question.model is None else [question.model])])
    if not names:
        raise invalid([FieldError("model", "is required: name the model (or several in models) that is asked for")])
    return tuple(model_of(plane.setup, name) for name in names)


async def _of_principal(plane: Plane, question: Question, at: float, notes: list[str]) -> tuple[Evidence, ...]:
    """What the gate itself keeps of the principal: a key's evidence. Of a token's bearer it keeps nothing."""
    if question.principal is None:
        return ()
    issuer, _, subject = question.principal.partition("|")
    if issuer != "key":
        notes.append("the gate keeps no evidence of a token's bearer: what the token claims must be given in the question")
        return ()
    keys = {key.id: key for key in await plane.store.keys()}
    if subject not in keys:
        raise Problem("not-found", f"there is no key {subject!r}{nearest(subject, keys)}")
    key = keys[subject]
    if key.revoked_at is not None and key.revoked_at <= at:
        notes.append(f"the key was revoked at {iso(key.revoked_at)}: its bearer is refused (401) before any directive is looked at")
    elif key.expires_at is not None and key.expires_at <= at:
        notes.append(f"the key expired at {iso(key.expires_at)}: its bearer is refused (401) before any directive is looked at")
    return key.evidence


def _given(question: Question, at: float) -> tuple[Evidence, ...]:
    return evidence_of(statements_in(question), source=GIVEN, assurance=Assurance[question.assurance.upper()], at=at)


def _whereabouts(plane: Plane, question: Question, notes: list[str]) -> tuple[Evidence, ...]:
    """Location and network, as observed: from the address by the gate's own databases, or as given."""
    observed = [(Kind.NETWORK, f"network[{position}]", network) for position, network in enumerate(question.network)]
    if question.location is not None:
        observed.append((Kind.LOCATION, "location", question.location))
    evidence = evidence_of(observed, source=GIVEN, assurance=Assurance.ATTESTED, at=plane.clock())
    if question.address is None:
        if not observed:
            notes.append("neither an address nor a location is given: the location is not known")
        return evidence
    if observed:
        raise invalid([FieldError("address", "give either an address, or location and network")])
    try:
        address = unwrap(question.address)
    except AddressError:
        raise invalid([FieldError("address", f"{question.address!r} is not an IP address")]) from None
    setup = plane.setup
    if setup.locator_trouble:
        notes.append(f"the address cannot be located: {setup.locator_trouble}")
    notes += [f"GeoIP: {error}" for error in setup.locator.refresh()]
    located = setup.locator.locate(address)
    if located.location is None:
        notes.append("the country of the address is not known")
    return located.evidence


def _model(model: Model, facts: Facts, policy: Policy, grants: tuple[Grant, ...], at: float) -> dict[str, object]:
    """Every directive in force on one model, judged. One that only holds because of a grant says so."""
    verdict, without = decide(facts, (model,), policy, grants, at), decide(facts, (model,), policy, (), at)
    unsatisfied = {violation.directive.id: violation for violation in (*verdict.violations, *verdict.observed)}
    bare = {violation.directive.id: violation for violation in (*without.violations, *without.observed)}
    directives = in_force(policy, model.id, at)
    return {
        "id": model.id,
        "state": state_of(directives, verdict.outcome is Outcome.PAUSED),
        "outcome": verdict.outcome.name.lower(),
        "reason": verdict.reason,
        "directives": [
            _judged(directive, bare.get(directive.id), directive.id not in unsatisfied, verdict, at) for directive in directives
        ],
    }


def _judged(directive: Directive, violation: Violation | None, waived: bool, verdict: Verdict, at: float) -> dict[str, object]:
    document: dict[str, object] = {
        "id": directive.id,
        "order": directive.order,
        "mode": directive.mode,
        "state": phase(directive, at),
        "sentence": describe(directive),
        "truth": (Truth.TRUE if violation is None else violation.truth).value,
    }
    if violation is not None:
        document["outcome"] = violation.outcome.name.lower()
        document["programme"] = violation.programme
        document["findings"] = [_finding(finding) for finding in violation.findings]
        document["waived_by"] = verdict.grants if waived else ()
    return document


def _finding(finding: Finding) -> dict[str, object]:
    return {
        "demand": finding.demand,
        "truth": finding.truth.value,
        "reason": finding.reason,
        "evidence": [_piece(piece) for piece in finding.evidence],
    }


def _piece(piece: Evidence) -> dict[str, object]:
    return {
        "kind": piece.kind.value,
        "value": piece.value,
        "source": piece.source,
        "assurance": piece.assurance.name.lower(),
        "observed_at": iso(piece.observed_at),
        "expires_at": iso(piece.expires_at),
        "readable": piece.readable,
    }


_ENDS = {
    Outcome.FORWARD: "The request is forwarded",
    Outcome.PAUSED: "The request is answered 503: the model is paused by an operator, for no legal reason",
    Outcome.QUEUE: "The request is answered 403: the caller must be vetted first",
    Outcome.REFUSE: "The request is refused with 451",
    Outcome.WITHDRAWN: "The request is refused with 451: the model is withdrawn",
}


def summary(verdict: Verdict, programmes: Mapping[str, Programme]) -> str:
    """The verdict in plain words: what happens, under which orders, because of what."""
    sentences = [_ENDS[verdict.outcome]]
    if verdict.outcome is Outcome.FORWARD:
        sentences[0] += f", thanks to the grant {', '.join(verdict.grants)}" if verdict.grants else ""
        sentences[0] += "." if verdict.grants else ": every directive in force is satisfied."
    else:
        sentences[0] += "."
    for violation in verdict.violations:
        order = violation.directive.order
        held = "is not satisfied" if violation.truth is Truth.FALSE else "cannot be told to be satisfied"
        sentences.append(f"{violation.directive.id} ({order.authority}, {order.reference}) {held}{_because(violation.findings)}.")
        if violation.programme is not None:
            programme = programmes.get(violation.programme)
            title = violation.programme if programme is None else f"{violation.programme} ({programme.title})"
            sentences.append(f"A grant of the programme {title} would satisfy it.")
    if verdict.observed:
        names = ", ".join(violation.directive.id for violation in verdict.observed)
        sentences.append(f"Only observed, not enforced: {names}.")
    return " ".join(sentences)


def _because(findings: tuple[Finding, ...]) -> str:
    parts = []
    for finding in findings:
        on = ", ".join(f"{piece.value} {piece.assurance.name.lower()}, {piece.source}" for piece in finding.evidence)
        parts.append(f"the caller must {finding.demand}, which is {finding.truth.value} ({on or 'no evidence'})")
    return f": {'; '.join(parts)}" if parts else ""
