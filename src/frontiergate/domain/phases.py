"""The phases of an epoch's policy: what is in force between two instants at which a directive starts or ends."""

import bisect
import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from frontiergate.domain.catalogue import Catalogue
from frontiergate.domain.program import Compiled, Program

_KEPT = 8  # phases; live traffic needs one, a clock that steps back two


class Selection(msgspec.Struct, frozen=True):
    """The directives in force that select the same models, the mask of their clauses, and whose each clause is."""

    directives: tuple[Compiled, ...]
    mask: int
    by_clause: Mapping[int, list[Compiled]]


class Plan(msgspec.Struct, frozen=True):
    """What is in force on a model: the selections that hold it, and the mask of all their clauses."""

    selections: tuple[Selection, ...]
    mask: int

    def directives(self) -> tuple[Compiled, ...]:
        """All that are in force, by id."""
        together = [compiled for selection in self.selections for compiled in selection.directives]
        return tuple(sorted(together, key=lambda compiled: compiled.directive.id))

    def violated(self, clauses: int) -> Iterable[Compiled]:
        """The directives that any of `clauses` belongs to, each once; the work is in the set bits, not in the directives."""
        found: dict[int, Compiled] = {}
        for selection in self.selections:
            left = clauses & selection.mask
            while left:
                lowest = left & -left
                left ^= lowest
                found.update((id(compiled), compiled) for compiled in selection.by_clause[lowest.bit_length() - 1])
        return found.values()


class Policy:
    """What is in force in `[valid_from, valid_until)`; `at` gives the policy of another instant of the same epoch."""

    __slots__ = ("_phases", "_plans", "epoch", "key", "paused", "program", "valid_from", "valid_until")

    def __init__(self, phases: "Phases", valid_from: float, valid_until: float, plans: dict[str, Plan]) -> None:
        self.valid_from, self.valid_until = valid_from, valid_until
        self.epoch, self.program, self.paused = phases.epoch, phases.program, phases.paused
        self.key = object()  # what `decide` remembers its answers by
        self._phases = phases
        self._plans = plans

    def at(self, instant: float) -> "Policy":
        """The policy at `instant`; this one where it holds then."""
        return self if self.valid_from <= instant < self.valid_until else self._phases.at(instant)

    def plan(self, model_id: str) -> Plan:
        """What is in force on the model. Raises ValueError where the policy was compiled without it (P2)."""
        plan = self._plans.get(model_id)
        if plan is None:
            raise ValueError(f"the policy knows no model {model_id!r}: it was compiled for another catalogue")
        return plan


class Phases:
    """All phases of one epoch, made when asked for."""

    __slots__ = ("_made", "_models", "epoch", "paused", "program")

    def __init__(self, catalogue: Catalogue, program: Program, paused: frozenset[str], epoch: int) -> None:
        self.program, self.paused, self.epoch = program, paused, epoch
        self._models = tuple(catalogue.models)
        self._made: dict[int, Policy] = {}

    def at(self, instant: float) -> Policy:
        """The policy at `instant`."""
        number = bisect.bisect_right(self.program.instants, instant)
        policy = self._made.get(number)
        if policy is None:
            if len(self._made) >= _KEPT:
                self._made.clear()
            policy = self._made[number] = self._make(number)
        return policy

    def _make(self, number: int) -> Policy:
        edges = (-math.inf, *self.program.instants, math.inf)
        start, end = edges[number], edges[number + 1]
        of_model: dict[str, list[Selection]] = {model: [] for model in self._models}
        for models, directives in self.program.selections:
            selection = _selection([compiled for compiled in directives if compiled.start <= start and end <= compiled.end])
            for model in models if selection.directives else ():
                of_model[model].append(selection)
        return Policy(self, start, end, {model: _plan(selections) for model, selections in of_model.items()})


def _selection(directives: Sequence[Compiled]) -> Selection:
    mask = 0
    by_clause: dict[int, list[Compiled]] = {}
    for compiled in directives:
        mask |= compiled.mask
        for number, _ in compiled.clauses:
            by_clause.setdefault(number, []).append(compiled)
    return Selection(tuple(directives), mask, by_clause)


def _plan(selections: Sequence[Selection]) -> Plan:
    mask = 0
    for selection in selections:
        mask |= selection.mask
    return Plan(tuple(selections), mask)
