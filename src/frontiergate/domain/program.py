"""Directives compiled: clauses numbered over the whole policy, literals grouped so that one look-up judges many.

A *slot* is what literals share that read the same fact at the same assurance. The literals of a slot are judged together
and the outcome is kept by the fact's reading, so that a decision costs one look-up a slot and a few operations on big
integers, whatever the number of directives: bit *n* of a mask stands for clause *n*.
"""

import bisect
import datetime
import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from frontiergate.domain.catalogue import Catalogue, Model
from frontiergate.domain.country import UNIVERSE
from frontiergate.domain.directive import Directive, Rule, Tag, rule
from frontiergate.domain.evidence import Assurance, Kind
from frontiergate.domain.facts import Facts, Reading, weigh
from frontiergate.domain.literals import NAME_KINDS, Clause, Literal, countries, demanded, truth_bit
from frontiergate.domain.requirement import Count
from frontiergate.domain.verdict import Truth

_REMEMBERED = 4096  # readings a slot remembers; beyond, it forgets all and starts again
_OTHER_NAME = 1  # the bit of every name that no literal of the slot mentions


class Compiled(msgspec.Struct, frozen=True):
    """One directive, ready to be judged: its clauses with their numbers, and their mask."""

    directive: Directive
    rule: Rule
    clauses: tuple[tuple[int, Clause], ...]
    mask: int
    start: float
    end: float


def judge(reading: Reading, level: Assurance, universal: bool, admitted: int, *, presumed: bool) -> Truth:
    """One literal in Kleene's three values: true only on evidence of `level`, false on any but a presumption (DESIGN 4.2).

    Universal: every value is admitted; else some value is. Unreadable evidence may hide a further value (decision 0001).
    """
    strong, stated = reading.strong[level], reading.stated[level]
    if presumed:
        strong |= reading.presumed
        stated |= reading.presumed
    if universal:
        if stated & ~admitted:
            return Truth.FALSE
        holds = strong and not strong & ~admitted and not reading.incomplete
        return Truth.TRUE if holds else Truth.UNKNOWN
    if strong & admitted:
        return Truth.TRUE
    fails = stated and not stated & admitted and not reading.incomplete
    return Truth.FALSE if fails else Truth.UNKNOWN


class Slot:
    """The literals that read one fact at one assurance."""

    __slots__ = ("_groups", "_literals", "_masks", "_memo", "_names", "count", "kind", "level", "presumed")

    def __init__(self, kind: Kind, count: Count, level: Assurance, *, presumed: bool, groups: Mapping[str, frozenset[str]]) -> None:
        self.kind, self.count, self.level, self.presumed = kind, count, level, presumed
        self._groups = groups
        self._names: dict[str, int] = {}
        self._literals: dict[Literal, int] = {}  # its admitted values; of names, those that are listed
        self._masks: dict[Literal, int] = {}  # the clauses that it occurs in
        self._memo: dict[Reading, tuple[int, int]] = {}

    def add(self, literal: Literal, clause: int) -> None:
        """`literal` occurs in clause number `clause`. ValueError where it names no country or group."""
        if literal not in self._literals:
            self._literals[literal] = self._listed(literal)
        self._masks[literal] = self._masks.get(literal, 0) | 1 << clause

    def _listed(self, literal: Literal) -> int:
        if literal.kind is Kind.US_PERSON:
            return truth_bit(literal.entries[0])
        if literal.kind not in NAME_KINDS:
            return countries(literal.entries, self._groups)
        listed = 0
        for name in literal.entries:
            listed |= self._names.setdefault(name, 2 << len(self._names))
        return listed

    def truth(self, literal: Literal, facts: Facts) -> Truth:
        """How one literal of this slot is judged."""
        return self._judge(literal, self._read(facts))

    def masks(self, facts: Facts) -> tuple[int, int]:
        """The clauses made true by a literal of this slot, and those that one keeps from being false."""
        reading = self._read(facts)
        known = self._memo.get(reading)
        if known is None:
            true = possible = 0
            for literal, occurrences in self._masks.items():
                truth = self._judge(literal, reading)
                if truth is not Truth.FALSE:
                    possible |= occurrences
                if truth is Truth.TRUE:
                    true |= occurrences
            if len(self._memo) >= _REMEMBERED:
                self._memo.clear()
            known = self._memo[reading] = (true, possible)
        return known

    def _judge(self, literal: Literal, reading: Reading) -> Truth:
        listed = self._literals[literal]
        admitted = self._universe() & ~listed if literal.outside else listed
        return judge(reading, self.level, literal.universal, admitted, presumed=self.presumed)

    def _universe(self) -> int:
        return (2 << len(self._names)) - 1 if self.kind in NAME_KINDS else UNIVERSE

    def _read(self, facts: Facts) -> Reading:
        if self.kind not in NAME_KINDS:
            return facts.reading(self.kind, self.count)
        names = facts.names(self.kind)
        bits = self._names
        return weigh(((bits.get(name, _OTHER_NAME), worth) for name, worth in names.values), incomplete=names.incomplete)


