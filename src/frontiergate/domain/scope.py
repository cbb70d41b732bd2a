"""Scopes: which models a list of selectors selects, and the directives that select the same ones."""

import bisect
from collections.abc import Iterable, Iterator, Mapping, Sequence

from frontiergate.domain.catalogue import Model
from frontiergate.domain.directive import Tag
from frontiergate.domain.program import Compiled

Selectors = tuple[str | Tag, ...]


class Scope:
    """The directives of one list of selectors, whenever they are in force. Changed only by the draft that it was made for."""

    __slots__ = ("_by_clause", "_directives", "_mask", "_timed", "models")

    def __init__(self, models: frozenset[str]) -> None:
        self.models = models
        self._directives: dict[int, Compiled] = {}  # by the directive's identity
        self._timed: dict[int, Compiled] = {}  # those that begin or end
        self._mask = 0  # the clauses of the others
        self._by_clause: dict[int, tuple[Compiled, ...]] = {}

    def copy(self) -> "Scope":
        """The same, to be changed."""
        made = Scope(self.models)
        made._directives, made._timed, made._by_clause = self._directives.copy(), self._timed.copy(), self._by_clause.copy()
        made._mask = self._mask
        return made

    def add(self, compiled: Compiled) -> None:
        self._directives[id(compiled.directive)] = compiled
        if compiled.timed:
            self._timed[id(compiled.directive)] = compiled
        else:
            self._mask |= compiled.mask
        for number, _ in compiled.clauses:
            self._by_clause[number] = (*self._by_clause.get(number, ()), compiled)

    def discard(self, compiled: Compiled) -> None:
        del self._directives[id(compiled.directive)]
        self._timed.pop(id(compiled.directive), None)
        for number, _ in compiled.clauses:
            left = self._by_clause[number] = tuple(other for other in self._by_clause[number] if other is not compiled)
            if all(other.timed for other in left):
                self._mask &= ~(1 << number)
            if not left:
                del self._by_clause[number]

    def __bool__(self) -> bool:
        return bool(self._directives)

    def directives(self, at: float) -> Iterator[Compiled]:
        """Those in force at `at`."""
        return (compiled for compiled in self._directives.values() if compiled.in_force(at))

    def during(self, at: float) -> tuple[int, float, float]:
        """The mask of the clauses in force at `at`, and from when until when it is that."""
        mask, since, until = self._mask, float("-inf"), float("inf")
        for compiled in self._timed.values():
            if compiled.in_force(at):
                mask |= compiled.mask
            for instant in (compiled.start, compiled.end):
                if instant <= at:
                    since = max(since, instant)
                else:
                    until = min(until, instant)
        return mask, since, until

    def violated(self, clauses: int, at: float) -> Iterator[Compiled]:
        """The directives in force that any of `clauses` belongs to; the work is in the set bits, not in the directives."""
        while clauses:
            lowest = clauses & -clauses
            clauses ^= lowest
            yield from (compiled for compiled in self._by_clause[lowest.bit_length() - 1] if compiled.in_force(at))


class ModelIndex:
    """One catalogue's models, to be selected from."""

    __slots__ = ("_by_tag", "_ids", "_models")

    def __init__(self, models: Mapping[str, Model]) -> None:
        self._models = models
        self._ids: Sequence[str] = sorted(models)
        self._by_tag: dict[str, set[str]] = {}
        for model in models.values():
            for tag in model.tags:
                self._by_tag.setdefault(tag, set()).add(model.id)

    def select(self, selectors: Iterable[str | Tag]) -> frozenset[str]:
        """Which models the selectors select."""
        selected: set[str] = set()
        for selector in selectors:
            if isinstance(selector, Tag):
                selected |= self._by_tag.get(selector.tag, set())
            elif "*" not in selector:
                selected |= {selector} & self._models.keys()
            else:
                selected.update(self._matches(selector))
        return frozenset(selected)

    def _matches(self, pattern: str) -> Iterator[str]:
        ids, prefix = self._ids, pattern.partition("*")[0]
        for index in range(bisect.bisect_left(ids, prefix), len(ids)):
            if not ids[index].startswith(prefix):
                return
            if glob_matches(pattern, ids[index]):
                yield ids[index]


def glob_matches(pattern: str, text: str) -> bool:
    """Whether `text` is `pattern` with each `*` standing for any run of characters. Linear: no backtracking (BYPASSES 79)."""
    first, *middle, last = pattern.split("*")
    if len(text) < len(first) + len(last) or not (text.startswith(first) and text.endswith(last)):
        return False
    position, end = len(first), len(text) - len(last)
    for piece in middle:  # the leftmost fit leaves the most room for the rest
        found = text.find(piece, position, end)
        if found < 0:
            return False
        position = found + len(piece)
    return True
