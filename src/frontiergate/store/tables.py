"""The log and the things that it is about, as rows of a SQLite file: used inside a transaction."""

import sqlite3
from collections.abc import Iterator
from typing import Any, assert_never

from frontiergate.domain.vetting import Grant
from frontiergate.store.effects import Lineage, Thing, subject_of
from frontiergate.store.protocol import Change, Entry, KeyCreated, KeyRecord, Pause, Position, StoredDirective
from frontiergate.store.rows import CHANGE, DIRECTIVE, GRANT, KEY, PAUSE, decode, encode


def position(connection: sqlite3.Connection) -> Position:
    """Lineage and head, of one snapshot if a transaction is open."""
    (lineage,) = connection.execute("SELECT value FROM meta WHERE key = 'lineage'").fetchone()
    (epoch,) = connection.execute("SELECT coalesce(max(epoch), 0) FROM log").fetchone()
    return Position(str(lineage), int(epoch))


def record(connection: sqlite3.Connection, entry: Entry, now: Thing | None) -> None:
    """Append `entry`, and make what it is about be `now`; None: gone."""
    if now is None:
        remove(connection, entry.change)
    else:
        put(connection, now)
    connection.execute(
        "INSERT INTO log VALUES (?, ?, ?, ?, ?, ?)",
        (entry.epoch, entry.at, entry.actor, entry.reason, "/".join(subject_of(entry.change)), encode(entry.change)),
    )


def entries(connection: sqlite3.Connection, where: str, *values: str | int) -> Iterator[Entry]:
    """Those that `where` selects, our own text, in order."""
    query = f"SELECT epoch, at, actor, reason, change FROM log WHERE {where}"  # noqa: S608 our own text
    for epoch, at, actor, reason, change in connection.execute(query, values):
        yield Entry(epoch=epoch, at=at, actor=actor, reason=reason, change=decode(CHANGE, change, f"log entry {epoch}"))


def directives(connection: sqlite3.Connection) -> Iterator[StoredDirective]:
    """All, in the order of their ids."""
    for name, body, epoch, actor, at in connection.execute("SELECT id, body, epoch, actor, at FROM directives ORDER BY id"):
        yield StoredDirective(decode(DIRECTIVE, body, f"directive {name}"), epoch, actor, at)


def pauses(connection: sqlite3.Connection) -> Iterator[Pause]:
    """All, in the order of their models."""
    for model, body in connection.execute("SELECT model, body FROM pauses ORDER BY model"):
        yield decode(PAUSE, body, f"pause of {model}")


def grants(connection: sqlite3.Connection, where: str, *values: str | int) -> Iterator[Grant]:
    """Those that `where` selects, our own text, in order."""
    for name, body in connection.execute(f"SELECT id, body FROM grants WHERE {where}", values):  # noqa: S608 our own text
        yield decode(GRANT, body, f"grant {name}")


def keys(connection: sqlite3.Connection) -> Iterator[KeyRecord]:
    """All, in the order of their ids."""
    for name, body in connection.execute("SELECT id, body FROM keys ORDER BY id"):
        yield decode(KEY, body, f"key {name}")


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
        case "log":
            return Lineage(*row("SELECT value FROM meta WHERE key = 'lineage'"))
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
        case Lineage(text):
            connection.execute("UPDATE meta SET value = ? WHERE key = 'lineage'", (text,))
        case _:
            assert_never(thing)


def remove(connection: sqlite3.Connection, change: Change) -> None:
    """Directives are lifted and models resumed; nothing else ever goes."""
    kind, name = subject_of(change)
    if kind == "directive":
        connection.execute("DELETE FROM directives WHERE id = ?", (name,))
    elif kind == "model":
        connection.execute("DELETE FROM pauses WHERE model = ?", (name,))
