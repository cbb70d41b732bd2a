"""The SQLite file of the first release, as it was: this version opens it, brings it forward, and loses nothing."""

import asyncio
import pathlib
import sqlite3

import pytest
from snapshot_stories import held
from store_contract import append, grant, with_store

from frontiergate.errors import StoreError, StoreUnavailable
from frontiergate.store import schema
from frontiergate.store.protocol import GrantIssued, ModelResumed, Position, Store
from frontiergate.store.sqlite import SqliteStore

# Never to be edited: files like this are out there.
FIRST = """
PRAGMA application_id = 1179083124;
PRAGMA user_version = 1;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE log (epoch INTEGER PRIMARY KEY, at REAL NOT NULL, actor TEXT NOT NULL, reason TEXT NOT NULL,
    subject TEXT NOT NULL, change BLOB NOT NULL) STRICT;
CREATE INDEX log_of_subject ON log (subject, epoch);
CREATE TRIGGER log_is_not_edited BEFORE UPDATE ON log BEGIN SELECT RAISE(ABORT, 'the policy log is append-only'); END;
CREATE TRIGGER log_is_not_cut BEFORE DELETE ON log BEGIN SELECT RAISE(ABORT, 'the policy log is append-only'); END;
CREATE TABLE directives (id TEXT PRIMARY KEY, body BLOB NOT NULL, epoch INTEGER NOT NULL, actor TEXT NOT NULL, at REAL NOT NULL)
    STRICT, WITHOUT ROWID;
CREATE TABLE pauses (model TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE grants (id TEXT PRIMARY KEY, principal TEXT NOT NULL, state TEXT NOT NULL, body BLOB NOT NULL) STRICT;
CREATE INDEX grants_of_principal ON grants (principal, state);
CREATE TABLE keys (id TEXT PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, body BLOB NOT NULL) STRICT;
CREATE TABLE replicas (name TEXT PRIMARY KEY, instance TEXT NOT NULL, body BLOB NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('lineage', '0123456789abcdef');
INSERT INTO log VALUES (1, 100.5, 'olga', 'the order', 'directive/is-1', CAST(
    '{"type":"directive_added","directive":{"id":"is-1","order":{"authority":"Bureau","reference":"IS-1"},"models":["m/*"],"withdraw":true}}' AS BLOB));
INSERT INTO log VALUES (2, 101.5, 'rita', 'approved', 'grant/g1', CAST(
    '{"type":"grant_issued","grant":{"id":"g1","principal":"i|alice","programme":"caisi","models":["m/one"],"issued_at":1.0,"expires_at":2.0,'
    || '"state":"active","case":null,"reason":null}}' AS BLOB));
INSERT INTO log VALUES (3, 102.5, 'olga', 'for ci', 'key/k1', CAST(
    '{"type":"key_created","key":{"id":"k1","sha256":"5ha","name":"ci","evidence":[{"kind":"nationality","value":"US","source":"operator",'
    || '"assurance":2,"observed_at":1.0}],"created_at":1.0}}' AS BLOB));
INSERT INTO log VALUES (4, 103.5, 'olga', 'broken', 'model/m/two', CAST(
    '{"type":"model_paused","pause":{"model":"m/two","reason":"broken","by":"olga","since":103.5}}' AS BLOB));
INSERT INTO directives VALUES ('is-1', CAST(
    '{"id":"is-1","order":{"authority":"Bureau","reference":"IS-1"},"models":["m/*"],"withdraw":true}' AS BLOB), 1, 'olga', 100.5);
INSERT INTO grants VALUES ('g1', 'i|alice', 'active', CAST(
    '{"id":"g1","principal":"i|alice","programme":"caisi","models":["m/one"],"issued_at":1.0,"expires_at":2.0,"state":"active","case":null,"reason":null}'
    AS BLOB));
INSERT INTO keys VALUES ('k1', '5ha', CAST(
    '{"id":"k1","sha256":"5ha","name":"ci","evidence":[{"kind":"nationality","value":"US","source":"operator","assurance":2,"observed_at":1.0}],'
    || '"created_at":1.0}' AS BLOB));
INSERT INTO pauses VALUES ('m/two', CAST('{"model":"m/two","reason":"broken","by":"olga","since":103.5}' AS BLOB));
"""


@pytest.fixture
def path(tmp_path: pathlib.Path) -> str:
    path = str(tmp_path / "state.db")
    connection = sqlite3.connect(path)
    connection.executescript(FIRST)
    connection.close()
    return path


