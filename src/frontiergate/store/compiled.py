"""The policy in force: the configuration's directives and the store's, compiled together; the union applies (DESIGN 4.2)."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

from frontiergate.domain.catalogue import Catalogue
from frontiergate.domain.directive import Directive
from frontiergate.domain.policy import Draft, Policy, compile_policy
from frontiergate.domain.program import Compiled
from frontiergate.slices import Slices
from frontiergate.store.protocol import PolicyState, StoredDirective


def compile_state(
    catalogue: Catalogue,
    configured: tuple[Directive, ...],
    groups: Mapping[str, frozenset[str]],
    state: PolicyState,
) -> Policy:
    """The policy at `state`'s epoch. Raises ValueError where a directive cannot be compiled."""
    return compile_policy(
        catalogue,
        (*configured, *(stored.directive for stored in state.directives)),
        [pause.model for pause in state.pauses],
        groups,
        state.epoch,
    )


T = TypeVar("T")


class _Made(msgspec.Struct, frozen=True):
    """The policy made last, and what it was made from."""

    catalogue: Catalogue
    configured: tuple[Directive, ...]
    groups: Mapping[str, frozenset[str]]
    state: PolicyState
    policy: Policy


class Compiler:
    """Makes each policy from the one before, in slices: what is not another object than before is not compiled again."""

    def __init__(self, slices: Callable[[], Slices] = Slices) -> None:
        self._slices = slices
        self._last: _Made | None = None
        self._retired: list[Compiled] = []  # of a policy of which nothing was kept, so that not all of it is freed at once

    async def compile(
        self,
        catalogue: Catalogue,
        configured: tuple[Directive, ...],
        groups: Mapping[str, frozenset[str]],
        state: PolicyState,
    ) -> Policy:
        """As `compile_state`."""
        slices = self._slices()
        await self._free(slices)
        last = self._last
        known: tuple[Directive, ...] = ()
        retired: list[Compiled] = []
        stored: tuple[StoredDirective, ...] = ()
        if last is not None and last.catalogue.models == catalogue.models and last.groups == groups:
            draft, known, stored = Draft.after(last.policy), last.configured, last.state.directives
        else:
            draft = Draft.blank(catalogue, groups)
            retired = [] if last is None else list(last.policy.compiled)
        gone, new = _differences(known, configured)
        lifted, added = _differences(stored, state.directives)
        for directive in (*gone, *(each.directive for each in lifted)):
            draft.remove(directive)
            if slices.over:
                await slices.rest()
        for directive in (*new, *(each.directive for each in added)):
            draft.add(directive)
            if slices.over:
                await slices.rest()
        policy = draft.policy([pause.model for pause in state.pauses], state.epoch)
        self._retired = retired
        self._last = _Made(catalogue, configured, groups, state, policy)
        return policy

    async def _free(self, slices: Slices) -> None:
        """What was retired is not in force any more by now: 10 ms for 10,000 directives, if it went at once."""
        while self._retired:
            self._retired.pop()
            if slices.over:
                await slices.rest()


def _differences(before: Sequence[T], now: Sequence[T]) -> tuple[Sequence[T], Sequence[T]]:
    """What is gone and what is new, by identity. Quick where most is the same: 0.3 ms for one new among 10,000."""
    if before is now:
        return (), ()
    both = min(len(before), len(now))
    start = next((place for place in range(both) if before[place] is not now[place]), both)
    end = next((place for place in range(both - start) if before[-1 - place] is not now[-1 - place]), both - start)
    before, now = before[start : len(before) - end], now[start : len(now) - end]
    kept = set(map(id, before)) & set(map(id, now))
    return [one for one in before if id(one) not in kept], [one for one in now if id(one) not in kept]
