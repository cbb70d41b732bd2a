"""When is someone refused? The policy of one epoch, and `decide` (DESIGN 4.2; P3, P7).

A directive is satisfied where all its clauses are true. One that is not is *violated*: by `otherwise` where a clause is
false, by `unknown` where none is; unless its answer is vetting and a grant stands in. The verdict is the join over all
directives in force on all models asked for.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from frontiergate.domain.catalogue import Catalogue, Model
from frontiergate.domain.directive import Answer, Directive, Vet
from frontiergate.domain.facts import Facts
from frontiergate.domain.literals import Literal
from frontiergate.domain.phases import Phases, Policy
from frontiergate.domain.program import Compiled, Program
from frontiergate.domain.prose import NOBODY, describe, phrase
from frontiergate.domain.reason import Reason
from frontiergate.domain.verdict import Finding, Outcome, Truth, Verdict, Violation
from frontiergate.domain.vetting import Grant, GrantState, active

__all__ = ["Policy", "compile_policy", "decide", "describe", "in_force", "join"]

_REMEMBERED = 16  # verdicts kept with one caller's facts


def compile_policy(  # noqa: PLR0917 - the signature that the rooms above agreed on
    catalogue: Catalogue,
    directives: Iterable[Directive],
    pauses: Mapping[str, str],
    groups: Mapping[str, frozenset[str]],
    epoch: int,
    at: float,
) -> Policy:
    """The policy of `epoch` in its phase at `at`. `pauses`: model id to reason.

    Raises ValueError where a directive cannot be compiled: an order is never silently left out (P2).
    """
    return Phases(catalogue, Program(catalogue, directives, groups), frozenset(pauses), epoch).at(at)


def in_force(policy: Policy, model_id: str) -> tuple[Directive, ...]:
    """The directives in force on the model, by id; those in mode observe too."""
    return tuple(compiled.directive for compiled in policy.plan(model_id).directives())


class _Remembered(msgspec.Struct, frozen=True):
    """A verdict and what it may be given again for: any grants (None) or these same ones, from an instant on."""

    verdict: Verdict
    grants: tuple[Grant, ...] | None
    valid_from: float


def decide(facts: Facts, models: Sequence[Model], policy: Policy, grants: Sequence[Grant], at: float) -> Verdict:
    """The verdict on one request for all of `models`. `grants` are the principal's own.

    Facts and policy are taken as of `at`, whichever instant they were made for. Raises ValueError where `models` is empty
    or one is not in the policy's catalogue: a request without a known model is not for the policy to judge (P1).
    """
    if not policy.valid_from <= at < policy.valid_until:
        policy = policy.at(at)
    if not facts.valid_from <= at < facts.valid_until:
        facts = facts.at(at)
    if len(models) == 1:
        return _decide(facts, models[0].id, policy, grants, at)
    if not models:
        raise ValueError("decide needs at least one model")
    return join([_decide(facts, model, policy, grants, at) for model in dict.fromkeys(model.id for model in models)])


def join(verdicts: Sequence[Verdict]) -> Verdict:
    """The most restrictive of `verdicts`, which are one epoch's: outcomes form a lattice, violations are united (P3)."""
    outcome = max(verdict.outcome for verdict in verdicts)
    violations = _ranked(violation for verdict in verdicts for violation in verdict.violations)
    return Verdict(
        outcome=outcome,
        reason=_reason(outcome, violations),
        models=tuple(model for verdict in verdicts for model in verdict.models),
        violations=violations,
        observed=_ranked(violation for verdict in verdicts for violation in verdict.observed),
        grants=tuple(sorted({grant for verdict in verdicts for grant in verdict.grants})),
        epoch=verdicts[0].epoch,
        valid_until=min(verdict.valid_until for verdict in verdicts),
    )


def _decide(facts: Facts, model: str, policy: Policy, grants: Sequence[Grant], at: float) -> Verdict:
    """One model's verdict, remembered with the facts: a warm decision is one dictionary look-up (about 0.5 µs)."""
    # The key, not the policy: facts of an idle caller must not keep an old policy alive.
    if facts.memo_key is not policy.key:
        facts.memo_key, facts.memo = policy.key, {}
    known: _Remembered | None = facts.memo.get(model)
    if known is not None and (known.grants is None or (known.grants is grants and known.valid_from <= at < known.verdict.valid_until)):
        return known.verdict
    known = _judge(facts, model, policy, grants, at)
    if known.grants is None or isinstance(grants, tuple):  # a list may change in place
        if len(facts.memo) >= _REMEMBERED:
            facts.memo.clear()
        facts.memo[model] = known
    return known.verdict


