"""The policy in force: the configuration's directives and the store's, compiled together; the union applies (DESIGN 4.2)."""

from collections.abc import Callable, Mapping

import msgspec

from frontiergate.domain.catalogue import Catalogue
from frontiergate.domain.directive import Directive
from frontiergate.domain.policy import Draft, Policy, compile_policy
from frontiergate.slices import Slices
from frontiergate.store.protocol import PolicyState


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

    async def compile(
        self,
        catalogue: Catalogue,
        configured: tuple[Directive, ...],
        groups: Mapping[str, frozenset[str]],
        state: PolicyState,
    ) -> Policy:
        """As `compile_state`."""
        last = self._last
        if last is not None and last.catalogue.models == catalogue.models and last.groups == groups:
            draft = Draft.after(last.policy)
            if last.configured is not configured or last.state.directives is not state.directives:
                await self._change(draft, last.policy, configured, state)
        else:
            draft = Draft.blank(catalogue, groups)
            await self._change(draft, None, configured, state)
        policy = draft.policy([pause.model for pause in state.pauses], state.epoch)
        self._last = _Made(catalogue, configured, groups, state, policy)
        return policy

    async def _change(self, draft: Draft, before: Policy | None, configured: tuple[Directive, ...], state: PolicyState) -> None:
        slices = self._slices()
        wanted = {id(directive): directive for directive in configured}
        wanted.update((id(stored.directive), stored.directive) for stored in state.directives)
        held = {} if before is None else before.directives
        gone = [compiled.directive for identity, compiled in held.items() if identity not in wanted]
        new = [directive for identity, directive in wanted.items() if identity not in held]
        for change, directives in ((draft.remove, gone), (draft.add, new)):
            for directive in directives:
                change(directive)
                if slices.over:
                    await slices.rest()
