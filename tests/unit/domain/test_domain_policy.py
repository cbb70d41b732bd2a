"""Decisions: outcomes, grants, pauses, time, and what is remembered (DESIGN 4.2; P2, P3, P7)."""

import math
import sys

import pytest

from frontiergate.domain import policy
from frontiergate.domain.catalogue import Model
from frontiergate.domain.evidence import Kind
from frontiergate.domain.facts import establish
from frontiergate.domain.policy import compile_policy, decide, in_force
from frontiergate.domain.reason import Reason
from frontiergate.domain.scope import glob_matches
from frontiergate.domain.verdict import Outcome, Truth
from tests.reference.made import CATALOGUE, CYBER, GROUPS, OLD, PLAIN, directive, evidence, grant, instant

AT = 100.0
US_PERSON = {"us_person": True}
VET = {"require": US_PERSON, "otherwise": {"vet": "caisi"}}
NOBODY = establish([], AT)


def compiled(*directives, pauses=()):
    return compile_policy(CATALOGUE, directives, pauses, GROUPS, 7)


def judged(require, *pieces, **fields):
    return decide(establish(pieces, AT), [CYBER], compiled(directive(require=require, **fields)), (), AT)


def test_without_directives_everybody_is_forwarded():
    verdict = decide(NOBODY, [CYBER], compiled(), (), AT)
    assert (verdict.outcome, verdict.reason, verdict.models) == (Outcome.FORWARD, None, (CYBER.id,))
    assert (verdict.epoch, verdict.valid_until) == (7, math.inf)


def test_a_violation_says_what_was_demanded_how_it_was_judged_and_on_which_evidence():
    own, weak, place = evidence("nationality", "US"), evidence("nationality", "CN", "asserted"), evidence("location", "FR")
    verdict = judged({"nationality": {"all_in": ["five_eyes"]}}, own, weak, place)
    [violation] = verdict.violations
    [finding] = violation.findings
    assert (verdict.outcome, verdict.reason) == (Outcome.REFUSE, Reason.POLICY_NATIONALITY)
    assert (violation.model, violation.truth, violation.programme) == (CYBER.id, Truth.FALSE, None)
    assert (finding.demand, finding.truth) == ("hold only nationalities of five_eyes", Truth.FALSE)
    assert finding.evidence == (own, weak)
    assert violation.directive.order.reference == "IS-2026-014"


@pytest.mark.parametrize(
    ("require", "reason"),
    [
        (US_PERSON, Reason.POLICY_US_PERSON),
        ({"residence": {"all_in": ["US"]}}, Reason.POLICY_RESIDENCE),
        ({"location": {"all_in": ["US"]}}, Reason.POLICY_LOCATION),
        ({"organisation": "acme"}, Reason.POLICY_ORGANISATION),
        ({"organisation_country": {"all_in": ["US"]}}, Reason.POLICY_ORGANISATION_COUNTRY),
        ({"network": "ordinary"}, Reason.POLICY_NETWORK),
        ({"cohort": "alpha"}, Reason.POLICY_COHORT),
        ({"never": True}, Reason.POLICY_CLOSED),
    ],
)
def test_each_atom_has_its_reason(require, reason):
    assert judged(require).reason is reason


def test_withdrawing_has_its_own_reason():
    verdict = decide(NOBODY, [CYBER], compiled(directive(withdraw=True)), (), AT)
    assert (verdict.outcome, verdict.reason) == (Outcome.WITHDRAWN, Reason.POLICY_WITHDRAWN)
    assert verdict.violations[0].findings[0].evidence == ()
    assert judged({"us_person": True}, otherwise="withdraw").reason is Reason.POLICY_US_PERSON


def test_false_demands_are_found_before_unknown_ones_and_satisfied_ones_not_at_all():
    require = {"all_of": [{"cohort": "alpha"}, {"residence": {"all_in": ["US"]}}, {"nationality": {"all_in": ["US"]}}]}
    verdict = judged(require, evidence("nationality", "CN"), evidence("residence", "US"))
    assert [finding.reason for finding in verdict.violations[0].findings] == [Reason.POLICY_NATIONALITY, Reason.POLICY_COHORT]
    assert verdict.reason is Reason.POLICY_NATIONALITY


