"""A store is read from end to end: whatever is not as its log says is named, and what changes meanwhile is not taken for that."""

import asyncio
import pathlib
import sqlite3
from collections.abc import Iterator

import pytest
from snapshot_stories import ALICE, HISTORY, Keys, fill, held, take_in, take_out
from store_contract import append, directive, grant, key, pause

from frontiergate.errors import StoreError
from frontiergate.store.ledger import scratch
from frontiergate.store.protocol import DirectiveAdded, DirectiveLifted, GrantChanged, GrantIssued, KeyCreated, ModelPaused, Store
from frontiergate.store.registry import open_store
from frontiergate.store.snapshot_export import existing
from frontiergate.store.survey import Survey, look_ups, survey, things
from tests.fixtures.redis import RedisServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def path(tmp_path: pathlib.Path) -> str:
    """A SQLite store with HISTORY."""
    fill(f"sqlite://{tmp_path}/state.db")
    return f"{tmp_path}/state.db"


@pytest.fixture
def url(server: RedisServer) -> str:
    """A Redis store with HISTORY."""
    server.call("FLUSHALL")
    fill(server.url)
    return server.url


def examined(url: str) -> Survey:
    async def main() -> Survey:
        async with existing(url, {}) as store:
            with scratch() as ledger:
                return await survey(store, ledger, things, look_ups)

    return asyncio.run(main())


def edit(path: str, *statements: str) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(";".join(("DROP TRIGGER log_is_not_edited", "DROP TRIGGER log_is_not_cut", *statements)))
    connection.close()


def test_a_whole_store_is_found_whole(path: str, url: str) -> None:
    for store in (f"sqlite://{path}", url):
        found = examined(store)
        assert found.differences == ()
        assert (found.holding.epoch, found.holding.lineage) == (len(HISTORY), held(store).position.lineage)
        assert (found.holding.directives, found.holding.pauses, found.holding.grants, found.holding.keys) == (1, 1, 3, 2)


@pytest.mark.parametrize(
    ("statement", "difference"),
    [
        ("DELETE FROM directives", "directive 'kept' is not held, but the log says so"),
        ("UPDATE directives SET actor = 'mallory'", "directive 'kept' is another than the log says"),
        ("DELETE FROM pauses", "pause 'm/two' is not held, but the log says so"),
        ("UPDATE pauses SET body = CAST(replace(CAST(body AS TEXT), 'olga', 'eve') AS BLOB)", "pause 'm/two' is another than the log says"),
        ("DELETE FROM grants WHERE id = 'g3'", "grant 'g3' is not held, but the log says so"),
        (
            "INSERT INTO grants SELECT 'g0', 'p', state, CAST(replace(CAST(body AS TEXT), 'g3', 'g0') AS BLOB) FROM grants WHERE id = 'g3'",
            "grant 'g0' is held, but the log does not say so",
        ),
        (
            "UPDATE grants SET principal = 'mallory' WHERE id = 'g3'",
            f"grant 'g3' is not found when '{ALICE}' calls, but the log says otherwise",
        ),
        ("UPDATE grants SET principal = 'key|k1' WHERE id = 'g3'", "grant 'g3' is found when 'key|k1' calls, but the log says otherwise"),
        ("DELETE FROM keys WHERE id = 'k1'", "key 'k1' is not held, but the log says so"),
        ("UPDATE keys SET sha256 = 'other' WHERE id = 'k1'", "key 'k1' is not found by its digest as the log says"),
        ("UPDATE log SET subject = 'directive/other' WHERE epoch = 1", "the history of directive 'kept' is not as the log says"),
    ],
)
def test_what_sqlite_holds_otherwise_is_named(path: str, statement: str, difference: str) -> None:
    edit(path, statement)
    assert difference in examined(f"sqlite://{path}").differences


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("DELETE FROM log WHERE epoch = 5", "the log has a gap: entry 6 comes after entry 4"),
        ("DELETE FROM log WHERE epoch < 3", "the log has a gap: entry 3 comes after entry 0"),
        (
            "UPDATE log SET change = (SELECT change FROM log WHERE epoch = 1) WHERE epoch = 2",
            "entry 2 of the log cannot follow those before it",
        ),
        ("UPDATE log SET change = x'7b7d' WHERE epoch = 2", "log entry 2 is unreadable"),
        ("UPDATE grants SET body = x'7b7d' WHERE id = 'g1'", "grant g1 is unreadable"),
    ],
)
def test_a_log_that_cannot_be_followed_is_told(path: str, statement: str, problem: str) -> None:
    edit(path, statement)
    with pytest.raises(StoreError, match=problem):
        examined(f"sqlite://{path}")


