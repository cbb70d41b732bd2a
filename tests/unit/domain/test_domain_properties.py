"""P3 and the polarity of DESIGN 4.2, on generated policies and evidence."""

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from frontiergate.domain.directive import Directive
from frontiergate.domain.evidence import Assurance
from frontiergate.domain.facts import establish
from frontiergate.domain.policy import compile_policy, decide, in_force
from frontiergate.domain.requirement import Requirement
from frontiergate.domain.verdict import Outcome
from tests.reference import made
from tests.reference.made import CATALOGUE, CYBER, GROUPS, MODELS, directive, evidence

AT = 5.0
moderate = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def verdict(pieces, directives, models=(CYBER,), grants=(), at=AT):
    return decide(establish(pieces, at), models, compile_policy(CATALOGUE, directives, {}, GROUPS, 1), grants, at)


def admitted(pieces, directives):
    return verdict(pieces, directives).outcome is Outcome.FORWARD


def of(requirement, **fields):
    return [msgspec.structs.replace(directive(require={"never": True}, **fields), require=requirement)]


def negated(requirement):
    return Requirement(not_=requirement)


@moderate
@given(made.several_evidences, made.several_directives, made.several_models, made.several_grants, st.randoms(use_true_random=False))
def test_the_verdict_does_not_depend_on_the_order_of_anything(pieces, directives, models, grants, random):
    def shuffled(things):
        return random.sample(list(things), len(things))

    one = verdict(pieces, directives, models, grants)
    other = verdict(pieces, shuffled(directives), shuffled(models), tuple(shuffled(grants)))
    assert msgspec.structs.replace(other, models=one.models) == one
    assert verdict(shuffled(pieces), directives, models, grants).outcome == one.outcome


@moderate
@given(made.several_evidences, made.several_directives, made.directives(), made.several_models, made.several_grants)
def test_adding_a_directive_never_loosens(pieces, directives, another, models, grants):
    before = verdict(pieces, directives, models, grants)
    after = verdict(pieces, [*directives, another], models, grants)
    assert after.outcome >= before.outcome
    assert set(after.violations) >= set(before.violations)


@moderate
@given(made.several_evidences, made.several_directives, made.several_models, made.several_grants)
def test_asking_for_a_further_model_never_loosens(pieces, directives, models, grants):
    assert verdict(pieces, directives, MODELS, grants).outcome >= verdict(pieces, directives, models, grants).outcome


@moderate
@given(made.several_evidences, made.entries, st.sampled_from(Assurance), st.sampled_from(("current", "most_recent", "ever")))
def test_a_further_nationality_outside_what_is_demanded_never_admits(pieces, entries, assurance, count):
    listed = of(made.require(nationality={"all_in": entries}, count=count))
    foreign = evidence("nationality", "BR", assurance.name)
    if not admitted(pieces, listed):
        assert not admitted([*pieces, foreign], listed)
    if assurance is not Assurance.PRESUMED:
        assert not admitted([*pieces, foreign], listed)


def demands_at_least_attested(requirement):
    parts = [*(requirement.all_of or ()), *(requirement.any_of or ()), *([requirement.not_] if requirement.not_ else ())]
    return requirement.assurance in (UNSET, "attested", "verified") and all(map(demands_at_least_attested, parts))


weak = made.evidences().map(
    lambda piece: msgspec.structs.replace(piece, assurance=min(piece.assurance, Assurance.ASSERTED), expires_at=None)
)


@moderate
@given(made.several_evidences, weak, made.requirements.filter(demands_at_least_attested))
def test_evidence_below_what_is_demanded_never_admits(pieces, piece, requirement):
    if not admitted(pieces, of(requirement)):
        assert not admitted([*pieces, piece], of(requirement))


@moderate
@given(made.several_evidences, made.evidences(), made.requirements, st.booleans())
def test_unreadable_evidence_never_admits(pieces, piece, requirement, presumed):
    directives = of(requirement, allow_presumed=presumed)
    unreadable = msgspec.structs.replace(piece, readable=False, expires_at=None)
    if not admitted(pieces, directives):
        assert not admitted([*pieces, unreadable], directives)


@moderate
@given(made.several_evidences, made.requirements)
def test_nobody_is_admitted_by_a_demand_and_by_its_opposite(pieces, requirement):
    """Judging asymmetrically may deny both; it never grants both."""
    assert not (admitted(pieces, of(requirement)) and admitted(pieces, of(negated(requirement))))


def judged(pieces, requirement):
    found = verdict(pieces, of(requirement, unknown={"vet": "caisi"}))
    return found.outcome, frozenset(finding for violation in found.violations for finding in violation.findings)


@moderate
@given(made.several_evidences, made.requirements)
def test_not_not_is_nothing(pieces, requirement):
    assert judged(pieces, negated(negated(requirement))) == judged(pieces, requirement)


@moderate
@given(made.several_evidences, st.lists(made.requirements, min_size=1, max_size=3).map(tuple))
def test_de_morgan_holds(pieces, parts):
    opposites = tuple(map(negated, parts))
    assert judged(pieces, negated(Requirement(all_of=parts))) == judged(pieces, Requirement(any_of=opposites))
    assert judged(pieces, negated(Requirement(any_of=parts))) == judged(pieces, Requirement(all_of=opposites))


@moderate
@given(made.several_directives, st.sampled_from(MODELS), made.instants)
def test_what_is_in_force_is_what_the_instants_say(directives, model, at):
    policy = compile_policy(CATALOGUE, directives, {}, GROUPS, 1)
    ids = [found.id for found in in_force(policy, model.id, at)]
    assert ids == sorted(ids)
    for found in in_force(policy, model.id, at):
        assert isinstance(found, Directive)
        assert found.from_ is None or found.from_.timestamp() <= at
        assert found.until is None or at < found.until.timestamp()
