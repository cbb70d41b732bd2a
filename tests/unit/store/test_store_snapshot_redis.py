"""What is particular about an import into Redis: laid out beside, moved by one script, and nothing left behind."""

import asyncio
import itertools
import pathlib
from collections.abc import Iterator

import pytest
from snapshot_stories import HISTORY, Keys, fill, held, make, take_in, take_out
from store_contract import directive, grant

from frontiergate.errors import Conflict, OutcomeUnknown, StoreUnavailable
from frontiergate.store import snapshot_redis
from frontiergate.store.protocol import DirectiveAdded, GrantIssued, Position
from tests.fixtures.redis import Proxy, RedisServer, cluster, eventually, in_step

_numbers = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def prefix() -> str:
    return f"p{next(_numbers)}"


@pytest.fixture
def url(server: RedisServer, prefix: str) -> str:
    return f"{server.url}?prefix={prefix}"


@pytest.fixture
def keys(tmp_path: pathlib.Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture
def source(tmp_path: pathlib.Path) -> str:
    url = f"sqlite://{tmp_path}/source.db"
    fill(url)
    return url


@pytest.fixture
def file(tmp_path: pathlib.Path, source: str, keys: Keys) -> pathlib.Path:
    take_out(source, tmp_path / "snapshot", keys)
    return tmp_path / "snapshot"


def test_it_leaves_the_keys_that_appends_would_have_made(
    server: RedisServer, url: str, prefix: str, file: pathlib.Path, keys: Keys
) -> None:
    fill(f"{server.url}?prefix=appended")
    take_in(url, file, keys)
    made = {name.removeprefix(f"{{{prefix}}}:") for name in server.call("KEYS", f"{{{prefix}}}:*")}
    assert made == {name.removeprefix("{appended}:") for name in server.call("KEYS", "{appended}:*")}
    meta = server.call("HGETALL", f"{{{prefix}}}:meta")
    assert {name: meta[name] for name in ("layout", "epoch", "directives", "pauses")} == {
        name: server.call("HGET", "{appended}:meta", name) for name in ("layout", "epoch", "directives", "pauses")
    }
    ((_, last),) = server.call("XREVRANGE", f"{{{prefix}}}:log", "+", "-", "COUNT", 1)
    assert last["mark"] == meta["mark"] != ""


def test_many_keys_are_moved_in_parts(server: RedisServer, url: str, prefix: str, tmp_path: pathlib.Path, keys: Keys) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    make(old, keys, [GrantIssued(grant(f"old{number}", f"old|{number}")) for number in range(2300)])
    make(new, keys, [GrantIssued(grant(f"g{number}", f"i|{number}")) for number in range(3200)])
    take_in(url, old, keys)
    take_in(url, new, keys, Position("feedfacecafebeef", 2300))
    assert server.call("HLEN", f"{{{prefix}}}:grants") == server.call("XLEN", f"{{{prefix}}}:log") == 3200
    live = server.call("KEYS", f"{{{prefix}}}:live:*")
    assert len(live) == 3200
    assert not any("old" in name for name in live)


def test_a_killed_imports_keys_go_with_the_next_one(
    server: RedisServer, url: str, prefix: str, file: pathlib.Path, source: str, keys: Keys
) -> None:
    for name in ("grants", "live:old", "new"):
        server.call("HSET", f"{{{prefix}}}:import:{name}", "x", "y")
    take_in(url, file, keys)
    assert held(url) == held(source)
    assert not server.call("KEYS", f"{{{prefix}}}:import:*")


@pytest.mark.parametrize("name", ["meta", "log", "grants", "live:https://idp.example|alice", "new"])
def test_what_is_evicted_meanwhile_is_missed(
    server: RedisServer, url: str, prefix: str, file: pathlib.Path, keys: Keys, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(url, [DirectiveAdded(directive("before"))])
    before = held(url)
    move = snapshot_redis._Import._move

    async def robbed(self: snapshot_redis._Import, *arguments: object) -> None:
        assert server.call("DEL", f"{{{prefix}}}:import:{name}") == 1
        await move(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(snapshot_redis._Import, "_move", robbed)
    with pytest.raises(StoreUnavailable, match="what was just put there is gone"):
        take_in(url, file, keys, before.position)
    assert held(url) == before


def test_an_append_just_before_the_move_is_kept(
    server: RedisServer, url: str, file: pathlib.Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    move = snapshot_redis._Import._move

    async def late(self: snapshot_redis._Import, *arguments: object) -> None:
        await asyncio.to_thread(fill, url, [DirectiveAdded(directive("late"))])
        await move(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(snapshot_redis._Import, "_move", late)
    with pytest.raises(Conflict, match="changed in between"):
        take_in(url, file, keys)
    assert held(url).position.epoch == 1
    assert not server.call("KEYS", "*:import:*")


@pytest.mark.parametrize("command", ["rename", "unlink", "llen", "scan"])
def test_a_missing_permission_shows_before_anything_is_moved(
    server: RedisServer, url: str, prefix: str, file: pathlib.Path, keys: Keys, command: str
) -> None:
    fill(url, [DirectiveAdded(directive("before"))])
    before = held(url)
    server.call("ACL", "SETUSER", "mover", "reset", "on", "nopass", "~*", "&*", "+@all", f"-{command}")
    with pytest.raises(StoreUnavailable, match="lacks a permission"):
        take_in(f"redis://mover@127.0.0.1:{server.port}?prefix={prefix}", file, keys, before.position)
    assert held(url) == before


def test_a_cluster_is_filled_too(tmp_path: pathlib.Path, file: pathlib.Path, source: str, keys: Keys) -> None:
    with cluster(tmp_path / "cluster") as nodes:
        for number in range(4):  # their prefixes lie on different nodes
            url = f"redis+cluster://127.0.0.1:{nodes[0].port}?prefix=c{number}"
            take_in(url, file, keys)
            assert held(url) == held(source)


class TestCopies:
    @pytest.fixture
    def pair(self, tmp_path: pathlib.Path) -> Iterator[tuple[RedisServer, RedisServer]]:
        with RedisServer(tmp_path / "master") as master, RedisServer(tmp_path / "copy", replicaof=f"127.0.0.1 {master.port}") as copy:
            eventually(lambda: in_step(master) == 1)
            yield master, copy

    @pytest.fixture(params=["wait=1", "waitaof=1"])
    def how(self, request: pytest.FixtureRequest, server: RedisServer) -> str:
        version = server.call("INFO", "server")
        able = "valkey_version" in version or tuple(map(int, version["redis_version"].split(".")[:2])) >= (7, 2)
        if "aof" in request.param and not able:
            pytest.skip("this server has no WAITAOF")
        return str(request.param)

    def test_are_waited_for(self, pair: tuple[RedisServer, RedisServer], file: pathlib.Path, keys: Keys, source: str, how: str) -> None:
        master, copy = pair
        take_in(f"{master.url}?{how}", file, keys)
        assert copy.call("HGET", "{frontiergate}:meta", "epoch") == str(len(HISTORY))

    def test_are_missed(
        self, pair: tuple[RedisServer, RedisServer], file: pathlib.Path, keys: Keys, how: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        master, copy = pair
        move = snapshot_redis._Import._move

        async def alone(self: snapshot_redis._Import, *arguments: object) -> None:
            copy.pause()
            await move(self, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(snapshot_redis._Import, "_move", alone)
        monkeypatch.setattr(snapshot_redis, "_LEAST", 0.3)
        with pytest.raises(OutcomeUnknown, match="it is imported, but 0 of 1 replicas confirmed it: a failover could undo it"):
            take_in(f"{master.url}?{how}", file, keys)
        copy.resume()


class TestALostAnswer:
    def through(self, server: RedisServer, prefix: str, file: pathlib.Path, keys: Keys, at: bytes, cut: str) -> None:
        """Import through a proxy that fails when it sees `at`."""

        async def main() -> None:
            proxy = Proxy(server.port)

            def on_request(data: bytes) -> None:
                if at in data:
                    setattr(proxy, cut, True)

            proxy.on_request = on_request
            async with proxy.running() as address:
                await asyncio.to_thread(take_in, f"redis://{address}?prefix={prefix}&timeout=500ms", file, keys)

        asyncio.run(main())

    def test_of_the_move_is_said_to_be_unknown(
        self, server: RedisServer, url: str, prefix: str, file: pathlib.Path, keys: Keys, source: str
    ) -> None:
        with pytest.raises(OutcomeUnknown, match="Whether it was imported is not known: frontiergate store check says"):
            self.through(server, prefix, file, keys, b"return 'moved'", "cut_at_answer")
        assert held(url) == held(source)

    def test_before_it_changes_nothing(self, server: RedisServer, url: str, prefix: str, file: pathlib.Path, keys: Keys) -> None:
        with pytest.raises(StoreUnavailable, match="ended the connection"):
            self.through(server, prefix, file, keys, b"import:log", "cut_at_answer")
        assert held(url).position.epoch == 0
        with pytest.raises(StoreUnavailable, match="does not answer in time"):
            self.through(server, prefix, file, keys, b"import:log", "swallow")
        assert held(url).position.epoch == 0
