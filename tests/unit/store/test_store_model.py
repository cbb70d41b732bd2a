"""A store against the simplest thing that could be right, over generated histories."""

import asyncio
import pathlib
import tempfile
from collections.abc import Iterator

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from store_contract import directive, grant, key, pause

from frontiergate.domain.vetting import TRANSITIONS, GrantState
from frontiergate.errors import Conflict, NotFound, StoreError
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
    Store,
)
from frontiergate.store.registry import open_store
from frontiergate.store.sqlite import SqliteStore
from tests.fixtures.redis import RedisServer

_IDS = st.sampled_from(["a", "b", "c"])
_PRINCIPALS = st.sampled_from(["p", "q"])


class StoreModel(RuleBasedStateMachine):
    """Dictionaries and one list. Every rule says what must come of it before it asks the store."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.log: list[Entry] = []
        self.directives: dict[str, int] = {}
        self.pauses: set[str] = set()
        self.grants: dict[str, tuple[str, GrantState]] = {}
        self.keys: dict[str, bool] = {}

    def new_store(self) -> Store:
        return SqliteStore(str(pathlib.Path(self.folder.name) / "state.db"))

    @initialize()
    def connect(self) -> None:
        self.store = self.new_store()
        self.runner.run(self.store.open())

    def attempt(self, change: Change, expected: type[StoreError] | None, expect: int | None = None) -> bool:
        """Whether it was appended, which must be exactly when `expected` is None."""
        head = len(self.log)
        appending = self.store.append(change, actor="x", reason="y", expect=expect)
        if expected is not None:
            with pytest.raises(expected):
                self.runner.run(appending)
            return False
        entry = self.runner.run(appending)
        assert entry.epoch == head + 1
        self.log.append(entry)
        return True

    @rule(id=_IDS, seen=st.none() | st.integers(0, 12))
    def add_directive(self, id: str, seen: int | None) -> None:
        conflict = id in self.directives or seen not in (None, len(self.log))
        if self.attempt(DirectiveAdded(directive(id)), Conflict if conflict else None, seen):
            self.directives[id] = len(self.log)

    @rule(id=_IDS, seen=st.none() | st.integers(0, 12))
    def lift_directive(self, id: str, seen: int | None) -> None:
        expected: type[StoreError] | None = None
        if id not in self.directives:
            expected = NotFound
        elif seen not in (None, len(self.log), self.directives[id]):
            expected = Conflict
        if self.attempt(DirectiveLifted(id), expected, seen):
            del self.directives[id]

    @rule(model=_IDS)
    def pause_model(self, model: str) -> None:
        if self.attempt(ModelPaused(pause(model)), Conflict if model in self.pauses else None):
            self.pauses.add(model)

    @rule(model=_IDS)
    def resume_model(self, model: str) -> None:
        if self.attempt(ModelResumed(model), None if model in self.pauses else NotFound):
            self.pauses.remove(model)

    @rule(id=_IDS, principal=_PRINCIPALS)
    def issue_grant(self, id: str, principal: str) -> None:
        if self.attempt(GrantIssued(grant(id, principal)), Conflict if id in self.grants else None):
            self.grants[id] = (principal, GrantState.ACTIVE)

    @rule(id=_IDS, principal=_PRINCIPALS, to=st.sampled_from(GrantState))
    def change_grant(self, id: str, principal: str, to: GrantState) -> None:
        expected: type[StoreError] | None = None
        if id not in self.grants:
            expected = NotFound
        elif self.grants[id][0] != principal or to not in TRANSITIONS[self.grants[id][1]]:
            expected = Conflict
        if self.attempt(GrantChanged(id, to.value, principal), expected):
            self.grants[id] = (principal, to)

    @rule(id=_IDS)
    def create_key(self, id: str) -> None:
        if self.attempt(KeyCreated(key(id)), Conflict if id in self.keys else None):
            self.keys[id] = False

    @rule(id=_IDS)
    def revoke_key(self, id: str) -> None:
        expected = NotFound if id not in self.keys else Conflict if self.keys[id] else None
        if self.attempt(KeyRevoked(id), expected):
            self.keys[id] = True

    @rule()
    def open_again(self) -> None:
        self.runner.run(self.store.close())
        self.connect()

    @invariant()
    def the_store_holds_what_the_model_holds(self) -> None:
        async def look() -> None:
            assert list(await self.store.entries(0)) == self.log
            state = await self.store.state()
            assert state.epoch == len(self.log)
            assert {stored.directive.id: stored.epoch for stored in state.directives} == self.directives
            assert {p.model for p in state.pauses} == self.pauses
            assert {g.id: (g.principal, g.state) for g in await self.store.grants()} == self.grants
            for principal in ("p", "q"):
                usable = (GrantState.ACTIVE, GrantState.SUSPENDED)
                live = {name for name, (owner, now) in self.grants.items() if owner == principal and now in usable}
                assert {g.id for g in await self.store.grants_of(principal)} == live
            assert {k.id: k.revoked_at is not None for k in await self.store.keys()} == self.keys

        self.runner.run(look())

    def teardown(self) -> None:
        self.runner.run(self.store.close())
        self.runner.close()
        self.folder.cleanup()


class RedisModel(StoreModel):
    """The same on Redis; each history under a prefix of its own."""

    url = ""  # of the server, once it runs

    def new_store(self) -> Store:
        return open_store(f"{self.url}?prefix={pathlib.Path(self.folder.name).name}")


TestStoreModel = StoreModel.TestCase
TestStoreModel.settings = settings(max_examples=25, stateful_step_count=25, deadline=None, database=None)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        RedisModel.url = server.url
        yield


@pytest.mark.usefixtures("server")
class TestRedisModel(RedisModel.TestCase):
    settings = TestStoreModel.settings
