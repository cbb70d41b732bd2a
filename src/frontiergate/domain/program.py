"""Directives compiled: clauses numbered over the whole policy, and turned inside out so that one reading judges them all.

A *slot* is the literals that read one fact at one assurance with one quantifier, at most one of each clause. For each value it
knows which clauses list it, so that judging costs a few operations on big integers for each value of the reading, whatever the
number of directives: bit *n* of a mask stands for clause *n*.
"""

import datetime
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from frontiergate.domain.directive import Directive, Rule, rule
from frontiergate.domain.evidence import Assurance, Kind
from frontiergate.domain.facts import Facts
from frontiergate.domain.literals import NAME_KINDS, Clause, Literal, countries, demanded, truth_bit
from frontiergate.domain.requirement import Count
from frontiergate.domain.verdict import Truth

Value = str | int  # a name, or the bit of a country or of a truth


class Compiled(msgspec.Struct, frozen=True, gc=False):
    """One directive, ready to be judged: its clauses with their numbers, and when it is in force (POSIX seconds)."""

    directive: Directive
    rule: Rule
    clauses: tuple[tuple[int, Clause], ...]
    start: float
    end: float

    @property
    def mask(self) -> int:
        return sum(1 << number for number, _ in self.clauses)

    @property
    def timed(self) -> bool:
        """Whether there are instants at which it is not in force."""
        return not (self.start == -math.inf and self.end == math.inf)

    def in_force(self, at: float) -> bool:
        return self.start <= at < self.end


class Place(NamedTuple):
    """Which slot a literal is judged in; `layer` tells apart those of one clause that would meet in one slot."""

    kind: Kind
    counted: Count
    level: Assurance
    presumed: bool
    universal: bool
    layer: int


class Slot:
    """The literals of one place. `clauses` have one here; `outside` are those that admit what they do not list."""

    __slots__ = ("clauses", "listed", "outside", "place")

    def __init__(self, place: Place) -> None:
        self.place = place
        self.clauses = self.outside = 0
        self.listed: dict[Value, int] = {}  # the clauses whose literal lists the value

    def copy(self) -> "Slot":
        made = Slot(self.place)
        made.clauses, made.outside, made.listed = self.clauses, self.outside, self.listed.copy()
        return made

    def add(self, clause: int, literal: Literal, values: Sequence[Value]) -> None:
        self.clauses |= clause
        if literal.outside:
            self.outside |= clause
        for value in values:
            self.listed[value] = self.listed.get(value, 0) | clause

    def discard(self, clause: int, values: Sequence[Value]) -> None:
        self.clauses &= ~clause
        self.outside &= ~clause
        for value in values:
            left = self.listed[value] & ~clause
            if left:
                self.listed[value] = left
            else:
                del self.listed[value]

    def masks(self, facts: Facts) -> tuple[int, int]:
        """The clauses whose literal here is true, and those whose literal is not false (Kleene; decision 0001).

        True only on evidence of the level, false on any but a presumption. Universal: every value is admitted; else some value is.
        Unreadable evidence may hide a further value.
        """
        strong, stated, incomplete = self._read(facts)
        outside, listing = self.outside, self.listed.get
        if self.place.universal:
            possible = self.clauses
            for value in stated:
                possible &= outside ^ listing(value, 0)
            if incomplete or not strong:
                return 0, possible
            true = possible
            if strong is not stated:
                for value in strong:
                    true &= outside ^ listing(value, 0)
            return true, possible
        true = 0
        for value in strong:
            true |= outside ^ listing(value, 0)
        if incomplete or not stated:
            return true, self.clauses
        possible = true
        if strong is not stated:
            for value in stated:
                possible |= outside ^ listing(value, 0)
        return true, possible

    def _read(self, facts: Facts) -> tuple[Sequence[Value], Sequence[Value], bool]:
        """The values on evidence of the level, those on any evidence but a presumption, and whether there may be others."""
        kind, counted, level, presumed, _, _ = self.place
        if kind not in NAME_KINDS:
            reading = facts.reading(kind, counted)
            extra = reading.presumed if presumed else 0
            strong, stated = reading.strong[level] | extra, reading.stated[level] | extra
            values = _bits(stated)
            return values if strong == stated else _bits(strong), values, reading.incomplete
        names = facts.names(kind)
        lowest = Assurance.PRESUMED if presumed else Assurance.ASSERTED
        return (
            [name for name, worth in names.values if worth >= level or (presumed and worth == Assurance.PRESUMED)],
            [name for name, worth in names.values if worth >= lowest],
            names.incomplete,
        )