def test_unknown_has_its_own_answer():
    verdict = judged(US_PERSON, otherwise="refuse", unknown={"vet": "caisi"})
    assert (verdict.outcome, verdict.reason) == (Outcome.QUEUE, Reason.VETTING_REQUIRED)
    assert (verdict.violations[0].truth, verdict.violations[0].programme) == (Truth.UNKNOWN, "caisi")
    denied = judged(US_PERSON, evidence("us_person", "false"), otherwise="refuse", unknown={"vet": "caisi"})
    assert denied.outcome is Outcome.REFUSE


def test_all_violated_directives_are_reported_most_restrictive_first_then_by_id():
    rules = [
        directive("b", require=US_PERSON),
        directive("a", require=US_PERSON),
        directive("c", withdraw=True),
        directive("d", **VET),
    ]
    verdict = decide(NOBODY, [CYBER], compiled(*rules), (), AT)
    assert [violation.directive.id for violation in verdict.violations] == ["c", "a", "b", "d"]
    assert verdict.reason is Reason.POLICY_WITHDRAWN


def test_several_models_are_joined():
    rules = [directive("a", [CYBER.id], **VET), directive("b", [PLAIN.id], require=US_PERSON)]
    verdict = decide(NOBODY, [CYBER, PLAIN, OLD, CYBER], compiled(*rules), (), AT)
    assert verdict.models == (CYBER.id, PLAIN.id, OLD.id)
    assert [(violation.directive.id, violation.model) for violation in verdict.violations] == [("b", PLAIN.id), ("a", CYBER.id)]
    assert verdict.outcome is Outcome.REFUSE


def test_models_are_selected_by_id_glob_and_tag():
    rules = [
        directive("id", [OLD.id]),
        directive("glob", ["openai/*"]),
        directive("inner", ["*frontier*"]),
        directive("tag", [{"tag": "cyber"}]),
        directive("none", ["nothing/*", "nothing", {"tag": "x"}]),
        directive("end", ["*old"]),
    ]
    now = compiled(*(r.__class__(id=r.id, order=r.order, models=r.models, withdraw=True) for r in rules))
    assert [found.id for found in in_force(now, CYBER.id, AT)] == ["inner", "tag"]
    assert [found.id for found in in_force(now, PLAIN.id, AT)] == ["glob", "inner"]
    assert [found.id for found in in_force(now, OLD.id, AT)] == ["end", "glob", "id"]


def test_hostile_globs_cost_nothing_special():
    assert not glob_matches("*a" * 40 + "*b", "a" * 4000)
    assert not glob_matches("ab*ba", "aba")
    assert glob_matches("ab*ba", "abba")


def test_an_observed_directive_is_reported_and_does_not_act():
    verdict = decide(NOBODY, [CYBER], compiled(directive(withdraw=True, mode="observe")), (), AT)
    assert (verdict.outcome, verdict.reason, verdict.violations) == (Outcome.FORWARD, None, ())
    assert verdict.observed[0].outcome is Outcome.WITHDRAWN


def test_a_pause_is_below_every_restriction():
    paused = compiled(pauses=[CYBER.id])
    assert decide(NOBODY, [CYBER], paused, (), AT).reason is Reason.OPERATOR_PAUSED
    assert decide(NOBODY, [PLAIN], paused, (), AT).outcome is Outcome.FORWARD
    assert decide(NOBODY, [PLAIN, CYBER], paused, (), AT).outcome is Outcome.PAUSED
    assert decide(NOBODY, [CYBER], compiled(directive(**VET), pauses=[CYBER.id]), (), AT).reason is Reason.VETTING_REQUIRED