def _judge(facts: Facts, model: str, policy: Policy, grants: Sequence[Grant], at: float) -> _Remembered:
    plan = policy.plan(model)
    true, possible = policy.program.masks(facts)
    outcome = Outcome.PAUSED if model in policy.paused else Outcome.FORWARD
    until = min(policy.valid_until, facts.valid_until)
    since = -math.inf
    violations: list[Violation] = []
    observed: list[Violation] = []
    used: set[str] = set()
    vetted = False
    for compiled in plan.violated(plan.mask & ~true):
        truth = Truth.FALSE if compiled.mask & ~possible else Truth.UNKNOWN
        answer = _answer(compiled, truth)
        enforced = compiled.directive.mode == "enforce"
        if isinstance(answer, Vet):
            vetted = True
            covering = [g for g in grants if g.programme == answer.vet and model in g.models and g.state is GrantState.ACTIVE]
            since = max([since, *(grant.expires_at for grant in covering if not active(grant, at))])
            best = max((g for g in covering if active(g, at)), key=lambda g: (g.expires_at, g.id), default=None)
            if best is not None:  # the one that lasts longest
                until = min(until, best.expires_at)
                if enforced:
                    used.add(best.id)
                continue
        violation = _violation(compiled, model, truth, facts, policy.program)
        (violations if enforced else observed).append(violation)
        if enforced:
            outcome = max(outcome, violation.outcome)
    ranked = _ranked(violations)
    verdict = Verdict(
        outcome=outcome,
        reason=_reason(outcome, ranked),
        models=(model,),
        violations=ranked,
        observed=_ranked(observed),
        grants=tuple(sorted(used)),
        epoch=policy.epoch,
        valid_until=until,
    )
    return _Remembered(verdict, tuple(grants) if vetted else None, since)


def _answer(compiled: Compiled, truth: Truth) -> Answer:
    return compiled.rule.otherwise if truth is Truth.FALSE else compiled.rule.unknown


def _violation(compiled: Compiled, model: str, truth: Truth, facts: Facts, program: Program) -> Violation:
    programme: str | None = None
    match _answer(compiled, truth):
        case Vet(vet=programme):
            outcome = Outcome.QUEUE
        case "withdraw":
            outcome = Outcome.WITHDRAWN
        case _:
            outcome = Outcome.REFUSE
    findings = _findings(compiled, outcome, facts, program)
    reason = Reason.VETTING_REQUIRED if outcome is Outcome.QUEUE else findings[0].reason
    return Violation(compiled.directive, model, truth, outcome, programme, reason, findings)


def _findings(compiled: Compiled, outcome: Outcome, facts: Facts, program: Program) -> tuple[Finding, ...]:
    """Every literal of every clause that does not hold; those of false clauses first, for they decided."""
    true, possible = program.masks(facts)
    failed = [(number, clause) for number, clause in compiled.clauses if not true >> number & 1]
    failed.sort(key=lambda numbered: possible >> numbered[0] & 1)
    closed = Reason.POLICY_WITHDRAWN if outcome is Outcome.WITHDRAWN else Reason.POLICY_CLOSED
    found: dict[Literal | None, Finding] = {}
    for _, clause in failed:
        if not clause:
            found[None] = Finding(NOBODY, Truth.FALSE, closed, ())
        for literal in clause:
            reason = Reason[f"POLICY_{literal.kind.name}"]
            found[literal] = Finding(phrase(literal), program.truth(literal, facts), reason, facts.about(literal.kind))
    return tuple(found.values())


def _ranked(violations: Iterable[Violation]) -> tuple[Violation, ...]:
    return tuple(sorted(violations, key=lambda violation: (-violation.outcome, violation.directive.id, violation.model)))


def _reason(outcome: Outcome, violations: Sequence[Violation]) -> Reason | None:
    if violations:
        return violations[0].reason
    return Reason.OPERATOR_PAUSED if outcome is Outcome.PAUSED else None
