"""What each change does to the one thing that it is about, and when it may not be made. Pure: every store applies the same rules.

A store looks the thing up, asks `after`, and writes the answer in the same step that appends the entry.
"""

from typing import Literal, assert_never

import msgspec

from frontiergate.domain import vetting
from frontiergate.domain.vetting import Grant, GrantState
from frontiergate.errors import Conflict, NotFound
from frontiergate.store.protocol import (
    Change,
    DirectiveAdded,
    DirectiveLifted,
    Entry,
    GrantChanged,
    GrantIssued,
    KeyCreated,
    KeyRecord,
    KeyRevoked,
    ModelPaused,
    ModelResumed,
    Pause,
    StoreAccepted,
    StoredDirective,
)


class Lineage(msgspec.Struct, frozen=True):
    """Which log it is."""

    text: str


Kind = Literal["directive", "model", "grant", "key", "log"]
Thing = StoredDirective | Pause | Grant | KeyRecord | Lineage


def subject_of(change: Change) -> tuple[Kind, str]:
    """What a change is about: its kind, and its name among those."""
    match change:
        case DirectiveAdded(directive):
            return "directive", directive.id
        case DirectiveLifted(id):
            return "directive", id
        case ModelPaused(pause):
            return "model", pause.model
        case ModelResumed(model):
            return "model", model
        case GrantIssued(grant):
            return "grant", grant.id
        case GrantChanged(id):
            return "grant", id
        case KeyCreated(key):
            return "key", key.id
        case KeyRevoked(id):
            return "key", id
        case StoreAccepted():
            return "log", "lineage"
        case _:
            assert_never(change)


def check_expected(change: Change, before: Thing | None, expect: int, head: int) -> None:
    """Conflict unless `expect` is the log's epoch, or that of the directive to be lifted."""
    if expect == head:
        return
    now = head
    if isinstance(change, DirectiveLifted):
        now = _directive(change.id, before).epoch
    if expect != now:
        raise Conflict(f"it changed in between: you saw epoch {expect}, it is {now} by now; look again and repeat")


def after(entry: Entry, before: Thing | None) -> Thing | None:
    """What the thing is once `entry` is in the log; None where it is gone. Raises Conflict and NotFound.

    `before` is what it is now, None where there is none. For a new key, a key with the same secret counts too.
    """
    match entry.change:
        case DirectiveAdded(directive):
            if before is not None:
                raise Conflict(f"directive {directive.id!r} exists: lift it first, or choose another id")
            return StoredDirective(directive, entry.epoch, entry.actor, entry.at)
        case DirectiveLifted(id):
            _directive(id, before)
            return None
        case ModelPaused(pause):
            if isinstance(before, Pause):
                raise Conflict(f"model {pause.model!r} is paused already, by {before.by}")
            return pause
        case ModelResumed(model):
            if before is None:
                raise NotFound(f"model {model!r} is not paused")
            return None
        case GrantIssued(grant):
            if grant.state is not GrantState.ACTIVE:
                raise Conflict(f"a grant is issued active, not {grant.state}")
            if before is not None:
                raise Conflict(f"grant {grant.id!r} exists")
            return grant
        case GrantChanged() as change:
            return _moved(change, before)
        case KeyCreated(key):
            if before is not None:
                raise Conflict(f"key {key.id!r}, or one with the same secret, exists")
            return key
        case KeyRevoked(id):
            return _revoked(id, before, entry.at)
        case StoreAccepted(lineage):
            return Lineage(lineage)
        case _:
            assert_never(entry.change)


def _directive(id: str, before: Thing | None) -> StoredDirective:
    if not isinstance(before, StoredDirective):
        raise NotFound(f"no directive {id!r} is in force at runtime")
    return before


def _moved(change: GrantChanged, before: Thing | None) -> Grant:
    if not isinstance(before, Grant):
        raise NotFound(f"no grant {change.id!r}")
    if before.principal != change.principal:  # every cache is invalidated by the principal that the log names
        raise Conflict(f"grant {change.id!r} belongs to another principal")
    try:
        return vetting.move(before, GrantState(change.state))
    except ValueError as error:
        raise Conflict(str(error)) from error


def _revoked(id: str, before: Thing | None, at: float) -> KeyRecord:
    if not isinstance(before, KeyRecord):
        raise NotFound(f"no key {id!r}")
    if before.revoked_at is not None:
        raise Conflict(f"key {id!r} is revoked already")
    return msgspec.structs.replace(before, revoked_at=at)
