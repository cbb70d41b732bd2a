"""The policy in force: the configuration's directives and the store's, compiled together; the union applies (DESIGN 4.2)."""

from collections.abc import Iterable, Mapping

from frontiergate.domain.catalogue import Catalogue
from frontiergate.domain.directive import Directive
from frontiergate.domain.policy import Policy, compile_policy
from frontiergate.store.protocol import PolicyState


def compile_state(
    catalogue: Catalogue,
    configured: Iterable[Directive],
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