def test_a_grant_satisfies_its_programme_and_model_until_it_expires():
    now = compiled(directive(**VET))
    held = (grant(expires_at=200.0),)
    verdict = decide(NOBODY, [CYBER], now, held, AT)
    assert (verdict.outcome, verdict.grants, verdict.valid_until) == (Outcome.FORWARD, ("g-1",), 200.0)
    assert decide(NOBODY, [CYBER], now, held, 200.0).outcome is Outcome.QUEUE
    assert decide(NOBODY, [CYBER], now, held, 199.0).outcome is Outcome.FORWARD
    assert decide(NOBODY, [PLAIN], now, held, AT).outcome is Outcome.QUEUE
    assert decide(NOBODY, [CYBER], now, (grant(programme="other"),), AT).outcome is Outcome.QUEUE
    assert decide(NOBODY, [CYBER], now, (grant(state="suspended"),), AT).outcome is Outcome.QUEUE


def test_the_grant_that_lasts_longest_is_used():
    held = (grant("a", expires_at=150.0), grant("b", expires_at=300.0), grant("c", expires_at=200.0))
    verdict = decide(NOBODY, [CYBER], compiled(directive(**VET)), held, AT)
    assert (verdict.grants, verdict.valid_until) == (("b",), 300.0)


def test_a_grant_that_is_not_needed_bounds_nothing():
    us = establish([evidence("us_person", "true")], AT)
    verdict = decide(us, [CYBER], compiled(directive(**VET)), (grant(expires_at=150.0),), AT)
    assert (verdict.grants, verdict.valid_until) == ((), math.inf)


def test_a_grant_never_overrides_refuse_or_withdraw():
    for rule in (directive(require=US_PERSON), directive(withdraw=True)):
        assert decide(NOBODY, [CYBER], compiled(rule, directive("vet", **VET)), (grant(),), AT).outcome >= Outcome.REFUSE


def test_a_grant_under_an_observed_directive_is_not_what_the_verdict_rests_on():
    verdict = decide(NOBODY, [CYBER], compiled(directive(**VET, mode="observe")), (grant(expires_at=150.0),), AT)
    assert (verdict.observed, verdict.grants, verdict.valid_until) == ((), (), 150.0)


def test_directives_start_and_end_at_their_instants():
    rule = directive(withdraw=True, **{"from": instant(200.0).isoformat(), "until": instant(300.0).isoformat()})
    now = compiled(rule)
    assert decide(NOBODY, [CYBER], now, (), AT).valid_until == 200.0
    assert [decide(NOBODY, [CYBER], now, (), at).outcome for at in (199.9, 200.0, 299.9, 300.0, 100.0)] == [0, 4, 4, 0, 0]
    assert [in_force(now, CYBER.id, at) for at in (150.0, 250.0, 300.0)] == [(), (rule,), ()]


def test_an_instant_of_one_model_is_none_of_anothers():
    now = compiled(directive("d", [CYBER.id], withdraw=True, **{"from": instant(200.0).isoformat()}))
    assert decide(NOBODY, [PLAIN], now, (), AT).valid_until == math.inf
    assert decide(NOBODY, [PLAIN, CYBER], now, (), AT).valid_until == 200.0


def test_a_directive_that_ends_before_it_starts_is_never_in_force():
    rule = directive(withdraw=True, **{"from": instant(300.0).isoformat(), "until": instant(200.0).isoformat()})
    assert {decide(NOBODY, [CYBER], compiled(rule), (), at).outcome for at in (100.0, 250.0, 350.0)} == {Outcome.FORWARD}


def test_evidence_that_expires_changes_the_verdict_at_that_moment():
    facts = establish([evidence("us_person", "true", expires_at=150.0)], AT)
    now = compiled(directive(require=US_PERSON))
    assert decide(facts, [CYBER], now, (), AT).valid_until == 150.0
    assert decide(facts, [CYBER], now, (), 150.0).outcome is Outcome.REFUSE
    assert decide(facts, [CYBER], now, (), 149.0).outcome is Outcome.FORWARD


def test_a_repeated_decision_gives_the_same_verdict_object():
    facts, held, now = establish([], AT), (grant(expires_at=200.0),), compiled(directive("v", [CYBER.id], **VET))
    for model in (CYBER, PLAIN):
        assert decide(facts, [model], now, held, AT) is decide(facts, [model], now, held, AT + 1)
    assert decide(facts, [PLAIN], now, (), AT) is decide(facts, [PLAIN], now, held, AT)


