"""Literals: a requirement with `not` pushed to the leaves, and its clauses (DESIGN 4.2, polarity).

Every atom has its complement, so after `negation_free` no operator but all_of and any_of is left above literals; Kleene's
minimum and maximum distribute over each other, so turning that into clauses (all_of any_of literals) is exact.
"""

import functools
import math
from collections.abc import Iterable, Mapping
from typing import get_args

import msgspec
from msgspec import UNSET

from frontiergate.domain.country import BIT, canonical, mask
from frontiergate.domain.evidence import Assurance, Kind
from frontiergate.domain.facts import NO, YES
from frontiergate.domain.groups import suggestion
from frontiergate.domain.requirement import Count, Level, Requirement, Selection

CHOICES = ("all_of", "any_of", "not_", *(kind.value for kind in Kind), "never")
QUANTIFIERS = ("all_in", "any_in", "none_in")
COUNTRY_KINDS = (Kind.NATIONALITY, Kind.RESIDENCE, Kind.LOCATION, Kind.ORGANISATION_COUNTRY)
NAME_KINDS = (Kind.ORGANISATION, Kind.NETWORK, Kind.COHORT)
OBSERVED_KINDS = (Kind.LOCATION, Kind.NETWORK)  # seen by the gate itself, always worth `attested`
MAX_CLAUSES = 256  # of one directive; what people write has fewer than ten
LEVELS: dict[Level, Assurance] = {name: Assurance[name.upper()] for name in get_args(Level)}


class Literal(msgspec.Struct, frozen=True, gc=False):
    """One atom or its complement: every value (`universal`) or some value is among `entries`, or `outside` them.

    `entries` as written: codes and groups, names, or `true` and `false`. The complement flips both flags.
    """

    kind: Kind
    count: Count
    level: Assurance
    presumed: bool  # a presumption counts as evidence
    universal: bool
    outside: bool
    entries: tuple[str, ...]


class AllOf(msgspec.Struct, frozen=True):
    """True of no parts: the complement of `never`."""

    parts: tuple["Tree", ...]


class AnyOf(msgspec.Struct, frozen=True):
    """False of no parts: `never`."""

    parts: tuple["Tree", ...]


Tree = Literal | AllOf | AnyOf
Clause = tuple[Literal, ...]  # holds where any of its literals does


def chosen(node: Requirement) -> list[str]:
    """The operators and atoms that are set on `node`; exactly one where it is well formed."""
    return [name for name in CHOICES if getattr(node, name) is not UNSET]


def selected(selection: Selection) -> list[str]:
    """The quantifiers that are set on `selection`; exactly one where it is well formed."""
    return [name for name in QUANTIFIERS if getattr(selection, name) is not UNSET]


def as_names(value: str | tuple[str, ...]) -> tuple[str, ...]:
    """One name or several, as several."""
    return (value,) if isinstance(value, str) else value


def negation_free(node: Requirement, *, presumed: bool, negated: bool = False) -> Tree:
    """`node`, or its complement, as all_of and any_of over literals. ValueError where it is not well formed."""
    if len(choices := chosen(node)) != 1:
        raise ValueError("a requirement has exactly one operator or atom")
    choice = choices[0]
    match choice:
        case "all_of" | "any_of":
            parts = tuple(negation_free(part, presumed=presumed, negated=negated) for part in getattr(node, choice))
            return AllOf(parts) if (choice == "all_of") is not negated else AnyOf(parts)
        case "not_":
            return negation_free(getattr(node, choice), presumed=presumed, negated=not negated)
        case "never":
            return AllOf(()) if negated else AnyOf(())
        case _:
            return _literal(Kind(choice), node, presumed=presumed, negated=negated)


def _literal(kind: Kind, node: Requirement, *, presumed: bool, negated: bool) -> Literal:
    value = getattr(node, kind.value)
    entries: tuple[str, ...]
    if kind is Kind.US_PERSON:
        universal, outside = True, False
        entries = ("true" if value is not negated else "false",)
    elif kind in NAME_KINDS:
        universal, outside, entries = negated, negated, as_names(value)
    else:
        if len(quantifiers := selected(value)) != 1:
            raise ValueError(f"{kind} has exactly one of {', '.join(QUANTIFIERS)}")
        quantifier = quantifiers[0]
        universal = (quantifier != "any_in") is not negated
        outside = (quantifier == "none_in") is not negated
        entries = getattr(value, quantifier)
    level = Assurance.ATTESTED if node.assurance is UNSET else LEVELS[node.assurance]
    count: Count = "current" if node.count is UNSET or kind is not Kind.NATIONALITY else node.count
    return Literal(kind, count, level, presumed, universal, outside, entries)


def clause_count(tree: Tree) -> int:
    """How many clauses `tree` expands to before equal ones are merged; found without expanding it."""
    match tree:
        case AllOf(parts):
            return sum(clause_count(part) for part in parts)
        case AnyOf(parts):
            return math.prod(clause_count(part) for part in parts)
        case _:
            return 1


@functools.lru_cache(maxsize=1 << 14)  # at a flip all directives but one are as before: 10,000 in half the time
def demanded(require: Requirement, presumed: bool) -> tuple[Clause, ...]:
    """The clauses of `require`. ValueError where it is not well formed or too large."""
    return clauses(negation_free(require, presumed=presumed))


def clauses(tree: Tree) -> tuple[Clause, ...]:
    """`tree` as clauses, in the order written. ValueError where there are more than MAX_CLAUSES."""
    if clause_count(tree) > MAX_CLAUSES:
        raise ValueError(f"the requirement expands to {clause_count(tree)} clauses, more than {MAX_CLAUSES}; split it in two")
    distinct = {frozenset(clause): clause for clause in reversed(_expand(tree))}
    return tuple(reversed(distinct.values()))


def _expand(tree: Tree) -> list[Clause]:
    match tree:
        case AllOf(parts):
            return [clause for part in parts for clause in _expand(part)]
        case AnyOf(parts):
            expanded: list[Clause] = [()]
            for part in parts:
                alternatives = _expand(part)
                expanded = [tuple(dict.fromkeys(left + right)) for left in expanded for right in alternatives]
            return expanded
        case _:
            return [(tree,)]


def countries(entries: Iterable[str], groups: Mapping[str, frozenset[str]]) -> int:
    """The codes and groups in `entries` as bits. ValueError where one is neither."""
    bits = 0
    for entry in entries:
        if entry in groups:
            bits |= mask(groups[entry])
        elif (code := canonical(entry)) is not None:
            bits |= BIT[code]
        else:
            raise ValueError(f"{entry!r} is neither a country nor a country group{suggestion(entry, [*groups, *BIT])}")
    return bits


def truth_bit(entry: str) -> int:
    """The bit of us_person's `true` or `false`."""
    return YES if entry == "true" else NO
