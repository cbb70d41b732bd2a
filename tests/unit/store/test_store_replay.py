"""A state moved on by the log is the state that the store gives, whatever happened (DESIGN 6)."""

import asyncio
import pathlib
import tempfile

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from store_contract import append, directive, grant, key, pause

from frontiergate.errors import StoreError
from frontiergate.store.protocol import (
    Change,
    DirectiveAdded,
    DirectiveLifted,
    Entry,
    GrantIssued,
    KeyCreated,
    ModelPaused,
    ModelResumed,
    PolicyState,
)
from frontiergate.store.replay import replayed
from frontiergate.store.sqlite import SqliteStore

IDS = ("a", "B", "b-1", "b.1", "c")
MODELS = ("m/one", "m/zwei", "m/Ärger", "m/\U0001f600")
changes: st.SearchStrategy[Change] = st.one_of(
    st.sampled_from(IDS).map(lambda name: DirectiveAdded(directive(name))),
    st.sampled_from(IDS).map(DirectiveLifted),
    st.sampled_from(MODELS).map(lambda model: ModelPaused(pause(model))),
    st.sampled_from(MODELS).map(ModelResumed),
    st.integers(0, 9).map(lambda number: GrantIssued(grant(f"g{number}"))),
    st.integers(0, 9).map(lambda number: KeyCreated(key(f"k{number}"))),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(changes, min_size=1, max_size=6), min_size=1, max_size=8))
def test_a_state_moved_on_is_the_state_read_whole(batches: list[list[Change]]) -> None:
    async def story() -> None:
        with tempfile.TemporaryDirectory() as folder:
            store = SqliteStore(str(pathlib.Path(folder) / "state.db"))
            await store.open()
            try:
                state = await store.state()
                for batch in batches:
                    for change in batch:
                        try:
                            await append(store, change)
                        except StoreError:
                            continue
                    state = replayed(state, await store.entries(state.epoch))
                    assert state == await store.state()
            finally:
                await store.close()

    asyncio.run(story())


@pytest.mark.parametrize(
    "change", [DirectiveAdded(directive("a")), DirectiveLifted("b"), ModelPaused(pause("m/one")), ModelResumed("m/two")]
)
def test_what_cannot_have_happened_is_not_believed(change: Change) -> None:
    def entry(epoch: int, change: Change) -> Entry:
        return Entry(epoch=epoch, at=1.0, actor="olga", reason="because", change=change)

    state = replayed(PolicyState(0, (), ()), [entry(1, DirectiveAdded(directive("a"))), entry(2, ModelPaused(pause("m/one")))])
    with pytest.raises(StoreError):
        replayed(state, [entry(3, change)])
    with pytest.raises(StoreError, match="cannot follow"):
        replayed(state, [entry(2, ModelPaused(pause("m/two")))])
