"""P7: each refusal names the directive, the order's reference and authority, the reason and the next step; explain reproduces it."""

import itertools
from typing import Any

import pytest

from tests.fixtures.gate import Gate, Reply

OPEN = {"model": "gpt-open"}


def named(reply: Reply) -> dict[str, Any]:
    """What every refusal carries, checked."""
    said = reply.json["frontier_gate"]
    assert said["reason"] == reply.reason
    assert said["request_id"] == reply.headers["x-gate-request-id"]
    assert said["next_step"]
    assert said["docs_url"].startswith("https://")
    return said


# -- refusals by policy

RULES: dict[str, tuple[dict[str, Any], str]] = {
    "withdrawn": ({"withdraw": True}, "policy_withdrawn"),
    "closed": ({"require": {"never": True}, "otherwise": "refuse"}, "policy_closed"),
    "nationality": ({"require": {"nationality": {"all_in": ["GB"]}}, "otherwise": "refuse"}, "policy_nationality"),
    "us person": ({"require": {"us_person": False}, "otherwise": "refuse"}, "policy_us_person"),
    "residence": ({"require": {"residence": {"any_in": ["US"]}}, "otherwise": "refuse"}, "policy_residence"),
    "location": ({"require": {"location": {"any_in": ["GB"]}}, "otherwise": "refuse"}, "policy_location"),
    "organisation": ({"require": {"organisation": ["acme"]}, "otherwise": "refuse"}, "policy_organisation"),
    "organisation's country": (
        {"require": {"organisation_country": {"none_in": ["CN"]}}, "otherwise": "refuse"},
        "policy_organisation_country",
    ),
    "cohort": ({"require": {"cohort": "staff"}, "otherwise": "refuse"}, "policy_cohort"),
    "vetting": ({"require": {"never": True}, "otherwise": {"vet": "caisi"}}, "vetting_required"),
}


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
@pytest.mark.parametrize(("rule", "reason"), RULES.values(), ids=RULES.keys())
def test_a_refusal_by_policy_names_directive_order_reason_and_next_step(
    gate: Gate, dialect: str, rule: dict[str, Any], reason: str
) -> None:
    path, marks = ("/v1/chat/completions", {}) if dialect == "openai" else ("/v1/messages", {"anthropic-version": "2023-06-01"})
    token = gate.token(sub="carol", address={"country": "FR"}, org_id="initech", org_country="CN")
    with gate.in_force("the-one", "openai/gpt-open", **rule):
        reply = gate.call(OPEN, path=path, headers=marks, token=token)
    said = named(reply)
    assert reply.status == (403 if reason == "vetting_required" else 451)
    assert said["reason"] == reason
    assert said["directive"] == "the-one"
    assert said["directives"] == ["the-one"]
    assert said["order"] == {"authority": "BIS", "reference": "THE-ONE"}
    assert said["model"] == "openai/gpt-open"
    message = reply.json["error"]["message"]
    for wanted in ("THE-ONE", "BIS", "the-one", said["next_step"]):
        assert wanted in message
    if reply.status == 451:
        assert reply.headers["link"].endswith('rel="blocked-by"')
    else:
        assert said["programme"] == "caisi"
    assert reply.headers["x-should-retry"] == "false"


def test_every_violated_directive_is_named_and_the_orders_url_too(gate: Gate) -> None:
    order = {"authority": "Commerce", "reference": "C-9", "url": "https://orders.example/c-9"}
    body = {
        "id": "also",
        "order": order,
        "models": [{"tag": "frontier"}],
        "require": {"nationality": {"none_in": ["CN"]}},
        "otherwise": "refuse",
    }
    gate.wait_enforced(gate.admin("POST", "/admin/v1/directives", {"directive": body, "reason": "r"}).json["epoch"])
    try:
        said = named(gate.call(token=gate.token(sub="dan", us_person=False, nationalities=["CN"])))
    finally:
        gate.wait_enforced(gate.lift("also")["epoch"])
    assert said["directives"] == ["also", "is-2026-014"]
    assert said["order"] == order


