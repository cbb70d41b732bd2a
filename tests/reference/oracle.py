"""The reference evaluator: DESIGN 4.1 and 4.2 and NATIONALITY.md told again, straight over lists of evidence.

It shares no code with the compiled policy but the types, the table of countries and the groups. Truth is 0 (false),
1 (unknown) or 2 (true), so that Kleene's all_of is min and any_of is max.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import NamedTuple

from msgspec import UNSET

from frontiergate.domain.catalogue import Model
from frontiergate.domain.country import ALL_CODES, canonical
from frontiergate.domain.directive import Directive, Tag, Vet
from frontiergate.domain.evidence import Evidence
from frontiergate.domain.requirement import Requirement
from frontiergate.domain.vetting import Grant

FALSE, UNKNOWN, TRUE = 0, 1, 2
RANK = {"forward": 0, "paused": 1, "queue": 2, "refuse": 3, "withdraw": 4}
LEVELS = {"presumed": 0, "asserted": 1, "attested": 2, "verified": 3}
COUNTRIES = ("nationality", "residence", "location", "organisation_country")


class Answer(NamedTuple):
    outcome: int
    violated: frozenset[tuple[str, str, int]]  # directive, model, truth
    observed: frozenset[tuple[str, str, int]]
    grants: frozenset[str]


def decide(
    evidence: Sequence[Evidence],
    models: Sequence[Model],
    directives: Sequence[Directive],
    pauses: Mapping[str, str],
    groups: Mapping[str, frozenset[str]],
    grants: Sequence[Grant],
    at: float,
) -> Answer:
    outcome = RANK["forward"]
    violated, observed, used = set(), set(), set()
    known = living(evidence, at)
    for model in models:
        if model.id in pauses:
            outcome = max(outcome, RANK["paused"])
        for directive in directives:
            if not in_force(directive, model, at):
                continue
            truth = directive_truth(directive, known, groups)
            if truth == TRUE:
                continue
            answer = answer_of(directive, truth)
            enforced = directive.mode == "enforce"
            if isinstance(answer, Vet):
                covering = [
                    g for g in grants if g.programme == answer.vet and model.id in g.models and g.state == "active" and g.expires_at > at
                ]
                if covering:
                    if enforced:
                        used.add(sorted(covering, key=lambda g: (g.expires_at, g.id))[-1].id)
                    continue
            (violated if enforced else observed).add((directive.id, model.id, truth))
            if enforced:
                outcome = max(outcome, RANK["queue" if isinstance(answer, Vet) else answer])
    return Answer(outcome, frozenset(violated), frozenset(observed), frozenset(used))


def in_force(directive: Directive, model: Model, at: float) -> bool:
    if directive.from_ is not None and at < directive.from_.timestamp():
        return False
    if directive.until is not None and at >= directive.until.timestamp():
        return False
    return any(m.tag in model.tags if isinstance(m, Tag) else glob(m, model.id) for m in directive.models)


def glob(pattern: str, text: str) -> bool:
    """Textbook recursion."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return glob(pattern[1:], text) or (text != "" and glob(pattern, text[1:]))
    return text != "" and text[0] == pattern[0] and glob(pattern[1:], text[1:])


def answer_of(directive: Directive, truth: int) -> object:
    if directive.withdraw is not UNSET:
        return "withdraw"
    if directive.stage is not UNSET:
        return "refuse" if directive.stage.vet is None else Vet(directive.stage.vet)
    otherwise = "refuse" if directive.otherwise is UNSET else directive.otherwise
    return otherwise if truth == FALSE or directive.unknown is UNSET else directive.unknown


def directive_truth(directive: Directive, known: Sequence[Evidence], groups: Mapping[str, frozenset[str]]) -> int:
    if directive.withdraw is not UNSET:
        return FALSE
    if directive.stage is not UNSET:
        return truth_of(Requirement(cohort=directive.stage.cohorts), known, groups, directive.allow_presumed)
    return truth_of(directive.require, known, groups, directive.allow_presumed)


def living(evidence: Sequence[Evidence], at: float) -> list[Evidence]:
    """What exists at `at`, with the presumed nationality, and without locations behind an anonymiser (made unreadable)."""
    alive = [e for e in evidence if e.expires_at is None or e.expires_at > at]
    hidden = any(e.kind == "network" and e.readable and e.value != "ordinary" for e in alive)
    result = [replaced(e, readable=False) if hidden and e.kind == "location" else e for e in alive]
    if not any(e.kind == "nationality" for e in result):
        result += [
            replaced(e, kind="nationality", assurance=0) for e in result if e.kind == "location" and e.readable and e.held == "current"
        ]
    return result


def replaced(e: Evidence, **changes: object) -> Evidence:
    return Evidence(**({name: getattr(e, name) for name in e.__struct_fields__} | changes))


