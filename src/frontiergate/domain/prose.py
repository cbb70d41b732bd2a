"""Directives and literals as plain English, for refusals, listings and `explain` (P7)."""

import datetime
from collections.abc import Sequence

from frontiergate.domain.country import NAMES, canonical
from frontiergate.domain.directive import Answer, Directive, Vet, rule
from frontiergate.domain.evidence import Assurance, Kind
from frontiergate.domain.literals import COUNTRY_KINDS, AllOf, AnyOf, Literal, Tree, negation_free

NOBODY = "do what nobody can"  # the demand of `never`

# (every value inside, some value inside, every value outside, some value outside)
_PHRASES: dict[Kind, tuple[str, str, str, str]] = {
    Kind.NATIONALITY: (
        "hold only nationalities of {}",
        "hold a nationality of {}",
        "hold no nationality of {}",
        "hold a nationality outside {}",
    ),
    Kind.RESIDENCE: ("reside only in {}", "reside in {}", "not reside in {}", "reside somewhere outside {}"),
    Kind.LOCATION: ("be located in {}", "be located in {}", "be located outside {}", "be located outside {}"),
    Kind.ORGANISATION_COUNTRY: (
        "act for an organisation of {} alone",
        "act for an organisation of {}",
        "act for no organisation of {}",
        "act for an organisation from outside {}",
    ),
    Kind.ORGANISATION: ("", "act for {}", "not act for {}", ""),
    Kind.NETWORK: ("", "call through a network that is {}", "call through a network that is not {}", ""),
    Kind.COHORT: ("", "belong to cohort {}", "not belong to cohort {}", ""),
}
_WORTH = {Assurance.PRESUMED: "presumed is enough", Assurance.ASSERTED: "asserted is enough", Assurance.VERIFIED: "verified"}
_COUNTS = {"most_recent": "the most recent counts", "ever": "former ones count"}


def phrase(literal: Literal) -> str:
    """What `literal` demands, as words after "must"."""
    if literal.kind is Kind.US_PERSON:
        words = "be a US person" if literal.entries == ("true",) else "not be a US person"
    else:
        entries = literal.entries
        if literal.kind in COUNTRY_KINDS:
            entries = tuple(NAMES[code] if (code := canonical(entry)) is not None else entry for entry in entries)
        words = _PHRASES[literal.kind][(0 if literal.universal else 1) + (2 if literal.outside else 0)].format(either(entries))
    remarks = [*filter(None, (_WORTH.get(literal.level), _COUNTS.get(literal.count)))]
    return f"{words} ({'; '.join(remarks)})" if remarks else words


def describe(directive: Directive) -> str:
    """`directive` as one plain English sentence. Raises ValueError where it is not well formed."""
    made = rule(directive)
    order = directive.order
    models = either([f"any model tagged {m.tag}" if not isinstance(m, str) else _glob(m) for m in directive.models])
    tree = negation_free(made.require, presumed=directive.allow_presumed)
    if tree == AnyOf(()):
        told = f"nobody may use {models}: they {_answer(made.otherwise)}"
    else:
        told = f"whoever uses {models} must {_demands(tree)}; others {_answer(made.otherwise)}"
        told += ", also" if made.unknown == made.otherwise else f", and {_answer(made.unknown)}"
        told += " where it cannot be told"
    if directive.allow_presumed:
        told += "; where no nationality is known, that of the address counts"
    told += "".join(_when(word, at) for word, at in (("from", directive.from_), ("until", directive.until)) if at is not None)
    if directive.mode == "observe":
        told += "; observed only, not acted on"
    return f"Under {order.reference} ({order.authority}), {told}."


def either(words: Sequence[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _glob(pattern: str) -> str:
    return "any model" if pattern == "*" else pattern


def _demands(tree: Tree, *, nested: bool = False) -> str:
    match tree:
        case AllOf(()):
            return "meet no condition"
        case AnyOf(()):
            return NOBODY
        case AllOf((part,)) | AnyOf((part,)):
            return _demands(part, nested=nested)
        case AllOf(parts) | AnyOf(parts):
            word = " and " if isinstance(tree, AllOf) else " or "
            joined = word.join(_demands(part, nested=True) for part in parts)
            return f"({joined})" if nested else joined
        case _:
            return phrase(tree)


def _answer(answer: Answer) -> str:
    match answer:
        case Vet(programme):
            return f"need an approval under {programme}"
        case "withdraw":
            return "are told that it is withdrawn"
        case _:
            return "are refused"


def _when(word: str, at: datetime.datetime) -> str:
    return f"; {word} {at.astimezone(datetime.UTC):%Y-%m-%d %H:%M} UTC"
