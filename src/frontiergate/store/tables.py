"""The things that changes are about, as rows of the SQLite file: used inside the transaction that appends the entry."""

import sqlite3
from typing import Any, assert_never

from frontiergate.domain.vetting import Grant
from frontiergate.store.effects import Thing, subject_of
from frontiergate.store.protocol import Change, KeyCreated, KeyRecord, Pause, StoredDirective
from frontiergate.store.rows import DIRECTIVE, GRANT, KEY, PAUSE, decode, encode


def look_up(connection: sqlite3.Connection, change: Change) -> Thing | None:
    """What `change` is about, as it is now; for a new key, one with the same secret counts too."""

    def row(query: str, *values: str) -> Any:
        return connection.execute(query, values).fetchone()

    kind, name = subject_of(change)
    match kind:
        case "directive":
            found = row("SELECT body, epoch, actor, at FROM directives WHERE id = ?", name)
            return found and StoredDirective(decode(DIRECTIVE, found[0], f"directive {name}"), *found[1:])
        case "model":
            found = row("SELECT body FROM pauses WHERE model = ?", name)
            return found and decode(PAUSE, found[0], f"pause of {name}")
        case "grant":
            found = row("SELECT body FROM grants WHERE id = ?", name)
            return found and decode(GRANT, found[0], f"grant {name}")
        case "key":
            sha256 = change.key.sha256 if isinstance(change, KeyCreated) else ""
            found = row("SELECT body FROM keys WHERE id = ? OR sha256 = ?", name, sha256)
            return found and decode(KEY, found[0], f"key {name}")
        case _:
            assert_never(kind)


def put(connection: sqlite3.Connection, thing: Thing) -> None:
    """Write it as it is from now on."""
    match thing:
        case StoredDirective(directive, epoch, actor, at):
            connection.execute("INSERT INTO directives VALUES (?, ?, ?, ?, ?)", (directive.id, encode(directive), epoch, actor, at))
        case Pause():
            connection.execute("INSERT INTO pauses VALUES (?, ?)", (thing.model, encode(thing)))
        case Grant():
            values = (thing.id, thing.principal, thing.state, encode(thing))
            connection.execute("INSERT OR REPLACE INTO grants VALUES (?, ?, ?, ?)", values)
        case KeyRecord():
            connection.execute("INSERT OR REPLACE INTO keys VALUES (?, ?, ?)", (thing.id, thing.sha256, encode(thing)))
        case _:
            assert_never(thing)


def remove(connection: sqlite3.Connection, change: Change) -> None:
    """Directives are lifted and models resumed; nothing else ever goes."""
    kind, name = subject_of(change)
    if kind == "directive":
        connection.execute("DELETE FROM directives WHERE id = ?", (name,))
    elif kind == "model":
        connection.execute("DELETE FROM pauses WHERE model = ?", (name,))
