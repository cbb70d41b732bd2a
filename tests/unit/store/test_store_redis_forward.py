"""Layouts in Redis: an older one is brought forward whoever dies on the way, a newer one or another program's is left alone.

The layouts from 2 on are artificial: they give grants an index by programme, as a later version might.
"""

import asyncio
import itertools
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from snapshot_stories import HISTORY, held
from store_contract import append, grant, with_store

from frontiergate.errors import StoreUnavailable
from frontiergate.store import redis_forward, redis_layout
from frontiergate.store.protocol import GrantIssued, Store
from frontiergate.store.redis_forward import Step
from frontiergate.store.redis_layout import Keys
from frontiergate.store.redis_link import Link
from frontiergate.store.registry import open_store
from tests.fixtures.redis import RedisServer

_numbers = itertools.count()
_PAGE = 2


def index_of(keys: Keys) -> str:
    return keys.grants + ":programme"


async def by_programme(link: Link, keys: Keys, at: str) -> Step:
    """From layout 1 to 2, two grants a step."""
    (names,) = await link.ask(("ZRANGEBYLEX", keys.grant_ids, f"({at}" if at else "-", "+", "LIMIT", 0, _PAGE))
    some = [name.decode() for name in names]
    return Step([["SADD", index_of(keys), name] for name in some], some[-1] if len(some) == _PAGE else None)


async def without_index(link: Link, keys: Keys, at: str) -> Step:
    """From layout 2 to 3, at once."""
    return Step([["DEL", index_of(keys)], ["HSET", keys.meta, "note", "layout 3"]], None)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def prefix() -> str:
    return f"p{next(_numbers)}"


@pytest.fixture
def url(server: RedisServer, prefix: str) -> str:
    """A store of layout 1, with something of everything in it."""
    url = f"{server.url}?prefix={prefix}"

    async def story(store: Store) -> None:
        for change in HISTORY:
            await append(store, change)

    with_store(lambda: open_store(url), story)
    return url


def knows(patch: pytest.MonkeyPatch, *migrations: redis_forward.Migration) -> None:
    """From here on, this is a version that has these migrations."""
    patch.setattr(redis_forward, "MIGRATIONS", migrations)
    patch.setattr(redis_layout, "LAYOUT", len(migrations) + 1)


def opened(url: str) -> None:
    async def nothing(_: Store) -> None: ...

    with_store(lambda: open_store(url), nothing)


def meta(server: RedisServer, prefix: str) -> dict[str, str]:
    return server.call("HGETALL", f"{{{prefix}}}:meta")


def indexed(server: RedisServer, prefix: str) -> set[str]:
    return server.call("SMEMBERS", f"{{{prefix}}}:grants:programme")