def test_another_policy_or_other_grants_are_never_answered_from_memory():
    facts = establish([], AT)
    open_, closed = compiled(), compiled(directive(**VET))
    for _ in range(2):
        assert decide(facts, [CYBER], open_, (), AT).outcome is Outcome.FORWARD
        assert decide(facts, [CYBER], closed, (), AT).outcome is Outcome.QUEUE
        assert decide(facts, [CYBER], closed, (grant(),), AT).outcome is Outcome.FORWARD


def test_a_list_of_grants_is_read_again_each_time():
    facts, held, now = establish([], AT), [grant()], compiled(directive(**VET))
    assert decide(facts, [CYBER], now, held, AT).outcome is Outcome.FORWARD
    held.clear()
    assert decide(facts, [CYBER], now, held, AT).outcome is Outcome.QUEUE


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(policy, "_REMEMBERED", 1)
    edges = [directive(f"d{n}", withdraw=True, **{"from": instant(200.0 + n).isoformat()}) for n in range(2)]
    now = compiled(directive(**VET), *edges)
    facts = [establish([evidence("us_person", value)], AT) for value in ("true", "false")]
    for _ in range(2):
        for at, expected in ((AT, 0), (200.5, 4), (300.0, 4)):
            for model in (CYBER, PLAIN):
                assert decide(facts[0], [model], now, (), at).outcome == expected
                assert decide(facts[1], [model], now, (), at).outcome == (expected or Outcome.QUEUE)
                assert len(facts[0].memo) == 1


def test_no_model_or_an_unknown_one_is_an_error_and_never_a_forward():
    with pytest.raises(ValueError, match="at least one model"):
        decide(NOBODY, [], compiled(), (), AT)
    stranger = Model(id="new/model", dialects=("openai",), upstream="o")
    with pytest.raises(ValueError, match="knows no model 'new/model'"):
        decide(NOBODY, [stranger], compiled(), (), AT)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "directive 'is-1' must have exactly one of require"),
        ({"require": {"nationality": {"all_in": ["gone"]}}}, "'is-1': 'gone' is neither a country nor a country group"),
        ({"withdraw": True, "from": "2026-01-01T00:00:00"}, "'is-1': 2026-01-01T00:00:00 has no time zone"),
        (
            {"require": {"any_of": [{"all_of": [{"cohort": f"{n}a"}, {"cohort": f"{n}b"}]} for n in range(9)]}},
            "expands to 512 clauses",
        ),
    ],
)
def test_a_directive_that_cannot_be_compiled_is_never_left_out(fields, message):
    with pytest.raises(ValueError, match=message):
        compiled(directive(**fields))


def test_the_same_id_in_file_and_store_is_judged_twice():
    rules = [directive("same", withdraw=True), directive("same", **VET)]
    verdicts = {decide(establish([], AT), [CYBER], compiled(*given), (), AT) for given in (rules, rules[::-1])}
    assert len(verdicts) == 1
    assert [violation.outcome for violation in verdicts.pop().violations] == [Outcome.WITHDRAWN, Outcome.QUEUE]


def test_an_idle_callers_memory_does_not_hold_an_old_policy():
    facts, now = establish([], AT), compiled(directive(withdraw=True))
    held = (now, now.plan(CYBER.id, AT))
    before = [sys.getrefcount(each) for each in held]
    decide(facts, [CYBER], now, (), AT)
    assert facts.memo
    assert [sys.getrefcount(each) for each in held] == before


def test_every_atom_is_judged_by_its_own_evidence():
    verdict = judged({"any_of": [{"location": {"all_in": ["US"]}}, US_PERSON]}, evidence("location", "FR"), evidence("us_person", "false"))
    kinds = [{piece.kind for piece in finding.evidence} for finding in verdict.violations[0].findings]
    assert kinds == [{Kind.LOCATION}, {Kind.US_PERSON}]
