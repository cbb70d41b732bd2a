"""The SQLite file's layout, and how an older one is brought forward.

`application_id` says that a file is ours, `user_version` how many of MIGRATIONS it has seen. A migration is never edited
once released; the next one is added below it.
"""

import secrets
import sqlite3

from frontiergate.errors import StoreUnavailable
from frontiergate.store.connection import transaction

APPLICATION_ID = 0x46476174  # "FGat"

_FIRST = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    "INSERT INTO meta VALUES ('lineage', :lineage)",
    """CREATE TABLE log (
        epoch INTEGER PRIMARY KEY, at REAL NOT NULL, actor TEXT NOT NULL, reason TEXT NOT NULL,
        subject TEXT NOT NULL, change BLOB NOT NULL
    ) STRICT""",
    "CREATE INDEX log_of_subject ON log (subject, epoch)",
    # The history is evidence: not even a slip of our own may rewrite it.
    "CREATE TRIGGER log_is_not_edited BEFORE UPDATE ON log BEGIN SELECT RAISE(ABORT, 'the policy log is append-only'); END",
    "CREATE TRIGGER log_is_not_cut BEFORE DELETE ON log BEGIN SELECT RAISE(ABORT, 'the policy log is append-only'); END",
    """CREATE TABLE directives (
        id TEXT PRIMARY KEY, body BLOB NOT NULL, epoch INTEGER NOT NULL, actor TEXT NOT NULL, at REAL NOT NULL
    ) STRICT, WITHOUT ROWID""",
    "CREATE TABLE pauses (model TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE grants (id TEXT PRIMARY KEY, principal TEXT NOT NULL, state TEXT NOT NULL, body BLOB NOT NULL) STRICT",
    "CREATE INDEX grants_of_principal ON grants (principal, state)",
    "CREATE TABLE keys (id TEXT PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, body BLOB NOT NULL) STRICT",
    "CREATE TABLE replicas (name TEXT PRIMARY KEY, instance TEXT NOT NULL, body BLOB NOT NULL) STRICT, WITHOUT ROWID",
)
MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST,)


def bring_forward(connection: sqlite3.Connection, path: str) -> None:
    """Create or migrate, in one transaction. StoreUnavailable where the file is not ours, or newer than this version."""
    with transaction(connection, "DEFERRED"):  # one snapshot: another process may be creating the file right now
        seen = _seen(connection, path)
    if seen == len(MIGRATIONS):
        return
    with transaction(connection, "IMMEDIATE"):
        seen = _seen(connection, path)  # again: another process may have been faster
        for migration in MIGRATIONS[seen:]:
            for statement in migration:
                connection.execute(statement, {"lineage": secrets.token_hex(8)} if ":lineage" in statement else {})
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def require_ours(connection: sqlite3.Connection, path: str) -> None:
    """Raises StoreUnavailable where the file is another program's, or newer than this version: it is left as it is, its mode too."""
    with transaction(connection, "DEFERRED"):
        _seen(connection, path)


def require_current(connection: sqlite3.Connection, path: str) -> None:
    """Raises StoreUnavailable where another version brought the file forward, or an older backup was put into it, since it was opened."""
    seen = _seen(connection, path)
    if seen != len(MIGRATIONS):
        raise StoreUnavailable(f"{path} has an older layout ({seen}; this version's is {len(MIGRATIONS)}): it is opened anew")


def begin_anew(connection: sqlite3.Connection, lineage: str) -> None:
    """An empty log of this lineage, whatever was there before; inside the transaction that fills it. The triggers are for everyone else."""
    triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'").fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    for (name,) in tables:
        if name != "meta":
            connection.execute(f"DELETE FROM {name}")  # noqa: S608 our own names
    for _, statement in triggers:
        connection.execute(statement)
    connection.execute("UPDATE meta SET value = ? WHERE key = 'lineage'", (lineage,))


def _seen(connection: sqlite3.Connection, path: str) -> int:
    """How many migrations the file has seen."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application != APPLICATION_ID and (application or version or tables):
        raise StoreUnavailable(f"{path} is a SQLite database of another program: name another file in `store`")
    if version > len(MIGRATIONS):
        raise StoreUnavailable(
            f"{path} was written by a newer Frontier Gate (layout {version}; this one knows {len(MIGRATIONS)}): "
            "upgrade, or restore the backup taken before the upgrade"
        )
    return int(version)
