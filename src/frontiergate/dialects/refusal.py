"""Refusals: what the gate says no with, before a dialect gives it its shape (DESIGN 5, outcomes; P7)."""

import msgspec

from frontiergate.domain.directive import Order
from frontiergate.domain.reason import Reason
from frontiergate.domain.verdict import Outcome, Truth, Verdict, Violation


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A refusal. `message` is for people: it says why, under which order, and the next step. No personal data."""

    status: int
    reason: Reason
    message: str
    request_id: str
    directive: str | None = None  # the directive that decided
    directives: tuple[str, ...] = ()  # all that are violated
    order: Order | None = None
    programme: str | None = None
    case: str | None = None
    next_step: str = ""
    docs_url: str = ""
    retry_after: int | None = None  # seconds
    model: str | None = None  # as the caller named it, where it is a model of the catalogue


class _Manner(msgspec.Struct, frozen=True):
    """How one reason is answered."""

    status: int
    next_step: str
    retry_after: int | None = None  # seconds


_ORDER = "If you think that this does not apply to you, show its reference to whoever runs this gate."
_EVIDENCE = "Ask whoever manages your account to have this recorded, with proof, by your identity provider or on your API key. " + _ORDER
_AGAIN = "Send the request again later; nothing of it was forwarded."
_BROKEN = "Send the request again later; tell whoever runs this gate if it goes on, with the request id."

_MANNERS: dict[Reason, _Manner] = {
    Reason.CALLER_CREDENTIAL_MISSING: _Manner(401, "Send your gate API key or identity token as the API key of your client."),
    Reason.CALLER_CREDENTIAL_INVALID: _Manner(401, "Send a gate API key or a token of an issuer that this gate trusts."),
    Reason.CALLER_CREDENTIAL_EXPIRED: _Manner(401, "Get a new token or API key and send the request again."),
    Reason.CALLER_CREDENTIAL_AMBIGUOUS: _Manner(401, "Send exactly one credential, in one header."),
    Reason.CALLER_OPERATION_UNKNOWN: _Manner(404, "Check the method and the path; they are compared exactly."),
    Reason.CALLER_QUERY_UNEXPECTED: _Manner(400, "Leave out the query parameters that this operation does not have."),
    Reason.CALLER_MODEL_MISSING: _Manner(400, "Name one model of the model list."),
    Reason.CALLER_MODEL_UNKNOWN: _Manner(404, "List the models to see the names that you may use; they are compared exactly."),
    Reason.CALLER_MODEL_AMBIGUOUS: _Manner(400, "Change the request so that each model is named once, in one way."),
    Reason.CALLER_BODY_UNREADABLE: _Manner(400, "Send one JSON object in UTF-8, without repeated keys."),
    Reason.CALLER_BODY_TOO_LARGE: _Manner(413, "Send a smaller request."),
    Reason.CALLER_CONTENT_TYPE_UNSUPPORTED: _Manner(415, "Send the body with Content-Type: application/json."),
    Reason.CALLER_CONTENT_ENCODING_UNSUPPORTED: _Manner(415, "Send the body uncompressed, without Content-Encoding."),
    Reason.CALLER_REQUEST_MALFORMED: _Manner(400, "Send a request that keeps to HTTP/1.1 (RFC 9112)."),
    Reason.CALLER_HEAD_TOO_LARGE: _Manner(431, "Send fewer or shorter header fields."),
    Reason.CALLER_TOO_SLOW: _Manner(408, "Send the whole request without long pauses."),
    Reason.CALLER_GONE: _Manner(499, "Keep the connection open until the answer is there."),  # for the record; nobody reads it
    Reason.POLICY_WITHDRAWN: _Manner(451, "Use another model. " + _ORDER),
    Reason.POLICY_CLOSED: _Manner(451, "Use another model. " + _ORDER),
    Reason.POLICY_NATIONALITY: _Manner(451, _EVIDENCE),
    Reason.POLICY_US_PERSON: _Manner(451, _EVIDENCE),
    Reason.POLICY_RESIDENCE: _Manner(451, _EVIDENCE),
    Reason.POLICY_LOCATION: _Manner(451, "Connect from a place that the order admits, without a VPN or proxy. " + _ORDER),
    Reason.POLICY_ORGANISATION: _Manner(451, _EVIDENCE),
    Reason.POLICY_ORGANISATION_COUNTRY: _Manner(451, _EVIDENCE),
    Reason.POLICY_NETWORK: _Manner(451, "Connect without a VPN, proxy or hosting provider in between. " + _ORDER),
    Reason.POLICY_COHORT: _Manner(451, "Use another model, or ask whoever manages your account to be admitted."),
    Reason.VETTING_REQUIRED: _Manner(403, "Ask to be vetted under the programme; send the request again once you are approved."),
    Reason.VETTING_PENDING: _Manner(403, "Wait for the reviewers' decision, then send the request again."),
    Reason.VETTING_DENIED: _Manner(403, "Use another model, or appeal as the programme provides."),
    Reason.OPERATOR_PAUSED: _Manner(503, _AGAIN, 30),
    Reason.UPSTREAM_UNREACHABLE: _Manner(502, "The model's server could not be reached. " + _AGAIN),
    Reason.UPSTREAM_BROKE: _Manner(502, _BROKEN),
    Reason.UPSTREAM_TOO_SLOW: _Manner(504, _BROKEN),
    Reason.GATE_POLICY_STALE: _Manner(503, _AGAIN, 5),
    Reason.GATE_STORE_UNAVAILABLE: _Manner(503, _AGAIN, 5),
    Reason.GATE_IDENTITY_UNAVAILABLE: _Manner(503, _AGAIN, 5),
    Reason.GATE_OVERLOADED: _Manner(503, _AGAIN, 2),
    Reason.GATE_DRAINING: _Manner(503, _AGAIN, 1),
    Reason.GATE_FAULT: _Manner(503, _BROKEN, 10),
}

# What a directive asks about, completing "your … is not admitted".
_SUBJECTS: dict[Reason, str] = {
    Reason.POLICY_NATIONALITY: "nationality",
    Reason.POLICY_US_PERSON: "status as a US person",
    Reason.POLICY_RESIDENCE: "country of residence",
    Reason.POLICY_LOCATION: "location",
    Reason.POLICY_ORGANISATION: "organisation",
    Reason.POLICY_ORGANISATION_COUNTRY: "organisation's country",
    Reason.POLICY_NETWORK: "network",
    Reason.POLICY_COHORT: "cohort",
}


def refusal_for(
    reason: Reason,
    message: str,
    request_id: str,
    docs_url: str,
    *,
    directive: str | None = None,
    directives: tuple[str, ...] = (),
    order: Order | None = None,
    programme: str | None = None,
    case: str | None = None,
    retry_after: int | None = None,
    model: str | None = None,
) -> Refusal:
    """The refusal for `reason`, with the status, next step and (where none is given) Retry-After of the table."""
    manner = _MANNERS[reason]
    return Refusal(
        status=manner.status,
        reason=reason,
        message=message,
        request_id=request_id,
        directive=directive,
        directives=directives,
        order=order,
        programme=programme,
        case=case,
        next_step=manner.next_step,
        docs_url=docs_url,
        retry_after=manner.retry_after if retry_after is None else retry_after,
        model=model,
    )


def refusal_of(verdict: Verdict, request_id: str, docs_url: str, model: str | None = None, case: str | None = None) -> Refusal:
    """The refusal for a verdict that is not forward; `model` as the caller named it. Says under which order, never on which facts."""
    if verdict.reason is None:
        raise ValueError("a verdict to forward is not refused")
    if verdict.outcome is Outcome.PAUSED or not verdict.violations:
        model = model or (verdict.models[0] if len(verdict.models) == 1 else None)
        subject = f"The model {model!r}" if model else "One of these models"
        message = f"{subject} is paused by its operator for now; that is no statement about you. {_AGAIN}"
        return refusal_for(verdict.reason, message, request_id, docs_url, model=model)
    decisive = verdict.violations[0]
    return refusal_for(
        verdict.reason,
        _explain(decisive, verdict.reason, model or decisive.model),
        request_id,
        docs_url,
        directive=decisive.directive.id,
        directives=tuple(dict.fromkeys(violation.directive.id for violation in verdict.violations)),
        order=decisive.directive.order,
        programme=decisive.programme,
        case=case,
        model=model or decisive.model,
    )


def gate_object(refusal: Refusal) -> dict[str, object]:
    """The `frontier_gate` member that every dialect's error carries, the same in all; what is unknown is left out."""
    order = refusal.order
    named: dict[str, object] = {
        "reason": refusal.reason.value,
        "directive": refusal.directive,
        "directives": refusal.directives,
        "order": order and _present({"authority": order.authority, "reference": order.reference, "url": order.url}),
        "programme": refusal.programme,
        "case": refusal.case,
        "model": refusal.model,
        "request_id": refusal.request_id,
        "next_step": refusal.next_step,
        "docs_url": refusal.docs_url,
    }
    return _present(named)


def _present(members: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in members.items() if value}


def _explain(decisive: Violation, reason: Reason, model: str) -> str:
    order = decisive.directive.order
    under = f"under order {order.reference} of {order.authority} (directive {decisive.directive.id})"
    next_step = _MANNERS[reason].next_step
    subject = _SUBJECTS.get(decisive.reason)
    match decisive.outcome:
        case Outcome.WITHDRAWN:
            why = f"The model {model!r} is withdrawn {under}."
        case Outcome.QUEUE:
            state = {
                Reason.VETTING_PENDING: "your case is still under review",
                Reason.VETTING_DENIED: "your request was denied",
            }.get(reason, "you have no approval that covers it")
            why = f"The model {model!r} needs an approval of programme {decisive.programme!r} {under}: {state}."
        case _ if subject is None:
            why = f"The model {model!r} is closed {under}."
        case _ if decisive.truth is Truth.UNKNOWN:
            doubt = f"it cannot be told with the certainty that it demands whether your {subject} is admitted"
            why = f"The model {model!r} is restricted {under}, and {doubt}."
        case _:
            why = f"The model {model!r} is restricted {under}, and your {subject} is not admitted."
    return f"{why} {next_step}"
