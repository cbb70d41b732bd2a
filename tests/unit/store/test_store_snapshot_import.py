"""From SQLite to Redis and back: the same log, all of it or nothing, under no gate's feet."""

import asyncio
import itertools
import logging
import pathlib
import tempfile
from collections.abc import Iterator

import hypothesis.strategies as st
import pytest
from feed_bench import Bench
from hypothesis import given, settings
from snapshot_stories import ALICE, HISTORY, Keys, fill, held, take_in, take_out
from store_contract import directive, grant, key, pause, report

from frontiergate.domain.vetting import GrantState
from frontiergate.errors import Conflict, StoreError
from frontiergate.store import snapshot_import, survey
from frontiergate.store.protocol import (
    Change,
    DirectiveAdded,
    DirectiveLifted,
    GrantChanged,
    GrantIssued,
    KeyCreated,
    KeyRevoked,
    ModelPaused,
    ModelResumed,
    Pause,
    Position,
)
from frontiergate.store.registry import open_store
from tests.fixtures.redis import RedisServer

_numbers = itertools.count()
OTHER: tuple[Change, ...] = (DirectiveAdded(directive("other")), GrantIssued(grant("g9", "https://idp.example|zoe")), KeyCreated(key("k9")))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def keys(tmp_path: pathlib.Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture
def source(tmp_path: pathlib.Path) -> str:
    """A store with HISTORY."""
    url = f"sqlite://{tmp_path}/source.db"
    fill(url)
    return url


@pytest.fixture
def file(tmp_path: pathlib.Path, source: str, keys: Keys) -> pathlib.Path:
    take_out(source, tmp_path / "snapshot", keys)
    return tmp_path / "snapshot"


@pytest.fixture(params=["sqlite", "redis"])
def target(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> str:
    """A store that is not there yet."""
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/target.db"
    return f"{request.getfixturevalue('server').url}?prefix=t{next(_numbers)}"


def names(server: RedisServer, prefix: str) -> list[str]:
    return sorted(server.call("KEYS", f"{{{prefix}}}:*"))


class TestAnImport:
    def test_makes_the_target_hold_what_the_source_holds(self, source: str, file: pathlib.Path, target: str, keys: Keys) -> None:
        take_in(target, file, keys)
        assert held(target) == held(source)

    def test_goes_on_where_the_log_stood(self, source: str, file: pathlib.Path, target: str, keys: Keys) -> None:
        take_in(target, file, keys)
        more = (GrantChanged("g1", "active", ALICE), DirectiveLifted("kept"), GrantIssued(grant("g4")))
        fill(target, more)
        fill(source, more)
        position = held(target).position
        assert position == Position(held(source).position.lineage, len(HISTORY) + 3)

    def test_is_refused_where_there_is_a_log(self, file: pathlib.Path, target: str, keys: Keys) -> None:
        fill(target, OTHER)
        before = held(target)
        lineage = before.position.lineage
        for replace in (None, Position(lineage, 2), Position("0" * 16, 3)):
            with pytest.raises(Conflict, match=rf"holds a log already: {lineage}, up to epoch 3\..* --replace {lineage}@3"):
                take_in(target, file, keys, replace)
        assert held(target) == before

    def test_replaces_a_log_that_is_named(self, source: str, file: pathlib.Path, target: str, keys: Keys) -> None:
        fill(target, OTHER)
        before = held(target).position
        assert take_in(target, file, keys, before) == before
        assert held(target) == held(source)

    def test_leaves_a_log_alone_if_it_fails_on_the_way(
        self, file: pathlib.Path, target: str, keys: Keys, monkeypatch: pytest.MonkeyPatch, server: RedisServer
    ) -> None:
        fill(target, OTHER)
        before = held(target)
        changed = file.read_bytes()
        from frontiergate.store import snapshot

        monkeypatch.setattr(snapshot, "digest_of", lambda file, end: b"what was signed")
        monkeypatch.setattr(snapshot.VerifyingKey, "signed", lambda *_: True)
        with pytest.raises(StoreError, match="was changed while it was read"):
            take_in(target, file, keys, before.position)
        assert file.read_bytes() == changed
        assert held(target) == before
        assert not server.call("KEYS", "*:import:*")

    def test_waits_for_no_gate_that_left_or_died(
        self, source: str, file: pathlib.Path, target: str, keys: Keys, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def earlier() -> None:
            store = open_store(target)
            await store.open()
            await store.report(report("died"))
            await store.close()

        asyncio.run(earlier())
        monkeypatch.setattr(survey, "_PATIENCE", 0.2)
        take_in(target, file, keys)
        assert held(target) == held(source)

    def test_is_refused_under_a_gates_feet(self, file: pathlib.Path, target: str, keys: Keys) -> None:
        """It is told from a dead one by what it does, not by clocks."""

        async def main() -> None:
            store = open_store(target)
            await store.open()

            async def living() -> None:
                for beat in itertools.count():
                    await store.report(report("host/0", heartbeat=float(beat)))
                    await asyncio.sleep(0.05)

            await store.report(report("died"))
            gate = asyncio.create_task(living())
            try:
                with pytest.raises(Conflict, match=r"a gate is using the store \(host/0\): stop every gate on it"):
                    await asyncio.to_thread(take_in, target, file, keys)
            finally:
                gate.cancel()
                await asyncio.gather(gate, return_exceptions=True)
            assert await store.head() == 0
            await store.close()

        asyncio.run(main())

    def test_notices_what_is_changed_between_its_look_and_its_deed(
        self, file: pathlib.Path, target: str, keys: Keys, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill(target, ())

        async def slow(store: object) -> list[str]:
            await asyncio.to_thread(fill, target, OTHER)
            return []

        monkeypatch.setattr(snapshot_import, "users", slow)
        with pytest.raises(Conflict, match="changed in between"):
            take_in(target, file, keys)
        assert held(target).position.epoch == 3


class TestAReplica:
    """One that enforced epoch n goes on at n: nothing is refused, and nothing is said to be lost."""

    @pytest.fixture
    def bench(self, tmp_path: pathlib.Path, source: str) -> Bench:
        bench = Bench(tmp_path, saved=True)
        bench.skew = float("inf")  # its clock stands still
        bench.path = source.removeprefix("sqlite://")
        bench.open()
        return bench

    def at(self, bench: Bench, url: str) -> None:
        """Configure it for another store, and restart it."""
        bench.open(open_store(url))

    async def run(self, bench: Bench, epoch: int, *, refused: bool = False) -> None:
        await bench.feed.start()
        await bench.feed.poll()
        assert (bench.feed.epoch, bench.feed.stale(bench.ticks)) == (epoch, refused)
        await bench.feed.stop()
        await bench.store.close()

    def test_goes_on_in_redis_and_back(
        self, bench: Bench, file: pathlib.Path, keys: Keys, server: RedisServer, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "frontiergate.store.feed")
        shared = f"{server.url}?prefix=shared"
        asyncio.run(self.run(bench, len(HISTORY)))
        take_in(shared, file, keys)
        self.at(bench, shared)
        asyncio.run(self.run(bench, len(HISTORY)))
        fill(shared, [ModelPaused(pause("m/three"))])
        self.at(bench, shared)
        asyncio.run(self.run(bench, len(HISTORY) + 1))
        back = f"sqlite://{tmp_path}/back.db"
        take_out(shared, tmp_path / "second", keys)
        take_in(back, tmp_path / "second", keys)
        self.at(bench, back)
        asyncio.run(self.run(bench, len(HISTORY) + 1))
        assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []

    def test_notices_a_snapshot_older_than_what_it_enforced(
        self, bench: Bench, source: str, file: pathlib.Path, keys: Keys, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        fill(source, [ModelPaused(pause("m/three"))])
        asyncio.run(self.run(bench, len(HISTORY) + 1))
        older = f"sqlite://{tmp_path}/older.db"
        take_in(older, file, keys)
        self.at(bench, older)
        asyncio.run(self.run(bench, len(HISTORY) + 1, refused=True))
        assert "the store went back: epoch 15 of log" in caplog.text
        assert "the store holds epoch 14 of log" in caplog.text


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
_ID = st.sampled_from(["a", "b", "ä", "\U0001f600", "z"])
_PRINCIPAL = st.sampled_from([ALICE, "key|k", "https://idp.example|{x}", "ü|\uffff"])
_CHANGES = st.one_of(
    st.builds(lambda name: DirectiveAdded(directive(name)), st.sampled_from("abc")),
    st.builds(DirectiveLifted, st.sampled_from("abc")),
    st.builds(lambda model, reason: ModelPaused(Pause(model=model, reason=reason, by="olga", since=5.5)), _ID, _TEXT),
    st.builds(ModelResumed, _ID),
    st.builds(lambda name, who, why: GrantIssued(grant(name, who, reason=why)), _ID, _PRINCIPAL, _TEXT | st.none()),
    st.builds(lambda name, to, who: GrantChanged(name, to.value, who), _ID, st.sampled_from(GrantState), _PRINCIPAL),
    st.builds(lambda name: KeyCreated(key(name)), _ID),
    st.builds(KeyRevoked, _ID),
)


class TestAnyHistory:
    @settings(max_examples=25, deadline=None, database=None)
    @given(changes=st.lists(_CHANGES, max_size=30))
    def test_comes_back_to_the_byte(self, server: RedisServer, changes: list[Change]) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            keys = Keys(folder)
            stores = [f"sqlite://{name}/1.db", f"{server.url}?prefix=h{next(_numbers)}", f"sqlite://{name}/2.db"]
            fill(stores[0], changes)
            files = [folder / "1", folder / "2", folder / "3"]
            take_out(stores[0], files[0], keys)
            for number in (1, 2):
                take_in(stores[number], files[number - 1], keys)
                take_out(stores[number], files[number], keys)
            assert files[0].read_bytes() == files[1].read_bytes() == files[2].read_bytes()
            assert held(stores[0]) == held(stores[1]) == held(stores[2])
