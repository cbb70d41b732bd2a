"""Whether a requirement means something: what is wrong with it, where, and what to write instead."""

from collections.abc import Iterator, Mapping

from frontiergate.domain.country import BIT, canonical
from frontiergate.domain.evidence import Kind
from frontiergate.domain.groups import suggestion
from frontiergate.domain.literals import (
    COUNTRY_KINDS,
    MAX_CLAUSES,
    NAME_KINDS,
    OBSERVED_KINDS,
    QUANTIFIERS,
    as_names,
    chosen,
    clause_count,
    negation_free,
    selected,
)
from frontiergate.domain.requirement import NETWORKS, Requirement, Selection

MAX_DEPTH = 16
MAX_NODES = 512
Groups = Mapping[str, frozenset[str]]


def requirement_problems(require: Requirement, path: str, groups: Groups) -> list[str]:
    """One line a problem, each starting with the path of what it is about."""
    nodes = _count(require, 1)
    if nodes is None:
        return [f"{path}: nested deeper than {MAX_DEPTH}; split the directive in two"]
    if nodes > MAX_NODES:
        return [f"{path}: {nodes} operators and atoms, more than {MAX_NODES}; split the directive in two"]
    problems = list(_node(require, path, groups))
    if not problems and (count := clause_count(negation_free(require, presumed=False))) > MAX_CLAUSES:
        problems.append(f"{path}: expands to {count} clauses, more than {MAX_CLAUSES}; split the directive in two")
    return problems


def _parts(node: Requirement) -> Iterator[tuple[str, Requirement]]:
    for name in ("all_of", "any_of"):
        for index, part in enumerate(getattr(node, name) or ()):
            yield f"{name}[{index}]", part
    if isinstance(node.not_, Requirement):
        yield "not", node.not_


def _count(node: Requirement, depth: int) -> int | None:
    """How many nodes there are; None where they nest too deep."""
    if depth > MAX_DEPTH:
        return None
    counts = [_count(part, depth + 1) for _, part in _parts(node)]
    return None if None in counts else 1 + sum(filter(None, counts))


def _node(node: Requirement, path: str, groups: Groups) -> Iterator[str]:
    choices = [name.rstrip("_") for name in chosen(node)]
    if len(choices) != 1:
        what = " and ".join(choices) or "nothing"
        yield f"{path}: has {what}; write exactly one operator or atom (join several with all_of or any_of)"
        return
    choice = choices[0]
    if node.assurance and (choice not in tuple(Kind) or choice in OBSERVED_KINDS):
        yield f"{path}.assurance: does not apply to {choice}; leave it out, or put it beside the atom it is meant for"
    if node.count and choice != Kind.NATIONALITY:
        yield f"{path}.count: applies to nationality only; leave it out, or put it beside the atom it is meant for"
    for name, part in _parts(node):
        yield from _node(part, f"{path}.{name}", groups)
    if choice in COUNTRY_KINDS:
        yield from _selection(getattr(node, choice), f"{path}.{choice}", groups)
    elif choice in NAME_KINDS:
        for name in as_names(getattr(node, choice)):
            if not name.strip():
                yield f"{path}.{choice}: an empty name; write the name that the evidence carries"
            elif choice == Kind.NETWORK and name not in NETWORKS:
                yield f"{path}.network: {name!r} is not one of {', '.join(NETWORKS)}{suggestion(name, NETWORKS)}"


def _selection(selection: Selection, path: str, groups: Groups) -> Iterator[str]:
    quantifiers = selected(selection)
    if len(quantifiers) != 1:
        yield f"{path}: has {' and '.join(quantifiers) or 'nothing'}; write exactly one of {', '.join(QUANTIFIERS)}"
    for quantifier in quantifiers:
        for index, entry in enumerate(getattr(selection, quantifier)):
            if entry not in groups and canonical(entry) is None:
                hint = suggestion(entry, [*groups, *BIT]) or "; add it to country_groups, or write an ISO 3166-1 code"
                yield f"{path}.{quantifier}[{index}]: {entry!r} is neither a country nor a country group{hint}"