def truth_of(
    node: Requirement, known: Sequence[Evidence], groups: Mapping[str, frozenset[str]], presumed: bool, negated: bool = False
) -> int:
    """`negated`: of not `node`; each atom is then asked for its complement, never answered by turning its truth around."""
    more = (known, groups, presumed)
    if node.not_ is not UNSET:
        return truth_of(node.not_, *more, not negated)
    if node.all_of is not UNSET:
        return (max if negated else min)(truth_of(part, *more, negated) for part in node.all_of)
    if node.any_of is not UNSET:
        return (min if negated else max)(truth_of(part, *more, negated) for part in node.any_of)
    if node.never is not UNSET:
        return TRUE if negated else FALSE
    level = LEVELS["attested" if node.assurance is UNSET else node.assurance]
    if node.us_person is not UNSET:
        wanted = "true" if node.us_person != negated else "false"
        return every(pieces("us_person", "current", level, known), {wanted}.__contains__, level, presumed)
    for kind in ("organisation", "cohort", "network"):
        value = getattr(node, kind)
        if value is not UNSET:
            return any_of_these({value} if isinstance(value, str) else set(value), kind, "current", level, known, presumed, negated)
    kind = next(kind for kind in COUNTRIES if getattr(node, kind) is not UNSET)
    selection = getattr(node, kind)
    count = node.count if node.count is not UNSET and kind == "nationality" else "current"
    found = pieces(kind, count, level, known)
    if selection.any_in is not UNSET:
        return any_of_these(members(selection.any_in, groups), kind, count, level, known, presumed, negated)
    if selection.all_in is not UNSET:
        listed = members(selection.all_in, groups)
    else:
        listed = set(ALL_CODES) - members(selection.none_in, groups)
    if negated:
        return some(found, lambda v: v not in listed, level, presumed)
    return every(found, listed.__contains__, level, presumed)


def any_of_these(listed: set[str], kind: str, count: str, level: int, known: Sequence[Evidence], presumed: bool, negated: bool) -> int:
    found = pieces(kind, count, level, known)
    if negated:
        return every(found, lambda v: v not in listed, level, presumed)
    return some(found, listed.__contains__, level, presumed)


def members(entries: Sequence[str], groups: Mapping[str, frozenset[str]]) -> set[str]:
    return {code for entry in entries for code in (groups[entry] if entry in groups else {canonical(entry)})}


class Piece(NamedTuple):
    value: str | None  # None: unreadable
    worth: int
    counts_for_true: bool = True


def pieces(kind: str, count: str, level: int, known: Sequence[Evidence]) -> list[Piece]:
    found = [e for e in known if e.kind == kind and (count == "ever" or e.held == "current")]
    if count == "most_recent":
        return most_recent(found, level)
    return [Piece(readable_value(e), int(e.assurance)) for e in found]


def readable_value(e: Evidence) -> str | None:
    if not e.readable:
        return None
    if e.kind in COUNTRIES and e.value not in ALL_CODES:
        return None
    if e.kind == "us_person" and e.value not in ("true", "false"):
        return None
    return e.value


def most_recent(found: Sequence[Evidence], level: int) -> list[Piece]:
    """A nationality gives way to a later one on evidence that is good enough; one on weaker evidence only clouds it."""
    unreadable = [Piece(None, int(e.assurance)) for e in found if readable_value(e) is None]
    readable = [e for e in found if readable_value(e) is not None]
    good = [day(e) for e in readable if e.assurance >= level]
    if not good or None in good:
        return unreadable + [Piece(e.value, int(e.assurance)) for e in readable]
    latest = max(good)
    later = [day(e) for e in readable if e.assurance > 0 and day(e) is not None]
    result = list(unreadable)
    for e in readable:
        if day(e) is None:
            result.append(Piece(e.value, int(e.assurance)))
        elif day(e) >= latest:
            result.append(Piece(e.value, int(e.assurance), counts_for_true=day(e) >= max(later, default=day(e))))
        elif e.assurance == 0:
            result.append(Piece(e.value, 0, counts_for_true=False))  # a presumption counts only where it is allowed to
    return result


def day(e: Evidence) -> date | None:
    try:
        return date.fromisoformat(e.since)
    except (TypeError, ValueError):
        return None


def every(found: Sequence[Piece], admitted: object, level: int, presumed: bool) -> int:
    """All values are admitted. A further, unreadable value may not be."""
    strong = [p.value for p in found if p.value is not None and counts(p, level, presumed)]
    adverse = [p.value for p in found if p.value is not None and (p.worth > 0 or presumed)]
    if any(not admitted(value) for value in adverse):
        return FALSE
    if any(p.value is None for p in found):
        return UNKNOWN
    return TRUE if strong and all(admitted(value) for value in strong) else UNKNOWN


def some(found: Sequence[Piece], admitted: object, level: int, presumed: bool) -> int:
    """Some value is admitted. A further, unreadable value may be."""
    strong = [p.value for p in found if p.value is not None and counts(p, level, presumed)]
    stated = [p.value for p in found if p.value is not None and (p.worth > 0 or presumed)]
    if any(admitted(value) for value in strong):
        return TRUE
    if any(p.value is None for p in found) or not stated:
        return UNKNOWN
    return UNKNOWN if any(admitted(value) for value in stated) else FALSE


def counts(piece: Piece, level: int, presumed: bool) -> bool:
    return (piece.counts_for_true and piece.worth >= level) or (presumed and piece.worth == 0)