@pytest.mark.parametrize(
    ("command", "difference"),
    [
        (("HDEL", "{frontiergate}:grants", "g3"), None),
        (("ZREM", "{frontiergate}:grants:ids", "g3"), "grant 'g3' is not held, but the log says so"),
        (("SREM", f"{{frontiergate}}:live:{ALICE}", "g3"), f"grant 'g3' is not found when '{ALICE}' calls, but the log says otherwise"),
        (("SADD", "{frontiergate}:live:key|k1", "g2"), "grant 'g2' is found when 'key|k1' calls, but the log says otherwise"),
        (("HDEL", "{frontiergate}:keys", "sha256-of-k1"), "key 'k1' is not held, but the log says so"),
        (("RPUSH", "{frontiergate}:history:kept", "2"), "the history of directive 'kept' is not as the log says"),
        (("HDEL", "{frontiergate}:directives", "kept"), None),
    ],
)
def test_what_redis_holds_otherwise_is_named(server: RedisServer, url: str, command: tuple[str, ...], difference: str | None) -> None:
    assert server.call(*command) >= 1
    if difference is None:  # what is missing is not even answered
        with pytest.raises(StoreError):
            examined(url)
        return
    assert difference in examined(url).differences


def test_a_log_that_lost_its_end_is_told(server: RedisServer, url: str) -> None:
    server.call("XDEL", "{frontiergate}:log", f"{len(HISTORY)}-0")
    with pytest.raises(StoreError, match="the log ends with entry 13, but the store says that it goes up to 14"):
        examined(url)


def test_no_more_differences_than_people_read_are_collected(path: str) -> None:
    fill(f"sqlite://{path}", [GrantIssued(grant(f"n{number}")) for number in range(120)])
    edit(path, "DELETE FROM grants WHERE id GLOB 'n*'")
    assert len(examined(f"sqlite://{path}").differences) == 100


class Restless:
    """A store that others change between any two questions."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._number = 0

    def __getattr__(self, name: str) -> object:
        asked = getattr(self._store, name)

        async def answer(*arguments: object, **named: object) -> object:
            found = await asked(*arguments, **named)
            self._number += 1
            number = self._number
            if number < 20:
                await append(self._store, GrantIssued(grant(f"x{number}")))
                await append(self._store, GrantChanged(f"x{number}", "revoked", ALICE))
                await append(self._store, DirectiveAdded(directive(f"d{number}")))
                await append(self._store, DirectiveLifted(f"d{number}"))
                await append(self._store, ModelPaused(pause(f"m/{number}")))
                await append(self._store, KeyCreated(key(f"x{number}")))
            return found

        return answer


def test_what_changes_meanwhile_is_followed_and_not_taken_for_a_fault(path: str, url: str) -> None:
    async def main(at: str) -> None:
        async with existing(at, {}) as store:
            with scratch() as ledger:
                found = await survey(Restless(store), ledger, things, look_ups)  # type: ignore[arg-type]
            assert found.differences == ()
            assert found.holding.epoch > len(HISTORY) + 20

    for at in (f"sqlite://{path}", url):
        asyncio.run(main(at))


def test_another_log_put_there_meanwhile_is_noticed(path: str, tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        async with existing(f"sqlite://{path}", {}) as store:
            state = store.state

            async def replaced() -> object:
                found = await state()
                edit(path, "UPDATE meta SET value = 'another' WHERE key = 'lineage'")
                return found

            store.state = replaced  # type: ignore[method-assign, assignment]
            with scratch() as ledger, pytest.raises(StoreError, match="another log was put into the store while it was read"):
                await survey(store, ledger, things, look_ups)

    asyncio.run(main())


def test_looking_at_a_store_does_not_make_one(tmp_path: pathlib.Path, server: RedisServer) -> None:
    server.call("FLUSHALL")
    with pytest.raises(StoreError, match="there is no such file; name the right one in `store`"):
        examined(f"sqlite://{tmp_path}/none.db")
    with pytest.raises(StoreError, match="there is no policy log in the store"):
        examined(server.url)
    assert not (tmp_path / "none.db").exists()
    assert server.call("DBSIZE") == 0


class TestAnExport:
    def test_is_refused_where_the_store_is_not_what_its_log_says(self, path: str, tmp_path: pathlib.Path) -> None:
        edit(path, "DELETE FROM grants WHERE id = 'g3'")
        with pytest.raises(StoreError, match=r"grant 'g3' is not held, but the log says so.*--from-log exports what the log says"):
            take_out(f"sqlite://{path}", tmp_path / "file", Keys(tmp_path))
        assert not (tmp_path / "file").exists()

    def test_from_the_log_makes_it_whole_again(self, path: str, tmp_path: pathlib.Path) -> None:
        before = held(f"sqlite://{path}")
        edit(path, "DELETE FROM grants", "UPDATE directives SET body = x'7b7d'")
        keys = Keys(tmp_path)
        take_out(f"sqlite://{path}", tmp_path / "file", keys, from_log=True)
        take_in(f"sqlite://{path}", tmp_path / "file", keys, before.position)
        assert held(f"sqlite://{path}") == before


def test_a_store_of_a_wrong_url_is_told() -> None:
    with pytest.raises(StoreError, match="store: "):
        open_store("sqlite:")