def test_a_refusal_says_nothing_of_the_facts_it_rests_on(gate: Gate) -> None:
    """Who stands behind the caller is not told what the gate knows of the caller."""
    with gate.in_force("not-cn", "openai/gpt-open", require={"nationality": {"none_in": ["CN"]}}, otherwise="refuse"):
        reply = gate.call(OPEN, token=gate.token(sub="erin", nationalities=["CN"]))
    assert b"CN" not in reply.body.replace(b"NOT-CN", b"")
    assert b"erin" not in reply.body


def test_a_severed_stream_says_as_much_as_a_refusal(gate: Gate) -> None:
    with gate.stream({"model": "gpt-open", "stream": True}) as flow:
        with gate.in_force("wd", "openai/gpt-open"):
            last = flow.rest()[-1].decode()
        for wanted in (
            "policy_withdrawn",
            '"directive":"wd"',
            '"authority":"BIS"',
            '"reference":"WD"',
            "next_step",
            flow.headers["x-gate-request-id"],
        ):
            assert wanted in last


# -- other refusals


@pytest.mark.parametrize(
    ("call", "status", "reason"),
    [
        ({"token": None}, 401, "caller_credential_missing"),
        ({"token": "garbage"}, 401, "caller_credential_invalid"),
        ({"path": "/v1/nothing"}, 404, "caller_operation_unknown"),
        ({"path": "/v1/chat/completions?x=1"}, 400, "caller_query_unexpected"),
        ({"body": {"model": "gpt-nobody-knows"}}, 404, "caller_model_unknown"),
        ({"body": {"messages": []}}, 400, "caller_model_missing"),
        ({"body": b'{"model":"gpt-open","model":"gpt-open"}'}, 400, "caller_model_ambiguous"),
        ({"body": b"{"}, 400, "caller_body_unreadable"),
        ({"body": b"x" * (33 << 20)}, 413, "caller_body_too_large"),
        ({"headers": {"content-type": "text/plain"}}, 415, "caller_content_type_unsupported"),
        ({"headers": {"content-encoding": "br"}}, 415, "caller_content_encoding_unsupported"),
        ({"headers": {"x-padding": "x" * 70_000}}, 431, "caller_head_too_large"),
        ({"headers": {"upgrade": "websocket", "connection": "upgrade"}}, 400, "caller_request_malformed"),
    ],
)
def test_every_other_refusal_says_why_and_what_to_do(gate: Gate, call: dict[str, Any], status: int, reason: str) -> None:
    reply = gate.call(call.pop("body", OPEN), **call)
    assert (reply.status, reply.reason) == (status, reason)
    said = named(reply)
    assert "directive" not in said
    assert "order" not in said, "no order forbids it: it is not blamed on one"
    assert reply.json["error"]["message"]


def test_a_pause_is_blamed_on_no_order(gate: Gate) -> None:
    with gate.paused("openai/gpt-open"):
        reply = gate.call(OPEN)
    said = named(reply)
    assert (reply.status, said["reason"]) == (503, "operator_paused")
    assert "order" not in said
    assert int(reply.headers["retry-after"]) > 0


# -- explain

CALLERS: dict[str, dict[str, Any]] = {
    "us": {"nationalities": ["US"], "us_person": True},
    "dual": {"nationalities": ["US", "CN"], "us_person": True},
    "gb": {"nationalities": ["GB"], "us_person": False, "groups": ["staff", "research"]},
    "unknown": {"nationalities": None, "us_person": None},
    "employed": {"nationalities": ["FR"], "us_person": False, "org_id": "acme", "org_country": ["FR", "CN"], "address": {"country": "FR"}},
}
PLURAL = {"nationality": "nationality", "organisation_country": "organisation_country", "cohort": "cohorts"}


def question_of(record: dict[str, Any]) -> dict[str, Any]:
    """What an auditor asks with nothing but a decision's record in hand."""
    question: dict[str, Any] = {"models": record["models"]}
    if record.get("location"):
        question["location"] = record["location"]
    for fact in record.get("facts", []):
        if fact["kind"] == "location" or fact["assurance"] == "presumed":  # the gate presumes it again from the location
            continue
        if fact["kind"] in PLURAL:
            question.setdefault(PLURAL[fact["kind"]], []).append(fact["value"])
        else:
            question[fact["kind"]] = fact["value"] == "true" if fact["kind"] == "us_person" else fact["value"]
    return question


