"""What each change does to the tables, and when it may not be made: run inside the transaction that appends it."""

import sqlite3
from typing import assert_never

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
    KeyRevoked,
    ModelPaused,
    ModelResumed,
    Pause,
)
from frontiergate.store.rows import GRANT, KEY, PAUSE, decode, encode


def subject_of(change: Change) -> str:
    """What a change is about; the log is indexed by it."""
    match change:
        case DirectiveAdded(directive):
            return f"directive/{directive.id}"
        case DirectiveLifted(id):
            return f"directive/{id}"
        case ModelPaused(pause):
            return f"model/{pause.model}"
        case ModelResumed(model):
            return f"model/{model}"
        case GrantIssued(grant):
            return f"grant/{grant.id}"
        case GrantChanged(id):
            return f"grant/{id}"
        case KeyCreated(key):
            return f"key/{key.id}"
        case KeyRevoked(id):
            return f"key/{id}"
        case _:
            assert_never(change)


def check_expected(connection: sqlite3.Connection, change: Change, expect: int, head: int) -> None:
    """Conflict unless `expect` is the log's epoch, or that of the directive to be lifted."""
    if expect == head:
        return
    now = head
    if isinstance(change, DirectiveLifted):
        row = connection.execute("SELECT epoch FROM directives WHERE id = ?", (change.id,)).fetchone()
        if row is None:
            raise NotFound(f"no directive {change.id!r} is in force at runtime")
        (now,) = row
    if expect != now:
        raise Conflict(f"it changed in between: you saw epoch {expect}, it is {now} by now; look again and repeat")


def take_effect(connection: sqlite3.Connection, entry: Entry) -> None:
    """Raises Conflict and NotFound; the caller's transaction is then rolled back."""
    change = entry.change
    match change:
        case DirectiveAdded(directive):
            if _exists(connection, "SELECT 1 FROM directives WHERE id = ?", directive.id):
                raise Conflict(f"directive {directive.id!r} exists: lift it first, or choose another id")
            connection.execute(
                "INSERT INTO directives VALUES (?, ?, ?, ?, ?)",
                (directive.id, encode(directive), entry.epoch, entry.actor, entry.at),
            )
        case DirectiveLifted(id):
            if not connection.execute("DELETE FROM directives WHERE id = ?", (id,)).rowcount:
                raise NotFound(f"no directive {id!r} is in force at runtime")
        case ModelPaused(pause):
            _pause(connection, pause)
        case ModelResumed(model):
            if not connection.execute("DELETE FROM pauses WHERE model = ?", (model,)).rowcount:
                raise NotFound(f"model {model!r} is not paused")
        case GrantIssued(grant):
            _issue(connection, grant)
        case GrantChanged():
            _change_grant(connection, change)
        case KeyCreated(key):
            if _exists(connection, "SELECT 1 FROM keys WHERE id = ? OR sha256 = ?", key.id, key.sha256):
                raise Conflict(f"key {key.id!r}, or one with the same secret, exists")
            connection.execute("INSERT INTO keys VALUES (?, ?, ?)", (key.id, key.sha256, encode(key)))
        case KeyRevoked(id):
            _revoke_key(connection, id, entry.at)
        case _:
            assert_never(change)


def _exists(connection: sqlite3.Connection, query: str, *values: str) -> bool:
    return connection.execute(query, values).fetchone() is not None


def _pause(connection: sqlite3.Connection, pause: Pause) -> None:
    row = connection.execute("SELECT body FROM pauses WHERE model = ?", (pause.model,)).fetchone()
    if row is not None:
        by = decode(PAUSE, row[0], f"pause of {pause.model}").by
        raise Conflict(f"model {pause.model!r} is paused already, by {by}")
    connection.execute("INSERT INTO pauses VALUES (?, ?)", (pause.model, encode(pause)))


def _issue(connection: sqlite3.Connection, grant: Grant) -> None:
    if grant.state is not GrantState.ACTIVE:
        raise Conflict(f"a grant is issued active, not {grant.state}")
    if _exists(connection, "SELECT 1 FROM grants WHERE id = ?", grant.id):
        raise Conflict(f"grant {grant.id!r} exists")
    connection.execute("INSERT INTO grants VALUES (?, ?, ?, ?)", (grant.id, grant.principal, grant.state, encode(grant)))


def _change_grant(connection: sqlite3.Connection, change: GrantChanged) -> None:
    row = connection.execute("SELECT body FROM grants WHERE id = ?", (change.id,)).fetchone()
    if row is None:
        raise NotFound(f"no grant {change.id!r}")
    grant = decode(GRANT, row[0], f"grant {change.id}")
    if grant.principal != change.principal:  # every cache is invalidated by the principal that the log names
        raise Conflict(f"grant {change.id!r} belongs to another principal")
    try:
        grant = vetting.move(grant, GrantState(change.state))
    except ValueError as error:
        raise Conflict(str(error)) from error
    connection.execute("UPDATE grants SET state = ?, body = ? WHERE id = ?", (grant.state, encode(grant), grant.id))


def _revoke_key(connection: sqlite3.Connection, id: str, at: float) -> None:
    row = connection.execute("SELECT body FROM keys WHERE id = ?", (id,)).fetchone()
    if row is None:
        raise NotFound(f"no key {id!r}")
    key = decode(KEY, row[0], f"key {id}")
    if key.revoked_at is not None:
        raise Conflict(f"key {id!r} is revoked already")
    connection.execute("UPDATE keys SET body = ? WHERE id = ?", (encode(msgspec.structs.replace(key, revoked_at=at)), id))