def test_an_older_layout_is_brought_forward_and_nothing_is_lost(
    server: RedisServer, url: str, prefix: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = held(url)
    knows(monkeypatch, by_programme)
    opened(url)
    assert (meta(server, prefix)["layout"], meta(server, prefix)["at"]) == ("2", "")
    assert indexed(server, prefix) == {"g1", "g2", "g3"}
    assert "layout 1 is brought forward; gates that do not know layout 2 refuse it" in caplog.text
    assert held(url) == before
    with_store(lambda: open_store(url), lambda store: append(store, GrantIssued(grant("g4"))))


def test_all_steps_that_came_later_are_taken(server: RedisServer, url: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = held(url)
    knows(monkeypatch, by_programme, without_index)
    opened(url)
    assert (meta(server, prefix)["layout"], meta(server, prefix)["note"]) == ("3", "layout 3")
    assert indexed(server, prefix) == set()
    assert held(url) == before


def test_a_version_before_the_last_step_refuses_and_leaves_it_alone(
    server: RedisServer, url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as newer:
        knows(newer, by_programme)
        opened(url)
    before = {name: server.call("DUMP", name, encoding="latin-1") for name in server.call("KEYS", f"{{{prefix}}}:*")}
    with pytest.raises(
        StoreUnavailable, match=r"written by a newer Frontier Gate \(layout 2; this one knows 1\): upgrade, or restore the backup"
    ):
        opened(url)
    assert {name: server.call("DUMP", name, encoding="latin-1") for name in server.call("KEYS", f"{{{prefix}}}:*")} == before


def test_nobody_reads_or_appends_while_it_is_on_its_way(
    server: RedisServer, url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the version before, which would not keep what the new layout demands, nor the new one, which would miss some of it."""

    async def refuses(store: Store, why: str) -> None:
        for question in (
            store.position,
            store.state,
            lambda: store.grants_of("i|alice"),
            lambda: store.key("5ha"),
            lambda: append(store, GrantIssued(grant("g9"))),
        ):
            with pytest.raises(StoreUnavailable, match=why):
                await question()

    async def main() -> None:
        old, new = open_store(url), open_store(url)
        await old.open()
        server.call("HSET", f"{{{prefix}}}:meta", "layout", "1>2", "at", "")
        await refuses(old, r"newer Frontier Gate \(layout 2; this one knows 1\)")
        knows(monkeypatch, by_programme)
        await refuses(new, "has the layout of an older Frontier Gate .1>2; this one's is 2.")
        await old.close()
        await new.close()

    asyncio.run(main())
    opened(url)
    assert indexed(server, prefix) == {"g1", "g2", "g3"}


_DIES = """
import asyncio, os, signal, sys
from frontiergate.store import redis_forward, redis_layout
from frontiergate.store.registry import open_store
from tests.unit.store import test_store_redis_forward as forward

async def dies(link, keys, at):
    if at == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
    return await forward.by_programme(link, keys, at)

redis_forward.MIGRATIONS, redis_layout.LAYOUT = (dies,), 2
asyncio.run(open_store(sys.argv[1]).open())
"""


@pytest.mark.parametrize(("dies_at", "done"), [("", set()), ("g2", {"g1", "g2"})])
def test_whoever_dies_on_the_way_is_followed_by_the_next(
    server: RedisServer, url: str, prefix: str, monkeypatch: pytest.MonkeyPatch, dies_at: str, done: set[str]
) -> None:
    before = held(url)
    paths = os.pathsep.join(filter(None, [os.getcwd(), str(pathlib.Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    died = subprocess.run([sys.executable, "-c", _DIES, url, dies_at], env={**os.environ, "PYTHONPATH": paths}, timeout=60, check=False)
    assert died.returncode == -signal.SIGKILL
    assert (meta(server, prefix)["layout"], meta(server, prefix)["at"]) == ("1>2", dies_at)
    assert indexed(server, prefix) == done
    knows(monkeypatch, by_programme)
    opened(url)
    assert meta(server, prefix)["layout"] == "2"
    assert indexed(server, prefix) == {"g1", "g2", "g3"}
    assert held(url) == before


def test_a_server_that_dies_on_the_way_has_each_step_whole_or_not_at_all(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RedisServer(tmp_path) as server:
        url = f"{server.url}?prefix=p"

        async def story(store: Store) -> None:
            for number in range(5):
                await append(store, GrantIssued(grant(f"g{number}")))

        with_store(lambda: open_store(url), story)

        async def kills(link: Link, keys: Keys, at: str) -> Step:
            if at == "g1":
                server.kill()
            return await by_programme(link, keys, at)

        knows(monkeypatch, kills)
        with pytest.raises(StoreUnavailable, match=r"cannot be reached|ended the connection"):
            opened(url)
        server.start()
        assert (meta(server, "p")["at"], indexed(server, "p")) == ("g1", {"g0", "g1"})
        knows(monkeypatch, by_programme)
        opened(url)
        assert (meta(server, "p")["layout"], indexed(server, "p")) == ("2", {f"g{number}" for number in range(5)})


def test_many_bring_it_forward_together_each_step_once(server: RedisServer, url: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []

    async def counted(link: Link, keys: Keys, at: str) -> Step:
        step = await by_programme(link, keys, at)
        steps.append(at)
        return Step([*step.commands, ["RPUSH", keys.meta + ":steps", at]], step.then)

    async def main() -> None:
        stores = [open_store(url) for _ in range(8)]
        await asyncio.gather(*(store.open() for store in stores))
        for store in stores:
            await store.close()

    knows(monkeypatch, counted)
    asyncio.run(main())
    assert len(steps) > 2, "they did get in each other's way"
    assert server.call("LRANGE", f"{{{prefix}}}:meta:steps", 0, -1) == ["", "g2"]
    assert meta(server, prefix)["layout"] == "2"


def test_an_older_backup_that_is_put_back_under_a_running_gate_is_brought_forward(
    server: RedisServer, url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gate that follows the store; a command that only looks at it does not touch it."""

    async def main() -> None:
        gate, command = open_store(url), open_store(url)
        await gate.open()
        server.call("HSET", f"{{{prefix}}}:meta", "layout", "1")
        with pytest.raises(StoreUnavailable, match="a gate of this version brings it forward when it starts"):
            await command.position()
        assert (await gate.position()).epoch == len(HISTORY)
        assert meta(server, prefix)["layout"] == "2"
        await gate.close()
        await command.close()

    knows(monkeypatch, by_programme)
    asyncio.run(main())


@pytest.mark.parametrize(
    "foreign",
    [
        ("SET", "{%s}:meta", "a string"),
        ("HSET", "{%s}:meta", "name", "a hash of theirs"),
        ("HSET", "{%s}:meta", "layout", "wide"),
        ("HSET", "{%s}:meta", "layout", "1", "lineage", "x", "epoch", "many", "mark", ""),
        ("HSET", "{%s}:meta", "layout", "0"),
    ],
)
def test_another_programs_keys_are_left_alone(server: RedisServer, prefix: str, foreign: tuple[str, ...]) -> None:
    key = foreign[1] % prefix
    server.call(foreign[0], key, *foreign[2:])
    before = server.call("DUMP", key, encoding="latin-1")
    with pytest.raises(StoreUnavailable, match=r"another program.* choose another"):
        opened(f"{server.url}?prefix={prefix}")
    assert server.call("KEYS", f"{{{prefix}}}:*") == [key]
    assert server.call("DUMP", key, encoding="latin-1") == before