class Program:
    """All directives of one epoch, whenever they are in force. Raises ValueError where one cannot be compiled (P2)."""

    __slots__ = ("_numbers", "_slots", "directives", "instants", "selections")

    def __init__(self, catalogue: Catalogue, directives: Iterable[Directive], groups: Mapping[str, frozenset[str]]) -> None:
        self._numbers: dict[frozenset[Literal], int] = {}
        self._slots: dict[tuple[Kind, Count, Assurance, bool], Slot] = {}
        # In order of id, so that nothing depends on the order given (P3); the same id may stand in file and store.
        ordered = sorted(directives, key=lambda directive: (directive.id, msgspec.json.encode(directive)))
        self.directives = tuple(self._compile(directive, groups) for directive in ordered)
        bounds = {instant for compiled in self.directives for instant in (compiled.start, compiled.end)}
        self.instants = sorted(bounds - {-math.inf, math.inf})
        # Selectors repeat over directives: each distinct list is matched once and names the models' directives.
        by_selectors: dict[tuple[str | Tag, ...], list[Compiled]] = {}
        for compiled in self.directives:
            by_selectors.setdefault(compiled.directive.models, []).append(compiled)
        ids = sorted(catalogue.models)
        self.selections = tuple((select(catalogue.models, ids, selectors), tuple(found)) for selectors, found in by_selectors.items())

    def _compile(self, directive: Directive, groups: Mapping[str, frozenset[str]]) -> Compiled:
        try:
            made = rule(directive)
            numbered = tuple((self._number(clause, groups), clause) for clause in demanded(made.require, directive.allow_presumed))
            start = -math.inf if directive.from_ is None else _posix(directive.from_)
            end = math.inf if directive.until is None else _posix(directive.until)
        except ValueError as error:
            raise ValueError(f"directive {directive.id!r}: {error}") from error
        mask = 0
        for number, _ in numbered:
            mask |= 1 << number
        return Compiled(directive, made, numbered, mask, start, end)

    def _number(self, clause: Clause, groups: Mapping[str, frozenset[str]]) -> int:
        """Equal clauses of all directives share a number; the empty one is never true."""
        literals = frozenset(clause)
        number = self._numbers.get(literals)
        if number is None:
            number = self._numbers[literals] = len(self._numbers)
            for literal in literals:
                key = (literal.kind, literal.count, literal.level, literal.presumed)
                slot = self._slots.get(key)
                if slot is None:
                    kind, count, level, presumed = key
                    slot = self._slots[key] = Slot(kind, count, level, presumed=presumed, groups=groups)
                slot.add(literal, number)
        return number

    def masks(self, facts: Facts) -> tuple[int, int]:
        """The clauses that are true of `facts`, and those that are not false."""
        true = possible = 0
        for slot in self._slots.values():
            slot_true, slot_possible = slot.masks(facts)
            true |= slot_true
            possible |= slot_possible
        return true, possible

    def truth(self, literal: Literal, facts: Facts) -> Truth:
        """How one literal is judged; for findings only."""
        return self._slots[literal.kind, literal.count, literal.level, literal.presumed].truth(literal, facts)


def select(models: Mapping[str, Model], ids: Sequence[str], selectors: Iterable[str | Tag]) -> frozenset[str]:
    """Which of `models` the selectors select; `ids` are theirs, sorted."""
    selected: set[str] = set()
    for selector in selectors:
        if isinstance(selector, Tag):
            selected.update(model.id for model in models.values() if selector.tag in model.tags)
        elif "*" not in selector:
            selected.update({selector} & models.keys())
        else:
            prefix = selector.partition("*")[0]
            for index in range(bisect.bisect_left(ids, prefix), len(ids)):
                if not ids[index].startswith(prefix):
                    break
                if glob_matches(selector, ids[index]):
                    selected.add(ids[index])
    return frozenset(selected)


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


def _posix(at: datetime.datetime) -> float:
    if at.tzinfo is None:
        raise ValueError(f"{at.isoformat()} has no time zone")
    return at.timestamp()