class Program:
    """The clauses of all directives of one epoch, whenever they are in force. Changed only by the draft that it was made for."""

    __slots__ = ("_free", "_groups", "_numbers", "_own", "_slots", "_uses")

    def __init__(self, groups: Mapping[str, frozenset[str]]) -> None:
        self._groups = groups
        self._numbers: dict[Clause, int] = {}
        self._uses: list[int] = []  # how many directives have the clause of that number
        self._free: list[int] = []
        self._slots: dict[Place, Slot] = {}
        self._own: set[Place] = set()  # slots that no other program shares

    def copy(self) -> "Program":
        """The same, to be changed; slots are shared until they are."""
        made = Program(self._groups)
        made._numbers, made._uses, made._free, made._slots = self._numbers.copy(), self._uses.copy(), self._free.copy(), self._slots.copy()
        return made

    def add(self, directive: Directive) -> Compiled:
        """Compile one directive. ValueError where that cannot be done; the program is then of no use any more (P2)."""
        try:
            made = rule(directive)
            start = -math.inf if directive.from_ is None else _posix(directive.from_)
            end = math.inf if directive.until is None else _posix(directive.until)
            numbered = tuple((self._number(clause), clause) for clause in demanded(made.require, directive.allow_presumed))
        except ValueError as error:
            raise ValueError(f"directive {directive.id!r}: {error}") from error
        return Compiled(directive, made, numbered, start, end)

    def discard(self, compiled: Compiled) -> None:
        """Forget a directive; numbers that nobody uses any more are given again."""
        for number, clause in compiled.clauses:
            self._uses[number] -= 1
            if self._uses[number]:
                continue
            self._free.append(number)
            del self._numbers[_ordered(clause)]
            for literal, place in _places(clause):
                slot = self._to_change(place)
                slot.discard(1 << number, self._values(literal))
                if not slot.clauses:
                    del self._slots[place]

    def judge(self, facts: Facts, within: int) -> "Judgement":
        """How the clauses `within` are judged of `facts`; of others nothing is said."""
        true = possible = 0
        for slot in self._slots.values():
            if slot.clauses & within:
                slot_true, slot_possible = slot.masks(facts)
                true |= slot_true
                possible |= slot_possible
        return Judgement(self, facts, true, possible)

    def truths(self, number: int, clause: Clause, facts: Facts) -> dict[Literal, Truth]:
        """How each literal of a clause that does not hold is judged; for findings only."""
        possible = {literal: self._slots[place].masks(facts)[1] for literal, place in _places(clause)}
        return {literal: Truth.UNKNOWN if mask >> number & 1 else Truth.FALSE for literal, mask in possible.items()}

    def _number(self, clause: Clause) -> int:
        """Equal clauses of all directives share a number; the empty one is never true."""
        ordered = _ordered(clause)
        number = self._numbers.get(ordered)
        if number is None:
            valued = [(literal, place, self._values(literal)) for literal, place in _places(clause)]
            if self._free:
                number = self._free.pop()
            else:
                number = len(self._uses)
                self._uses.append(0)
            self._numbers[ordered] = number
            for literal, place, values in valued:
                self._to_change(place).add(1 << number, literal, values)
        self._uses[number] += 1
        return number

    def _to_change(self, place: Place) -> Slot:
        slot = self._slots.get(place)
        if slot is None:
            slot = self._slots[place] = Slot(place)
        elif place not in self._own:
            slot = self._slots[place] = slot.copy()
        self._own.add(place)
        return slot

    def _values(self, literal: Literal) -> Sequence[Value]:
        """What a literal lists. ValueError where it names no country or group."""
        if literal.kind is Kind.US_PERSON:
            return (truth_bit(literal.entries[0]),)
        if literal.kind in NAME_KINDS:
            return tuple(dict.fromkeys(literal.entries))
        return _bits(countries(literal.entries, self._groups))


class Judgement(NamedTuple):
    """All clauses judged at once, of one caller's facts."""

    program: Program
    facts: Facts
    true: int  # clauses that are true
    possible: int  # clauses that are not false

    def truth(self, compiled: Compiled) -> Truth:
        """How a violated directive is judged: false where one of its clauses is."""
        return Truth.UNKNOWN if all(self.possible >> number & 1 for number, _ in compiled.clauses) else Truth.FALSE

    def failed(self, compiled: Compiled) -> list[tuple[Clause, dict[Literal, Truth]]]:
        """The clauses that do not hold, with each of their literals judged; false ones first, for they decided."""
        failed = [(number, clause) for number, clause in compiled.clauses if not self.true >> number & 1]
        failed.sort(key=lambda numbered: self.possible >> numbered[0] & 1)
        return [(clause, self.program.truths(number, clause, self.facts)) for number, clause in failed]


def _ordered(clause: Clause) -> Clause:
    """The same for clauses of the same literals, whatever their order."""
    return clause if len(clause) < 2 else tuple(sorted(clause, key=msgspec.structs.astuple))


def _places(clause: Clause) -> Iterator[tuple[Literal, Place]]:
    taken: set[Place] = set()
    for literal in _ordered(clause):
        layer = 0
        while (place := Place(literal.kind, literal.count, literal.level, literal.presumed, literal.universal, layer)) in taken:
            layer += 1
        taken.add(place)
        yield literal, place


@functools.lru_cache(maxsize=1024)  # callers, and directives, share a few sets of countries
def _bits(mask: int) -> tuple[int, ...]:
    """The bits of `mask`, one by one."""
    found = []
    while mask:
        lowest = mask & -mask
        mask ^= lowest
        found.append(lowest)
    return tuple(found)


def _posix(at: datetime.datetime) -> float:
    if at.tzinfo is None:
        raise ValueError(f"{at.isoformat()} has no time zone")
    return at.timestamp()
