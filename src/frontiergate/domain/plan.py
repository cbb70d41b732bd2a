"""The policy of an epoch, what it means for one model at one time, and how one epoch's policy becomes the next one's.

A policy is replaced whole and never changed. What a change leaves alone is shared by the old policy and the new one, so that one
directive more costs about the same among ten and among ten thousand.
"""

from collections.abc import Collection, Iterable, Mapping

import msgspec

from frontiergate.domain.catalogue import Catalogue
from frontiergate.domain.directive import Directive
from frontiergate.domain.program import Compiled, Program
from frontiergate.domain.scope import ModelIndex, Scope, Selectors


class Plan:
    """What is in force on a model in `[valid_from, valid_until)`: the mask of its clauses, and whether it is paused.

    `key` is the same object as long as nothing of it changes, over epochs too. Kept in the plan's place, it keeps no policy alive.
    """

    __slots__ = ("_scopes", "key", "mask", "paused", "valid_from", "valid_until")

    def __init__(self, scopes: Iterable[Scope], at: float, *, paused: bool) -> None:
        self.key = object()
        self.paused = paused
        self.mask = 0
        self.valid_from, self.valid_until = float("-inf"), float("inf")
        self._scopes: list[tuple[Scope, int]] = []
        for scope in scopes:
            mask, since, until = scope.during(at)
            self._scopes.append((scope, mask))
            self.mask |= mask
            self.valid_from, self.valid_until = max(self.valid_from, since), min(self.valid_until, until)

    def directives(self, at: float) -> list[Compiled]:
        """All that are in force, in no particular order."""
        return [compiled for scope, _ in self._scopes for compiled in scope.directives(at)]

    def violated(self, clauses: int, at: float) -> Iterable[Compiled]:
        """The directives in force that any of `clauses` belongs to, each once."""
        found: dict[int, Compiled] = {}
        for scope, mask in self._scopes:
            if clauses & mask:
                found.update((id(compiled), compiled) for compiled in scope.violated(clauses & mask, at))
        return found.values()


class _Body(msgspec.Struct):
    """All that follows from the directives, whenever they are in force. Changed only by the draft that it was made for."""

    program: Program
    index: ModelIndex
    compiled: dict[int, Compiled]  # by the directive's identity
    scopes: dict[Selectors, Scope]
    of_model: dict[str, tuple[Selectors, ...]]  # every model's scopes

    def copy(self) -> "_Body":
        return _Body(self.program.copy(), self.index, self.compiled.copy(), self.scopes.copy(), self.of_model.copy())


class Policy:
    """What is in force in one epoch, at any time. Made by a Draft."""

    __slots__ = ("_body", "_plans", "epoch", "key", "paused", "program")

    def __init__(self, body: _Body, epoch: int, paused: frozenset[str], plans: dict[str, Plan]) -> None:
        self.epoch, self.paused = epoch, paused
        self.program = body.program
        self.key = object()  # what `decide` remembers its answers by
        self._body = body
        self._plans = plans

    def plan(self, model_id: str, at: float) -> Plan:
        """What is in force on the model at `at`. Raises ValueError where the policy was compiled without it (P2)."""
        plan = self._plans.get(model_id)
        if plan is None or not plan.valid_from <= at < plan.valid_until:
            selectors = self._body.of_model.get(model_id)
            if selectors is None:
                raise ValueError(f"the policy knows no model {model_id!r}: it was compiled for another catalogue")
            scopes = (self._body.scopes[each] for each in selectors)
            plan = self._plans[model_id] = Plan(scopes, at, paused=model_id in self.paused)
        return plan

    @property
    def compiled(self) -> Collection[Compiled]:
        """All directives, whenever they are in force."""
        return self._body.compiled.values()


class Draft:
    """A policy in the making: directives are added and removed one by one, then `policy` makes it. Used once.

    Directives are told apart by identity, not by id: the same id may stand in file and store, and then both count.
    """

    __slots__ = ("_body", "_changed", "_own", "_previous", "_shared")

    def __init__(self, body: _Body, previous: Policy | None) -> None:
        self._body = body
        self._previous = previous
        self._shared = previous is not None  # until something changes
        self._changed: set[str] = set()  # models whose plans are not the previous policy's any more
        self._own: set[Selectors] = set()  # scopes that no other policy shares

    @staticmethod
    def blank(catalogue: Catalogue, groups: Mapping[str, frozenset[str]]) -> "Draft":
        """Without any directive."""
        of_model: dict[str, tuple[Selectors, ...]] = dict.fromkeys(catalogue.models, ())
        return Draft(_Body(Program(groups), ModelIndex(catalogue.models), {}, {}, of_model), None)

    @staticmethod
    def after(policy: Policy) -> "Draft":
        """With the directives of `policy`, which stays as it is."""
        return Draft(policy._body, policy)

    def add(self, directive: Directive) -> None:
        """Raises ValueError where it cannot be compiled; the draft is then of no use, as no order is ever left out (P2)."""
        body = self._to_change()
        assert id(directive) not in body.compiled
        body.compiled[id(directive)] = compiled = body.program.add(directive)
        self._scope_to_change(body, directive.models).add(compiled)

    def remove(self, directive: Directive) -> None:
        body = self._to_change()
        compiled = body.compiled.pop(id(directive))
        body.program.discard(compiled)
        scope = self._scope_to_change(body, directive.models)
        scope.discard(compiled)
        if not scope:
            del body.scopes[directive.models]
            for model in scope.models:
                body.of_model[model] = tuple(selectors for selectors in body.of_model[model] if selectors != directive.models)

    def policy(self, pauses: Collection[str], epoch: int) -> Policy:
        """The policy of `epoch`. `pauses`: ids of models."""
        paused = frozenset(pauses)
        plans: dict[str, Plan] = {}
        if self._previous is not None:
            changed = self._changed | (paused ^ self._previous.paused)
            plans = {model: plan for model, plan in self._previous._plans.items() if model not in changed}
        return Policy(self._body, epoch, paused, plans)

    def _to_change(self) -> _Body:
        if self._shared:
            self._body, self._shared = self._body.copy(), False
        return self._body

    def _scope_to_change(self, body: _Body, selectors: Selectors) -> Scope:
        scope = body.scopes.get(selectors)
        if scope is None:
            scope = Scope(body.index.select(selectors))
            for model in scope.models:
                body.of_model[model] = (*body.of_model[model], selectors)
        elif selectors not in self._own:
            scope = scope.copy()
        body.scopes[selectors] = scope
        self._own.add(selectors)
        self._changed |= scope.models
        return scope
