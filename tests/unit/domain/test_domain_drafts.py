"""One epoch's policy becomes the next one's: what changes is compiled, what does not is kept, and nobody can tell the difference."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frontiergate.domain import policy as deciding
from frontiergate.domain.facts import establish
from frontiergate.domain.policy import Draft, compile_policy, decide, in_force
from frontiergate.domain.verdict import Outcome
from tests.reference import made
from tests.reference.made import CATALOGUE, CYBER, GROUPS, MODELS, OLD, PLAIN, directive, evidence, grant, instant

AT = 100.0
VET = {"require": {"us_person": True}, "otherwise": {"vet": "caisi"}}
moderate = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def following(policy, *, add=(), remove=(), pauses=None, epoch=8):
    draft = Draft.after(policy)
    for found in remove:
        draft.remove(found)
    for found in add:
        draft.add(found)
    return draft.policy(policy.paused if pauses is None else pauses, epoch)


def compiled(*directives, pauses=()):
    return compile_policy(CATALOGUE, directives, pauses, GROUPS, 7)


def judged_anew(monkeypatch):
    """The models that a verdict had to be found for, not only remembered."""
    models = []

    def judge(facts, model, *rest):
        models.append(model)
        return found(facts, model, *rest)

    found = deciding._judge
    monkeypatch.setattr(deciding, "_judge", judge)
    return models


def answers(policy, pieces, grants, at):
    facts = establish(pieces, at)
    return [(decide(facts, [model], policy, grants, at), in_force(policy, model.id, at)) for model in MODELS]


@moderate
@given(
    st.lists(made.directives(), min_size=2, max_size=8, unique_by=id),
    st.lists(st.tuples(st.sets(st.integers(0, 7)), made.pauses), min_size=1, max_size=5),
    made.several_evidences,
    made.several_grants,
    made.instants,
)
def test_a_policy_made_by_steps_is_the_policy_made_at_once(directives, steps, pieces, grants, at):
    """The same facts all along, so that what they remember of one epoch is given again in the next only where it holds."""
    facts = establish(pieces, at)
    policy, now = compiled(), set()
    for epoch, (numbers, pauses) in enumerate(steps, start=7):
        wanted = {number for number in numbers if number < len(directives)}
        old, before = policy, answers(policy, pieces, grants, at)
        dropped = Draft.after(policy)  # as where something in it cannot be compiled
        for number in now:
            dropped.remove(directives[number])
        dropped.add(directive("dropped", withdraw=True))
        policy = following(
            policy,
            add=[directives[number] for number in wanted - now],
            remove=[directives[number] for number in now - wanted],
            pauses=pauses,
            epoch=epoch,
        )
        now = wanted
        whole = compile_policy(CATALOGUE, [directives[number] for number in sorted(wanted)], pauses, GROUPS, epoch)
        assert answers(policy, pieces, grants, at) == answers(whole, pieces, grants, at)
        for model in MODELS:
            assert decide(facts, [model], policy, grants, at) == decide(establish(pieces, at), [model], whole, grants, at)
        assert answers(old, pieces, grants, at) == before, "what comes after a policy does not change it"
    empty = following(policy, remove=[directives[number] for number in now])
    assert (list(empty.compiled), empty.program._numbers, empty.program._slots) == ([], {}, {}), "nothing is left behind"


def test_a_verdict_is_given_again_under_an_epoch_that_leaves_its_model_alone(monkeypatch):
    facts, held = establish([], AT), (grant(expires_at=200.0),)
    now = compiled(directive("v", [CYBER.id], **VET), directive("w", [PLAIN.id], withdraw=True))
    for model in (CYBER, PLAIN):
        decide(facts, [model], now, held, AT)
    models = judged_anew(monkeypatch)
    then = following(now, add=[directive("x", [OLD.id], withdraw=True)], remove=[], pauses=[OLD.id], epoch=9)
    for model, outcome in ((CYBER, Outcome.FORWARD), (PLAIN, Outcome.WITHDRAWN)):
        verdict = decide(facts, [model], then, held, AT)
        assert (verdict.outcome, verdict.epoch) == (outcome, 9)
        assert decide(facts, [model], then, held, AT) is verdict
    assert models == []
    assert decide(facts, [CYBER], then, (), AT).outcome is Outcome.QUEUE, "other grants"
    assert decide(facts, [CYBER], then, held, 200.0).outcome is Outcome.QUEUE, "another time"


def test_a_change_of_the_model_itself_is_never_answered_from_memory():
    facts, now = establish([], AT), compiled(directive("v", [CYBER.id], **VET))
    added = directive("w", [{"tag": "cyber"}], withdraw=True)
    assert decide(facts, [CYBER], now, (), AT).outcome is Outcome.QUEUE
    tighter = following(now, add=[added])
    assert decide(facts, [CYBER], tighter, (), AT).outcome is Outcome.WITHDRAWN
    assert decide(facts, [CYBER], now, (), AT).outcome is Outcome.QUEUE
    assert decide(facts, [CYBER], following(tighter, remove=[added]), (), AT).outcome is Outcome.QUEUE


def test_a_pause_and_its_end_are_changes_of_the_model():
    facts, now = establish([], AT), compiled()
    for pauses, outcome in (([], 0), ([CYBER.id], 1), ([CYBER.id], 1), ([], 0)):
        now = following(now, pauses=pauses)
        assert decide(facts, [CYBER], now, (), AT).outcome == outcome


def test_an_instant_passes_under_a_kept_plan_too():
    facts = establish([], AT)
    now = following(compiled(directive("d", withdraw=True, **{"from": instant(150.0).isoformat()})))
    assert [decide(facts, [CYBER], now, (), at).outcome for at in (AT, 150.0, AT)] == [0, 4, 0]
    assert [decide(facts, [CYBER], following(now), (), at).outcome for at in (AT, 150.0)] == [0, 4]


def test_equal_directives_are_two_until_both_are_removed():
    one, other = (directive("same", withdraw=True) for _ in range(2))
    assert one == other
    both = compiled(one, other)
    assert len(decide(establish([], AT), [CYBER], both, (), AT).violations) == 2
    left = following(both, remove=[one])
    assert len(decide(establish([], AT), [CYBER], left, (), AT).violations) == 1
    assert decide(establish([], AT), [CYBER], following(left, remove=[other]), (), AT).outcome is Outcome.FORWARD


def test_two_literals_of_one_clause_that_read_the_same_fact_are_told_apart():
    either = directive(require={"any_of": [{"nationality": {"all_in": ["US"]}}, {"nationality": {"all_in": ["GB", "FR"]}}]})
    turned = directive("is-2", require={"any_of": [{"nationality": {"all_in": ["GB", "FR"]}}, {"nationality": {"all_in": ["US"]}}]})
    now = compiled(either, turned)
    for codes, outcome in ((["US"], 0), (["GB", "FR"], 0), (["US", "GB"], 3), (["CN"], 3)):
        facts = establish([evidence("nationality", code) for code in codes], AT)
        verdict = decide(facts, [CYBER], now, (), AT)
        assert verdict.outcome == outcome
        assert all(len(violation.findings) == 2 for violation in verdict.violations)


@pytest.mark.parametrize("broken", [{"require": {"nationality": {"all_in": ["gone"]}}}, {"withdraw": True, "from": "2026-01-01T00:00:00"}])
def test_what_cannot_be_compiled_leaves_the_policy_in_force_as_it_is(broken):
    now = compiled(directive("v", **VET))
    with pytest.raises(ValueError, match="'bad'"):
        following(now, add=[directive("fine", withdraw=True), directive("bad", **broken)])
    assert decide(establish([], AT), [CYBER], now, (), AT).outcome is Outcome.QUEUE
    assert [found.id for found in in_force(now, CYBER.id, AT)] == ["v"]