def version(path: str) -> int:
    connection = sqlite3.connect(path)
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    return int(found)


def test_it_is_read_and_appended_to(path: str) -> None:
    async def story(store: Store) -> None:
        state = await store.state()
        assert [(stored.directive.id, stored.epoch) for stored in state.directives] == [("is-1", 1)]
        assert [pause.model for pause in state.pauses] == ["m/two"]
        assert [entry.actor for entry in await store.entries(0)] == ["olga", "rita", "olga", "olga"]
        assert [found.id for found in await store.grants_of("i|alice")] == ["g1"]
        found = await store.key("5ha")
        assert found is not None
        assert found.evidence[0].value == "US"
        assert (await append(store, GrantIssued(grant("g2")))).epoch == 5
        assert await store.position() == Position("0123456789abcdef", 5)

    with_store(lambda: SqliteStore(path), story)
    assert version(path) == len(schema.MIGRATIONS)


def test_it_takes_all_steps_that_came_later_at_once(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    later = (
        ("ALTER TABLE grants ADD COLUMN expires_at REAL NOT NULL DEFAULT 0",),
        (
            "UPDATE grants SET expires_at = json_extract(CAST(body AS TEXT), '$.expires_at')",
            "CREATE INDEX by_expiry ON grants (expires_at)",
        ),
    )
    before = held(f"sqlite://{path}")
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, *later))
    assert held(f"sqlite://{path}") == before
    assert version(path) == len(schema.MIGRATIONS)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT expires_at FROM grants").fetchall() == [(2.0,)]
    connection.close()


def test_a_version_before_the_last_step_refuses_it_and_leaves_it_alone(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("ALTER TABLE grants ADD COLUMN note TEXT",)))
        held(f"sqlite://{path}")
    before = pathlib.Path(path).read_bytes()
    with pytest.raises(
        StoreError, match=r"written by a newer Frontier Gate \(layout 2; this one knows 1\): upgrade, or restore the backup"
    ):
        asyncio.run(SqliteStore(path).open())
    assert pathlib.Path(path).read_bytes() == before


def test_a_process_that_runs_refuses_what_a_newer_version_brought_forward(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    later = ("ALTER TABLE grants ADD COLUMN note TEXT",)

    async def story(store: Store) -> None:
        assert len((await store.state()).directives) == 1
        with monkeypatch.context() as newer:
            newer.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, later))
            await asyncio.to_thread(held, f"sqlite://{path}")
        questions = (
            store.open,
            store.position,
            store.state,
            store.keys,
            store.grants,
            lambda: store.entries(0),
            lambda: store.grants_of("i|alice"),
            lambda: store.key("5ha"),
            lambda: append(store, GrantIssued(grant("g2"))),
        )
        for question in questions:
            with pytest.raises(StoreUnavailable, match=r"written by a newer Frontier Gate \(layout 2; this one knows 1\)"):
                await question()
        monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, later))
        assert (await append(store, ModelResumed("m/two"))).epoch == 5

    with_store(lambda: SqliteStore(path), story)


def test_an_older_backup_that_is_put_into_the_file_of_a_running_process_is_brought_forward(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(store: Store) -> None:
        await store.state()
        connection = sqlite3.connect(path)
        connection.execute("ALTER TABLE grants DROP COLUMN note")
        connection.execute("PRAGMA user_version = 1")
        connection.close()
        with pytest.raises(StoreUnavailable, match="older layout"):
            await store.state()
        await store.state()

    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("ALTER TABLE grants ADD COLUMN note TEXT",)))
    with_store(lambda: SqliteStore(path), story)
    assert version(path) == 2


def test_another_programs_file_is_left_as_it_is(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "theirs.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreUnavailable, match="is a SQLite database of another program: name another file in `store`"):
        asyncio.run(SqliteStore(str(path)).open())
    assert path.read_bytes() == before, "its journal's mode, too"


def test_a_new_log_leaves_no_row_of_the_old_one_and_the_triggers_as_they_were(path: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' ORDER BY name").fetchall()
    connection.execute("BEGIN IMMEDIATE")
    schema.begin_anew(connection, "fedcba9876543210")
    connection.execute("COMMIT")
    for table in ("log", "directives", "pauses", "grants", "keys", "replicas"):
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    assert connection.execute("SELECT * FROM meta").fetchall() == [("lineage", "fedcba9876543210")]
    assert connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' ORDER BY name").fetchall() == triggers
    connection.close()
