"""What the log does to the policy: a state and the entries after it make the next state, without reading all of it again."""

import bisect
from collections.abc import Sequence

from frontiergate.errors import StoreError
from frontiergate.store.effects import after
from frontiergate.store.protocol import (
    DirectiveAdded,
    DirectiveLifted,
    Entry,
    ModelPaused,
    ModelResumed,
    Pause,
    PolicyState,
    StoredDirective,
)


def concerns_policy(entry: Entry) -> bool:
    """Whether a policy state shows what the entry did; grants and keys are no part of it."""
    return isinstance(entry.change, DirectiveAdded | DirectiveLifted | ModelPaused | ModelResumed)


def replayed(state: PolicyState, entries: Sequence[Entry]) -> PolicyState:
    """`state` after `entries`, in the order that a store gives it in. What they leave alone stays the same objects.

    Raises StoreError where an entry cannot follow: the state is then not the one that the log is of.
    """
    directives, pauses = state.directives, state.pauses
    epoch = state.epoch
    for entry in entries:
        if entry.epoch <= epoch:
            raise StoreError(f"entry {entry.epoch} of the policy log cannot follow epoch {epoch}")
        epoch = entry.epoch
        match entry.change:
            case DirectiveAdded(directive):
                directives = _with_directive(directives, directive.id, entry)
            case DirectiveLifted(id):
                directives = _with_directive(directives, id, entry)
            case ModelPaused(pause):
                pauses = _with_pause(pauses, pause.model, entry)
            case ModelResumed(model):
                pauses = _with_pause(pauses, model, entry)
            case _:
                assert not concerns_policy(entry)
    return PolicyState(epoch, directives, pauses, state.lineage)


def lost(before: PolicyState, now: PolicyState) -> list[str]:
    """What `before` has and `now` has not, or another: directives by id, and pauses."""
    directives = {stored.directive.id: stored.directive for stored in now.directives}
    paused = {pause.model for pause in now.pauses}
    return [
        *(stored.directive.id for stored in before.directives if directives.get(stored.directive.id) != stored.directive),
        *(f"the pause of {pause.model}" for pause in before.pauses if pause.model not in paused),
    ]


def _with_directive(directives: tuple[StoredDirective, ...], id: str, entry: Entry) -> tuple[StoredDirective, ...]:
    place = bisect.bisect_left(directives, id, key=lambda stored: stored.directive.id)
    found = directives[place : place + 1]
    before = found[0] if found and found[0].directive.id == id else None
    made = after(entry, before)
    assert made is None or isinstance(made, StoredDirective)
    return directives[:place] + (() if made is None else (made,)) + directives[place + (before is not None) :]


def _with_pause(pauses: tuple[Pause, ...], model: str, entry: Entry) -> tuple[Pause, ...]:
    place = bisect.bisect_left(pauses, model, key=lambda pause: pause.model)
    found = pauses[place : place + 1]
    before = found[0] if found and found[0].model == model else None
    made = after(entry, before)
    assert made is None or isinstance(made, Pause)
    return pauses[:place] + (() if made is None else (made,)) + pauses[place + (before is not None) :]
