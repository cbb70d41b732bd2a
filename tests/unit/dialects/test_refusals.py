"""What the gate says no with: every reason, in every dialect, as the official clients read it (P6, P7)."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import httpx2
import msgspec
import openai
import pytest

from frontiergate.dialects.operation import Dialect, Operation
from frontiergate.dialects.refusal import Refusal, gate_object, refusal_for, refusal_of
from frontiergate.dialects.registry import DIALECTS
from frontiergate.domain.directive import Directive, Order
from frontiergate.domain.evidence import Assurance, Evidence, Kind
from frontiergate.domain.reason import Reason
from frontiergate.domain.verdict import Finding, Outcome, Truth, Verdict, Violation

ORDER = Order(authority="Bureau of Industry and Security", reference="IS-2026-014", url="https://orders.example/14")
DOCS = "https://docs.example"
STATUSES = {
    "caller_credential_": 401,
    "caller_operation_unknown": 404,
    "caller_model_unknown": 404,
    "caller_body_too_large": 413,
    "caller_content_": 415,
    "caller_head_too_large": 431,
    "caller_too_slow": 408,
    "caller_gone": 499,
    "caller_": 400,
    "policy_": 451,
    "vetting_": 403,
    "operator_": 503,
    "upstream_too_slow": 504,
    "upstream_": 502,
    "gate_": 503,
}


def refusal(reason: Reason) -> Refusal:
    return refusal_for(
        reason,
        "Because.",
        "req_1",
        DOCS,
        directive="is-2026-014",
        directives=("is-2026-014", "other"),
        order=ORDER,
        programme="caisi",
        case="case_1",
        model="gpt-frontier",
    )


def directive(id: str = "is-2026-014") -> Directive:
    return Directive(id=id, order=ORDER, models=("*",), withdraw=True)


def violation(outcome: Outcome, reason: Reason, truth: Truth = Truth.FALSE, id: str = "is-2026-014") -> Violation:
    evidence = Evidence(
        kind=Kind.NATIONALITY, value="CN", source="token https://idp.example", assurance=Assurance.VERIFIED, observed_at=0.0
    )
    finding = Finding("nationality all in US", truth, reason, (evidence,))
    programme = "caisi" if outcome is Outcome.QUEUE else None
    return Violation(directive(id), "openai/gpt-frontier", truth, outcome, programme, reason, (finding,))


def verdict(outcome: Outcome, reason: Reason | None, *violations: Violation) -> Verdict:
    return Verdict(outcome, reason, ("openai/gpt-frontier",), violations, (), (), 7, float("inf"))


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_its_status_and_a_next_step(reason: Reason) -> None:
    made = refusal_for(reason, "Because.", "req_1", DOCS)
    assert made.status == next(status for prefix, status in STATUSES.items() if reason.value.startswith(prefix))
    assert made.next_step.endswith(".")
    assert (made.retry_after is not None) == (made.status == 503)
    assert refusal_for(reason, "Because.", "req_1", DOCS, retry_after=9).retry_after == 9


@pytest.mark.parametrize("name", sorted(DIALECTS))
@pytest.mark.parametrize("reason", list(Reason))
def test_every_refusal_has_the_shape_of_its_dialect(name: str, reason: Reason) -> None:
    body = json.loads(DIALECTS[name].refuse(refusal(reason)))
    if name == "openai":
        assert set(body) == {"error", "frontier_gate"}
        assert body["error"].keys() == {"message", "type", "param", "code"}
        assert body["error"]["code"] == reason.value
    else:
        assert body["type"] == "error"
        assert body["error"].keys() == {"type", "message"}
        assert body["request_id"] == "req_1"
        if body["error"]["type"] != "request_too_large":  # the API's, but not in its client's closed list
            anthropic.types.ErrorResponse.model_validate(body)
    assert body["error"]["message"] == "Because."
    gate = body["frontier_gate"]
    assert gate.pop("next_step")
    assert gate == {
        "reason": reason.value,
        "directive": "is-2026-014",
        "directives": ["is-2026-014", "other"],
        "order": {"authority": ORDER.authority, "reference": ORDER.reference, "url": ORDER.url},
        "programme": "caisi",
        "case": "case_1",
        "model": "gpt-frontier",
        "request_id": "req_1",
        "docs_url": DOCS,
    }


def test_members_that_are_not_known_are_left_out() -> None:
    assert gate_object(refusal_for(Reason.CALLER_MODEL_MISSING, "x", "req_1", "")).keys() == {"reason", "request_id", "next_step"}
    bare = msgspec.structs.replace(refusal(Reason.POLICY_CLOSED), order=Order(authority="A", reference="R"))
    assert gate_object(bare)["order"] == {"authority": "A", "reference": "R"}


def respond(status: int, content: bytes, content_type: str = "application/json") -> httpx2.Client:
    headers = {"content-type": content_type, "x-should-retry": "false"}
    return httpx2.Client(transport=httpx2.MockTransport(lambda _: httpx2.Response(status, content=content, headers=headers)))


def ask(name: str, client: httpx2.Client, *, stream: bool = False, operation: str = "") -> Iterator[Any]:
    """One request of the official client, as it is; yields the events of a stream."""
    messages = [{"role": "user", "content": "hi"}]
    call: Callable[..., Any]
    if name == "openai":
        sdk = openai.OpenAI(api_key="k", base_url="http://gate.example/v1", http_client=client)
        call = sdk.responses.create if operation == "responses" else sdk.chat.completions.create
        answer = call(model="m", stream=stream, **({"input": "hi"} if operation == "responses" else {"messages": messages}))
    else:
        call = anthropic.Anthropic(api_key="k", base_url="http://gate.example", http_client=client).messages.create
        answer = call(model="m", max_tokens=1, messages=messages, stream=stream)
    yield from answer


EXCEPTIONS = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    451: "APIStatusError",
}


@pytest.mark.parametrize("name", sorted(DIALECTS))
@pytest.mark.parametrize("reason", list(Reason))
def test_the_official_client_raises_its_own_exception(name: str, reason: Reason) -> None:
    made = refusal(reason)
    sdk: Any = openai if name == "openai" else anthropic
    with pytest.raises(sdk.APIStatusError) as caught:
        list(ask(name, respond(made.status, DIALECTS[name].refuse(made))))
    assert caught.value.status_code == made.status
    if made.status in EXCEPTIONS:
        assert type(caught.value) is getattr(sdk, EXCEPTIONS[made.status])
    if made.status >= 500:
        assert isinstance(caught.value, sdk.InternalServerError)
    assert "Because." in str(caught.value)
    if name == "openai":
        assert caught.value.code == reason.value
    assert caught.value.response.json()["frontier_gate"]["reason"] == reason.value


def operations() -> list[tuple[Dialect, Operation]]:
    return [(dialect, operation) for dialect in DIALECTS.values() for operation in dialect.operations if operation.method == b"POST"]


@pytest.mark.parametrize(("dialect", "operation"), operations(), ids=lambda part: part.name)
def test_a_severed_stream_ends_in_one_event_that_the_client_raises_on(dialect: Dialect, operation: Operation) -> None:
    event = dialect.sever(refusal(Reason.POLICY_WITHDRAWN), operation)
    assert event.endswith(b"\n\n")
    assert event.count(b"\n\n") == 1
    first = {
        "chat.completions": b'data: {"id":"1","object":"chat.completion.chunk","created":0,"model":"m","choices":[]}\n\n',
        "responses": b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"x","sequence_number":1}\n\n',
        "messages": b'event: ping\ndata: {"type":"ping"}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n',
    }.get(operation.name, b"")
    sdk: Any = openai if dialect.name == "openai" else anthropic
    seen = []
    with pytest.raises(sdk.APIError) as caught:  # noqa: PT012 - the events before it count
        for item in ask(dialect.name, respond(200, first + event, "text/event-stream"), stream=True, operation=operation.name):
            seen.append(item)
    assert len(seen) == bool(first)
    assert "Because." in str(caught.value)


def test_a_responses_stream_ends_in_the_error_event_of_its_schema() -> None:
    dialect = DIALECTS["openai"]
    operation = next(operation for operation in dialect.operations if operation.name == "responses")
    name, data = dialect.sever(refusal(Reason.POLICY_WITHDRAWN), operation).decode().rstrip().split("\n")
    assert name == "event: error"
    event = openai.types.responses.ResponseErrorEvent.model_validate_json(data.removeprefix("data: "))
    assert (event.code, event.message) == ("policy_withdrawn", "Because.")


@pytest.mark.parametrize(
    ("decided", "status", "says"),
    [
        (
            verdict(Outcome.WITHDRAWN, Reason.POLICY_WITHDRAWN, violation(Outcome.WITHDRAWN, Reason.POLICY_WITHDRAWN)),
            451,
            "is withdrawn under",
        ),
        (verdict(Outcome.REFUSE, Reason.POLICY_CLOSED, violation(Outcome.REFUSE, Reason.POLICY_CLOSED)), 451, "is closed under"),
        (
            verdict(Outcome.REFUSE, Reason.POLICY_NATIONALITY, violation(Outcome.REFUSE, Reason.POLICY_NATIONALITY)),
            451,
            "your nationality is not admitted",
        ),
        (
            verdict(Outcome.REFUSE, Reason.POLICY_LOCATION, violation(Outcome.REFUSE, Reason.POLICY_LOCATION, Truth.UNKNOWN)),
            451,
            "it cannot be told",
        ),
        (
            verdict(Outcome.QUEUE, Reason.VETTING_REQUIRED, violation(Outcome.QUEUE, Reason.VETTING_REQUIRED)),
            403,
            "needs an approval of programme 'caisi'",
        ),
        (
            verdict(Outcome.QUEUE, Reason.VETTING_PENDING, violation(Outcome.QUEUE, Reason.VETTING_REQUIRED)),
            403,
            "still under review",
        ),
        (verdict(Outcome.QUEUE, Reason.VETTING_DENIED, violation(Outcome.QUEUE, Reason.VETTING_REQUIRED)), 403, "was denied"),
    ],
    ids=lambda part: part.reason.value if isinstance(part, Verdict) else None,
)
def test_a_verdict_is_explained_with_its_order_and_without_the_callers_facts(decided: Verdict, status: int, says: str) -> None:
    made = refusal_of(decided, "req_1", DOCS, "gpt-frontier", case="case_1")
    assert (made.status, made.reason, made.case, made.model) == (status, decided.reason, "case_1", "gpt-frontier")
    assert (made.directive, made.directives, made.order) == ("is-2026-014", ("is-2026-014",), ORDER)
    assert says in made.message
    for part in ("gpt-frontier", ORDER.authority, ORDER.reference, "is-2026-014", made.next_step):
        assert part in made.message
    for dialect in DIALECTS.values():
        text = dialect.refuse(made).decode()
        assert "CN" not in text
        assert "idp.example" not in text


def test_every_violated_directive_is_named_the_decisive_one_first() -> None:
    made = refusal_of(
        verdict(
            Outcome.REFUSE,
            Reason.POLICY_CLOSED,
            violation(Outcome.REFUSE, Reason.POLICY_CLOSED, id="b"),
            violation(Outcome.REFUSE, Reason.POLICY_CLOSED, id="b"),
            violation(Outcome.QUEUE, Reason.VETTING_REQUIRED, id="a"),
        ),
        "req_1",
        DOCS,
    )
    assert (made.directive, made.directives, made.model) == ("b", ("b", "a"), "openai/gpt-frontier")


def test_a_pause_makes_no_legal_claim() -> None:
    made = refusal_of(verdict(Outcome.PAUSED, Reason.OPERATOR_PAUSED), "req_1", DOCS)
    assert (made.status, made.retry_after, made.order, made.directives) == (503, 30, None, ())
    assert "'openai/gpt-frontier' is paused by its operator" in made.message
    several = msgspec.structs.replace(verdict(Outcome.PAUSED, Reason.OPERATOR_PAUSED), models=("a", "b"))
    assert "One of these models is paused" in refusal_of(several, "req_1", DOCS).message


def test_a_verdict_to_forward_is_no_refusal() -> None:
    with pytest.raises(ValueError, match="not refused"):
        refusal_of(verdict(Outcome.FORWARD, None), "req_1", DOCS)
