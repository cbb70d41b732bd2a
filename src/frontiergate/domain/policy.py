"""When is someone refused? The policy of one epoch, and `decide` (DESIGN 4.2; P3, P7).

A directive is satisfied where all its clauses are true. One that is not is *violated*: by `otherwise` where a clause is
false, by `unknown` where none is; unless its answer is vetting and a grant stands in. The verdict is the join over all
directives in force on all models asked for.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from frontiergate.domain.catalogue import Catalogue, Model
from frontiergate.domain.directive import Answer, Directive, Vet
from frontiergate.domain.facts import Facts
from frontiergate.domain.literals import Literal
from frontiergate.domain.plan import Draft, Policy
from frontiergate.domain.program import Compiled, Judgement
from frontiergate.domain.prose import NOBODY, describe, phrase
from frontiergate.domain.reason import Reason
from frontiergate.domain.verdict import Finding, Outcome, Truth, Verdict, Violation
from frontiergate.domain.vetting import Grant, GrantState, active

__all__ = ["Draft", "Policy", "compile_policy", "decide", "describe", "in_force", "join"]

_REMEMBERED = 16  # verdicts kept with one caller's facts


def compile_policy(
    catalogue: Catalogue,
    directives: Iterable[Directive],
    pauses: Collection[str],
    groups: Mapping[str, frozenset[str]],
    epoch: int,
) -> Policy:
    """The policy of `epoch`. `pauses`: ids of models.

    Raises ValueError where a directive cannot be compiled: an order is never silently left out (P2).
    """
    draft = Draft.blank(catalogue, groups)
    for directive in directives:
        draft.add(directive)
    return draft.policy(pauses, epoch)


def in_force(policy: Policy, model_id: str, at: float) -> tuple[Directive, ...]:
    """The directives in force on the model, by id; those in mode observe too."""
    found = [compiled.directive for compiled in policy.plan(model_id, at).directives(at)]
    return tuple(sorted(found, key=lambda directive: (directive.id, msgspec.json.encode(directive))))


class _Remembered:
    """A verdict and what it may be given again for: any grants (None) or these same ones, from an instant on, under a policy.

    Under another policy it holds with a new epoch where the model's plan is the same. Keys, not what they are of: facts of an idle
    caller must not keep an old policy alive.
    """

    __slots__ = ("grants", "plan", "policy", "valid_from", "verdict")

    def __init__(self, verdict: Verdict, grants: tuple[Grant, ...] | None, valid_from: float, policy: object, plan: object) -> None:
        self.verdict = verdict
        self.grants = grants
        self.valid_from = valid_from
        self.policy = policy
        self.plan = plan

    def holds(self, grants: Sequence[Grant], at: float) -> bool:
        return (self.grants is None or self.grants is grants) and self.valid_from <= at < self.verdict.valid_until


def decide(facts: Facts, models: Sequence[Model], policy: Policy, grants: Sequence[Grant], at: float) -> Verdict:
    """The verdict on one request for all of `models`. `grants` are the principal's own.

    Facts are taken as of `at`, whichever instant they were made for. Raises ValueError where `models` is empty or one is not in
    the policy's catalogue: a request without a known model is not for the policy to judge (P1).
    """
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
    known: _Remembered | None = facts.memo.get(model)
    if known is not None and known.policy is policy.key and known.holds(grants, at):
        return known.verdict
    plan = policy.plan(model, at)
    if known is not None and known.plan is plan.key and known.holds(grants, at):
        verdict = msgspec.structs.replace(known.verdict, epoch=policy.epoch)
        known = _Remembered(verdict, known.grants, known.valid_from, policy.key, plan.key)
    else:
        known = _judge(facts, model, policy, grants, at)
    if known.grants is None or isinstance(grants, tuple):  # a list may change in place
        if len(facts.memo) >= _REMEMBERED and model not in facts.memo:
            facts.memo.clear()
        facts.memo[model] = known
    return known.verdict


def _judge(facts: Facts, model: str, policy: Policy, grants: Sequence[Grant], at: float) -> _Remembered:
    plan = policy.plan(model, at)
    judged = policy.program.judge(facts, plan.mask)
    outcome = Outcome.PAUSED if plan.paused else Outcome.FORWARD
    until = min(plan.valid_until, facts.valid_until)
    since = plan.valid_from
    violations: list[Violation] = []
    observed: list[Violation] = []
    used: set[str] = set()
    vetted = False
    for compiled in plan.violated(plan.mask & ~judged.true, at):
        answer = compiled.rule.otherwise if judged.truth(compiled) is Truth.FALSE else compiled.rule.unknown
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
        violation = _violation(compiled, answer, model, judged)
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
    return _Remembered(verdict, tuple(grants) if vetted else None, since, policy.key, plan.key)


def _violation(compiled: Compiled, answer: Answer, model: str, judged: Judgement) -> Violation:
    programme: str | None = None
    match answer:
        case Vet(vet=programme):
            outcome = Outcome.QUEUE
        case "withdraw":
            outcome = Outcome.WITHDRAWN
        case _:
            outcome = Outcome.REFUSE
    findings = _findings(compiled, outcome, judged)
    reason = Reason.VETTING_REQUIRED if outcome is Outcome.QUEUE else findings[0].reason
    return Violation(compiled.directive, model, judged.truth(compiled), outcome, programme, reason, findings)


def _findings(compiled: Compiled, outcome: Outcome, judged: Judgement) -> tuple[Finding, ...]:
    """Every literal of every clause that does not hold; those of false clauses first."""
    closed = Reason.POLICY_WITHDRAWN if outcome is Outcome.WITHDRAWN else Reason.POLICY_CLOSED
    found: dict[Literal | None, Finding] = {}
    for clause, truths in judged.failed(compiled):
        if not clause:
            found[None] = Finding(NOBODY, Truth.FALSE, closed, ())
        for literal in clause:
            reason = Reason[f"POLICY_{literal.kind.name}"]
            found[literal] = Finding(phrase(literal), truths[literal], reason, judged.facts.about(literal.kind))
    return tuple(found.values())


def _ranked(violations: Iterable[Violation]) -> tuple[Violation, ...]:
    """Most restrictive first. What two directives of one id, in file and store, say decides between them, not who came first (P3)."""
    ranked = sorted(violations, key=lambda violation: (-violation.outcome, violation.directive.id, violation.model))
    if len({(violation.directive.id, violation.model) for violation in ranked}) < len(ranked):
        ranked.sort(key=lambda v: (-v.outcome, v.directive.id, v.model, msgspec.json.encode(v.directive)))
    return tuple(ranked)


def _reason(outcome: Outcome, violations: Sequence[Violation]) -> Reason | None:
    if violations:
        return violations[0].reason
    return Reason.OPERATOR_PAUSED if outcome is Outcome.PAUSED else None
