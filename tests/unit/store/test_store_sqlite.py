"""SQLite keeps the contract, and says what to do when its file is not as it should be."""

import asyncio
import contextlib
import os
import pathlib
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from store_contract import Connect, StoreContract, append, directive, grant, key, report, with_store

from frontiergate.errors import StoreError, StoreUnavailable
from frontiergate.store import schema
from frontiergate.store.connection import Watch
from frontiergate.store.protocol import DirectiveAdded, GrantIssued, KeyCreated, Store
from frontiergate.store.registry import open_store
from frontiergate.store.sqlite import SqliteStore


@pytest.fixture
def path(tmp_path: pathlib.Path) -> str:
    return str(tmp_path / "state.db")


class TestSqliteKeepsTheContract(StoreContract):
    @pytest.fixture
    def connect(self, path: str) -> Connect:
        return lambda: SqliteStore(path)


def opened(path: str) -> None:
    async def story(store: Store) -> None:
        await store.head()

    with_store(lambda: SqliteStore(path), story)


def edit(path: str, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def test_the_file_is_readable_by_its_owner_only(path: str) -> None:
    opened(path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_every_commit_is_synced_and_the_file_is_marked_as_ours(path: str) -> None:
    async def story(store: Store) -> None:
        await store.report(report("w"))
        assert isinstance(store, SqliteStore)
        connections = store._connections
        assert connections is not None
        assert connections.log.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connections.log.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connections.log.execute("PRAGMA application_id").fetchone() == (schema.APPLICATION_ID,)
        assert connections.log.execute("PRAGMA user_version").fetchone() == (len(schema.MIGRATIONS),)

    with_store(lambda: SqliteStore(path), story)


def test_the_log_cannot_be_edited_or_cut(path: str) -> None:
    async def story(store: Store) -> None:
        await append(store, DirectiveAdded(directive("a")))

    with_store(lambda: SqliteStore(path), story)
    for statement in ("UPDATE log SET actor = 'nobody'", "DELETE FROM log"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            edit(path, statement)


def test_a_grant_is_looked_up_by_an_index(path: str) -> None:
    opened(path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for query in (
            "SELECT body FROM grants WHERE principal = 'x' AND state IN ('a', 'b')",
            "SELECT body FROM keys WHERE sha256 = 'x'",
            "SELECT epoch FROM log WHERE subject = 'x' ORDER BY epoch",
        ):
            plan = " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}"))
            assert "SEARCH" in plan
            assert "USING" in plan
            assert "SCAN" not in plan


def test_many_that_open_a_new_file_at_once_all_succeed(path: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        for outcome in [pool.submit(opened, path) for _ in range(8)]:
            outcome.result()


def test_a_missing_folder_is_an_error_that_says_what_to_check(tmp_path: pathlib.Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"no/state\.db.*check that it exists"):
        opened(str(tmp_path / "no" / "state.db"))


def test_a_folder_in_the_files_place_is_an_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        opened(str(tmp_path))


def test_a_file_that_is_not_a_database_is_refused_and_left_alone(path: str) -> None:
    pathlib.Path(path).write_text("hello, this is not a database\n" * 100)
    with pytest.raises(StoreUnavailable, match="not a SQLite database"):
        opened(path)
    assert pathlib.Path(path).read_text().startswith("hello")


def test_another_programs_database_is_refused(path: str) -> None:
    edit(path, "CREATE TABLE recipes (name)")
    with pytest.raises(StoreError, match="another program"):
        opened(path)


def test_a_newer_layout_is_refused(path: str) -> None:
    opened(path)
    edit(path, f"PRAGMA user_version = {len(schema.MIGRATIONS) + 1}")
    with pytest.raises(StoreError, match="newer Frontier Gate"):
        opened(path)


def test_an_older_layout_is_brought_forward(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(store: Store) -> None:
        await append(store, DirectiveAdded(directive("a")))

    with_store(lambda: SqliteStore(path), story)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("CREATE TABLE cases (id TEXT PRIMARY KEY) STRICT",)))

    async def after(store: Store) -> None:
        assert await store.head() == 1

    with_store(lambda: SqliteStore(path), after)
    edit(path, "INSERT INTO cases VALUES ('c')")


def test_a_migration_that_fails_changes_nothing(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(path)
    broken = ("CREATE TABLE cases (id TEXT PRIMARY KEY) STRICT", "CREATE TABLE log (twice)")
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, broken))
        with pytest.raises(StoreUnavailable):
            opened(path)
    opened(path)
    edit(path, "CREATE TABLE cases (id)")


@pytest.mark.parametrize("table", ["directives", "grants", "keys"])
def test_a_row_edited_into_nonsense_is_named(path: str, table: str) -> None:
    async def fill(store: Store) -> None:
        await append(store, DirectiveAdded(directive("a")))
        await append(store, GrantIssued(grant("a")))
        await append(store, KeyCreated(key("a")))

    with_store(lambda: SqliteStore(path), fill)
    edit(path, f"UPDATE {table} SET body = CAST('{{}}' AS BLOB)")

    async def read(store: Store) -> None:
        with pytest.raises(StoreError, match=rf"{table.removesuffix('s')} a is unreadable"):
            await {"directives": store.state, "grants": store.grants, "keys": store.keys}[table]()

    with_store(lambda: SqliteStore(path), read)


def test_damage_while_running_is_reported_not_served(path: str) -> None:
    async def story(store: Store) -> None:
        await append(store, DirectiveAdded(directive("a")))

    with_store(lambda: SqliteStore(path), story)
    pathlib.Path(path).write_bytes(pathlib.Path(path).read_bytes()[:4096] + b"\xff" * 40960)
    with pytest.raises(StoreError, match="damaged"):
        with_store(lambda: SqliteStore(path), story)


def test_a_file_locked_for_too_long_is_unavailable_and_nothing_changes(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontiergate.store.sqlite._BUSY", 0.01)

    async def story(store: Store) -> None:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match="locked"):
                await append(store, DirectiveAdded(directive("a")))
            assert await store.head() == 0, "readers do not wait for a writer"
        await append(store, DirectiveAdded(directive("a")))

    with_store(lambda: SqliteStore(path), story)


def test_a_file_that_vanishes_is_unavailable_until_it_is_back(path: str) -> None:
    async def story(store: Store) -> None:
        await append(store, DirectiveAdded(directive("a")))
        assert await store.changed()
        os.rename(path, path + ".away")
        with pytest.raises(StoreUnavailable, match="No such file"):
            await store.changed()
        with pytest.raises(StoreUnavailable, match="No such file"):
            await append(store, DirectiveAdded(directive("b")))
        os.rename(path + ".away", path)
        await store.changed()
        assert await store.head() == 1

    with_store(lambda: SqliteStore(path), story)


def test_another_file_put_in_its_place_is_noticed_and_read(path: str, tmp_path: pathlib.Path) -> None:
    elsewhere = str(tmp_path / "other.db")
    opened(elsewhere)

    async def story(store: Store) -> None:
        await append(store, DirectiveAdded(directive("a")))
        before = await store.position()
        assert await store.changed()
        assert not await store.changed()
        os.rename(elsewhere, path)
        os.unlink(path + "-wal")
        os.unlink(path + "-shm")
        assert await store.changed()
        after = await store.position()
        assert after.epoch == 0
        assert after.lineage != before.lineage

    with_store(lambda: SqliteStore(path), story)


def test_a_value_that_cannot_be_stored_is_refused(path: str) -> None:
    async def story(store: Store) -> None:
        with pytest.raises(StoreError, match="cannot be stored"):
            await store.grants_of("https://idp.example|\ud800")
        with pytest.raises(StoreError, match="cannot be stored"):
            await store.entries(2**70)

    with_store(lambda: SqliteStore(path), story)


def test_a_change_is_noticed_at_the_next_question(path: str) -> None:
    async def story(store: Store) -> None:
        other = SqliteStore(path)
        await other.open()
        assert await store.changed()
        for writer, name in ((other, "a"), (store, "b")):
            assert not await store.changed()
            await append(writer, DirectiveAdded(directive(name)))
            assert await store.changed()
        assert not await store.changed()
        await other.close()

    with_store(lambda: SqliteStore(path), story)


def test_a_file_that_another_holds_exclusively_may_have_changed(path: str) -> None:
    opened(path)
    watch = Watch(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("DELETE FROM replicas")
        assert watch.moved()
        assert watch.moved()
    assert watch.moved()
    assert not watch.moved()
    watch.close()


def test_damage_is_not_taken_for_no_change(path: str) -> None:
    opened(path)
    pathlib.Path(path).write_text("hello, this is not a database\n" * 100)
    watch = Watch(path)
    with pytest.raises(StoreUnavailable, match="not a SQLite database"):
        watch.moved()
    watch.close()


def test_a_url_names_a_file(tmp_path: pathlib.Path) -> None:
    async def story(store: Store) -> None:
        await store.head()

    with_store(lambda: open_store(f"sqlite://{tmp_path}/absolute.db"), story)
    assert (tmp_path / "absolute.db").exists()


@pytest.mark.parametrize("url", ["ftp://localhost", "sqlite://", "sqlite:///", "state.db", "", "sqlite://relative.db", "sqlite:///a\0b"])
def test_another_url_is_refused_with_what_is_supported(url: str) -> None:
    with pytest.raises(StoreError, match=r"sqlite:///absolute/path\.db"):
        open_store(url)


def test_two_loops_one_after_the_other_can_use_one_file(path: str) -> None:
    for n in range(2):
        store = SqliteStore(path)

        async def story(store: SqliteStore = store, n: int = n) -> None:
            await store.open()
            assert (await append(store, GrantIssued(grant(f"g{n}")))).epoch == n + 1
            await store.close()

        asyncio.run(story())


def test_a_replica_that_has_been_silent_for_an_hour_is_forgotten(tmp_path: pathlib.Path) -> None:
    """Of a gate that died under another name nobody would sign off: whoever waits for all would wait for it for ever."""

    async def story(store: Store) -> None:
        for name, heartbeat in (("died", 1000.0), ("hangs", 1500.0), ("lives", 1000.0 + 3600.5)):
            await store.report(report(name, heartbeat=heartbeat))
        assert [found.name for found in await store.replicas()] == ["hangs", "lives"]

    with_store(lambda: SqliteStore(str(tmp_path / "state.db")), story)
