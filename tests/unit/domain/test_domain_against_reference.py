"""The compiled policy and the slow, obvious reference evaluator agree on generated worlds."""

import math

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frontiergate.domain.facts import establish
from frontiergate.domain.policy import compile_policy, decide
from frontiergate.domain.scope import glob_matches
from frontiergate.domain.verdict import Outcome, Truth
from tests.reference import made, oracle

TRUTHS = {Truth.FALSE: oracle.FALSE, Truth.UNKNOWN: oracle.UNKNOWN}
moderate = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
ORDER = [Outcome.FORWARD, Outcome.PAUSED, Outcome.QUEUE, Outcome.REFUSE, Outcome.WITHDRAWN]


def summary(violations):
    return frozenset((v.directive.id, v.model, TRUTHS[v.truth]) for v in violations)


@moderate
@given(
    made.several_evidences,
    made.several_models,
    made.several_directives,
    made.pauses,
    made.several_grants,
    made.instants,
    st.lists(made.instants, min_size=1, max_size=4),
)
def test_the_compiled_policy_agrees_with_the_reference_at_every_instant(evidence, models, directives, pauses, grants, made_at, instants):
    """Facts and policy are made once and asked at instants before and after, so that no memory of an answer outlives it."""
    policy = compile_policy(made.CATALOGUE, directives, pauses, made.GROUPS, 7)
    facts = establish(evidence, made_at)
    for at in instants:
        expected = oracle.decide(evidence, models, directives, pauses, made.GROUPS, grants, at)
        for held in (grants, grants, list(grants), ()):
            verdict = decide(facts, models, policy, held, at)
            if held == ():
                expected = oracle.decide(evidence, models, directives, pauses, made.GROUPS, (), at)
            assert ORDER.index(verdict.outcome) == expected.outcome
            assert summary(verdict.violations) == expected.violated
            assert summary(verdict.observed) == expected.observed
            assert frozenset(verdict.grants) == expected.grants
            assert (verdict.reason is None) == (verdict.outcome is Outcome.FORWARD)
            assert all(violation.findings for violation in verdict.violations)
            assert verdict.epoch == 7
            assert at < verdict.valid_until


@moderate
@given(made.several_evidences, made.several_models, made.several_directives, made.several_grants, made.instants)
def test_a_verdict_stands_until_its_valid_until(evidence, models, directives, grants, at):
    policy = compile_policy(made.CATALOGUE, directives, {}, made.GROUPS, 7)
    verdict = decide(establish(evidence, at), models, policy, grants, at)
    now = oracle.decide(evidence, models, directives, {}, made.GROUPS, grants, at)
    later = at
    while later < min(verdict.valid_until, 45.0):
        assert oracle.decide(evidence, models, directives, {}, made.GROUPS, grants, later) == now
        later += 2.5
    assert verdict.valid_until == math.inf or verdict.valid_until in (*made.EDGES, 100.0)


@moderate
@given(st.text("ab*", max_size=8), st.text("ab", max_size=8))
def test_globs_match_as_the_textbook_says(pattern, text):
    if "*" in pattern:
        assert glob_matches(pattern, text) == oracle.glob(pattern, text)