def test_explain_reproduces_each_decision_from_its_record(gate: Gate) -> None:
    eyes = {"require": {"nationality": {"all_in": ["five_eyes"]}}, "otherwise": {"vet": "caisi"}, "unknown": "refuse"}
    place = {"require": {"any_of": [{"location": {"none_in": ["CN"]}}, {"cohort": "staff"}]}, "otherwise": "refuse"}
    observed = {"require": {"organisation_country": {"none_in": ["CN"]}}, "otherwise": "withdraw", "mode": "observe"}
    with (
        gate.in_force("eyes", "openai/*", **eyes),
        gate.in_force("place", "openai/gpt-open", **place),
        gate.in_force("trial", "openai/*", **observed),
    ):
        epoch = gate.admin("GET", "/admin/v1/epoch").json["epoch"]
        asked: dict[str, Reply] = {}
        for (name, claims), source, model in itertools.product(
            CALLERS.items(), ("127.0.0.1", "127.0.0.2"), ("gpt-open", "gpt-frontier", "gpt-vetted")
        ):
            reply = gate.call({"model": model}, token=gate.token(sub=name, **claims), source=source)
            asked[reply.headers["x-gate-request-id"]] = reply
        records = gate.wait_decisions(lambda records: asked.keys() <= {r["id"] for r in records if r["kind"] == "decision"})
        seen = set()
        for record in records:
            if record["kind"] != "decision" or record["id"] not in asked:
                continue
            explained = gate.admin("POST", "/admin/v1/explain", question_of(record)).json
            verdict = explained["verdict"]
            assert verdict["outcome"] == record["verdict"], f"{record} {explained}"
            assert verdict["reason"] == record.get("reason")
            assert tuple(verdict["directives"]) == tuple(record.get("directives", ()))
            assert tuple(verdict["observed"]) == tuple(record.get("observed", ()))
            assert explained["epoch"] == record["epoch"] == epoch
            evidence = {(fact["kind"], fact["value"]) for fact in record["facts"]}
            assert evidence == {(fact["kind"], fact["value"]) for fact in explained["facts"]}
            reply = asked[record["id"]]
            assert reply.reason == record.get("reason")
            if reply.status != 200:
                assert named(reply)["directives"] == record["directives"]
            seen.add((record["verdict"], record.get("reason")))
    assert len(seen) > 4, "many kinds of verdict were compared"


def test_explain_shows_the_directive_the_evidence_and_the_grant(gate: Gate) -> None:
    gate.new_grant("https://idp.example|frank", "openai/gpt-vetted")
    ask = {
        "model": "openai/gpt-vetted",
        "principal": "https://idp.example|frank",
        "nationality": ["US"],
        "us_person": True,
        "address": "127.0.0.1",
    }
    explained = gate.admin("POST", "/admin/v1/explain", ask).json
    assert explained["verdict"]["outcome"] == "forward"
    assert [grant["counts"] for grant in explained["grants"]] == [True]
    explained = gate.admin("POST", "/admin/v1/explain", {**ask, "principal": "https://idp.example|grace"}).json
    assert explained["verdict"]["reason"] == "vetting_required"
    assert explained["verdict"]["directives"] == ["caisi-1"]


def test_explain_on_the_command_line_says_who_ordered_it(gate: Gate) -> None:
    done = gate.cli("explain", "--model", "openai/gpt-frontier", "--us-person", "no", "--address", "127.0.0.1")
    assert done.returncode == 0
    for wanted in ("is-2026-014", "IS-2026-014", "Bureau of Industry and Security", "us_person"):
        assert wanted in done.stdout


def test_a_decision_is_explained_as_of_its_own_time(gate: Gate) -> None:
    ends = {"withdraw": True, "until": "2030-01-01T00:00:00Z"}
    with gate.in_force("until-2030", "openai/gpt-open", **ends):
        ask = {"model": "openai/gpt-open", "nationality": ["US"], "us_person": True, "location": "US"}
        assert gate.admin("POST", "/admin/v1/explain", ask).json["verdict"]["reason"] == "policy_withdrawn"
        later = {**ask, "at": "2030-01-01T00:00:00Z"}
        assert gate.admin("POST", "/admin/v1/explain", later).json["verdict"]["outcome"] == "forward"
