"""P3: the most restrictive directive wins; order does not matter; adding a directive never admits anyone."""

import itertools
from typing import Any

import pytest

from tests.fixtures.gate import Gate, Reply
from tests.fixtures.upstream import Upstream

MODELS = ["gpt-frontier", "gpt-open", "gpt-vetted"]
CALLERS: dict[str, dict[str, Any]] = {
    "us": {"nationalities": ["US"], "us_person": True},
    "us cn": {"nationalities": ["US", "CN"], "us_person": True},
    "resident": {"nationalities": ["CN"], "us_person": True},
    "gb": {"nationalities": ["GB"], "us_person": False},
    "nobody knows": {"nationalities": None, "us_person": None},
    "staff": {"nationalities": ["FR"], "us_person": False, "groups": ["staff"]},
}


def directive(id: str, models: list[Any], **rule: Any) -> dict[str, Any]:
    return {"id": id, "order": {"authority": "A", "reference": id.upper()}, "models": models, **rule}


DIRECTIVES = [
    directive("a-us", ["openai/gpt-frontier"], require={"us_person": True}, otherwise="refuse", unknown={"vet": "caisi"}),
    directive("b-eyes", ["openai/gpt-*"], require={"nationality": {"all_in": ["five_eyes"]}}, otherwise={"vet": "caisi"}),
    directive("c-place", ["openai/gpt-frontier", "openai/gpt-open"], require={"location": {"none_in": ["CN"]}}, otherwise="refuse"),
    directive("d-staff", ["openai/gpt-vetted"], require={"any_of": [{"cohort": "staff"}, {"us_person": True}]}, otherwise="withdraw"),
    directive("e-gone", ["openai/gpt-open"], require={"not": {"nationality": {"any_in": ["GB"]}}}, otherwise="withdraw"),
]


def verdicts(gate: Gate) -> dict[tuple[str, str, str], tuple[Any, ...]]:
    """What becomes of each caller, from each place, with each model."""
    found = {}
    for (name, claims), source, model in itertools.product(CALLERS.items(), ("127.0.0.1", "127.0.0.2"), MODELS):
        reply = gate.call({"model": model}, token=gate.token(sub=name, **claims), source=source)
        said = reply.json.get("frontier_gate", {})
        found[name, source, model] = (
            reply.status,
            reply.headers["x-gate-verdict"],
            reply.reason,
            said.get("directive"),
            tuple(said.get("directives", ())),
        )
    return found


def admitted(gate: Gate) -> set[tuple[str, str, str]]:
    return {case for case, verdict in verdicts(gate).items() if verdict[0] == 200}


def test_the_order_of_directives_in_the_file_does_not_matter(new_gate) -> None:
    orders = [DIRECTIVES, DIRECTIVES[::-1], [*DIRECTIVES[2:], *DIRECTIVES[:2]]]
    first, *others = [verdicts(new_gate(directives=order)) for order in orders]
    assert len(set(first.values())) > 4, "the callers are told apart"
    for other in others:
        assert other == first


def test_adding_a_directive_never_admits_anyone(new_gate) -> None:
    gate: Gate = new_gate(directives=[], workers=2)
    before = admitted(gate)
    assert len(before) == len(CALLERS) * 2 * len(MODELS)
    for added in DIRECTIVES:
        rule = {key: value for key, value in added.items() if key not in {"id", "models", "order"}}
        gate.wait_enforced(gate.put_in_force(added["id"], *added["models"], **rule)["epoch"])
        after = admitted(gate)
        assert after <= before, added["id"]
        before = after
    assert before, "some are still admitted"
    at_runtime = verdicts(gate)
    assert at_runtime == verdicts(new_gate(directives=DIRECTIVES)), "it is the same whether from the file or at runtime"


NOBODY = {"require": {"never": True}}
VET, REFUSE, WITHDRAW = ({**NOBODY, "otherwise": otherwise} for otherwise in ({"vet": "caisi"}, "refuse", "withdraw"))


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ([VET, REFUSE], "policy_closed"),
        ([REFUSE, VET], "policy_closed"),
        ([REFUSE, WITHDRAW], "policy_withdrawn"),
        ([WITHDRAW, REFUSE], "policy_withdrawn"),
        ([VET, WITHDRAW], "policy_withdrawn"),
        ([WITHDRAW, VET], "policy_withdrawn"),
    ],
)
def test_the_most_restrictive_of_two_directives_wins(
    gate: Gate, shared_upstream: Upstream, rules: list[dict[str, Any]], reason: str
) -> None:
    count = len(shared_upstream.requests)
    with gate.in_force("first", "openai/gpt-open", **rules[0]), gate.in_force("second", "openai/gpt-open", **rules[1]):
        reply = gate.call({"model": "gpt-open"})
    assert reply.reason == reason
    assert reply.headers["x-gate-verdict"] == ("withdrawn" if reason == "policy_withdrawn" else "refuse")
    assert sorted(reply.json["frontier_gate"]["directives"]) == ["first", "second"], "every violated one is reported"
    assert len(shared_upstream.requests) == count


def test_a_grant_satisfies_vetting_but_overrides_no_refusal(gate: Gate) -> None:
    caller = gate.token(sub="approved")
    gate.new_grant("https://idp.example|approved", "openai/gpt-open")
    with gate.in_force("vet", "openai/gpt-open", **VET) as report:
        gate.wait_enforced(report["epoch"])
        assert gate.call({"model": "gpt-open"}, token=caller).status == 200
        assert gate.call({"model": "gpt-open"}).reason == "vetting_required"
        with gate.in_force("refuse", "openai/gpt-open", **REFUSE):
            assert gate.call({"model": "gpt-open"}, token=caller).reason == "policy_closed"
        with gate.in_force("withdraw", "openai/gpt-open", **WITHDRAW):
            assert gate.call({"model": "gpt-open"}, token=caller).reason == "policy_withdrawn"


def test_a_pause_never_hides_what_the_law_forbids(gate: Gate) -> None:
    with gate.paused("openai/gpt-open"):
        assert gate.call({"model": "gpt-open"}).reason == "operator_paused"
        with gate.in_force("wd", "openai/gpt-open"):
            assert gate.call({"model": "gpt-open"}).reason == "policy_withdrawn"


def test_the_most_restrictive_of_all_models_of_a_request_wins(gate: Gate) -> None:
    def ask(*models: str) -> Reply:
        return gate.call({"model": models[0], "models": models})

    assert ask("gpt-frontier", "gpt-open").status == 200
    with gate.in_force("wd", "openai/gpt-open"):
        for models in itertools.permutations(["gpt-frontier", "gpt-open", "gpt-vetted"]):
            assert ask(*models).reason == "policy_withdrawn", models
        assert ask("gpt-frontier", "gpt-vetted").reason == "vetting_required"


def test_what_is_only_observed_decides_nothing_and_is_recorded(gate: Gate) -> None:
    with gate.in_force("trial", "openai/gpt-open", withdraw=True, mode="observe"):
        reply = gate.call({"model": "gpt-open"})
        assert reply.status == 200
        request_id = reply.headers["x-gate-request-id"]
        records = gate.wait_decisions(lambda records: any(r["id"] == request_id for r in records))
    assert next(r for r in records if r["id"] == request_id)["observed"] == ["trial"]
