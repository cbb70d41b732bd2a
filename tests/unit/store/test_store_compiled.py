"""Each policy is made from the one before, in slices."""

import asyncio
import itertools

import hypothesis.strategies as st
import pytest
from hypothesis import given
from store_contract import directive, pause

from frontiergate.domain.catalogue import Catalogue, Model
from frontiergate.domain.directive import Directive
from frontiergate.domain.groups import resolve_groups
from frontiergate.domain.policy import in_force
from frontiergate.slices import Slices
from frontiergate.store.compiled import Compiler, _differences, compile_state
from frontiergate.store.protocol import PolicyState, StoredDirective

MODEL = Model(id="anthropic/claude-frontier-5", dialects=("anthropic",), upstream="a")
OTHER = Model(id="openai/gpt", dialects=("openai",), upstream="o", tags=("cyber",))
CATALOGUE = Catalogue([MODEL, OTHER])
GROUPS = resolve_groups({"mine": ["US"]})


def stored(*ids: str) -> tuple[StoredDirective, ...]:
    return tuple(StoredDirective(directive(name), number, "olga", 1.0) for number, name in enumerate(ids))


def ticking() -> Slices:
    """Each look at the clock is one tick later, and a slice is ten ticks long."""
    ticks = itertools.count()
    return Slices(10, lambda: next(ticks))


def ids(policy: object) -> list[str]:
    return [found.id for found in in_force(policy, MODEL.id, 0.0)]  # type: ignore[arg-type]


def test_what_did_not_change_is_not_compiled_again() -> None:
    async def story() -> None:
        compiler, configured, directives = Compiler(), (directive("file"),), stored("a", "b", "c")
        first = await compiler.compile(CATALOGUE, configured, GROUPS, PolicyState(1, directives, ()))
        granted = await compiler.compile(CATALOGUE, configured, GROUPS, PolicyState(2, directives, ()))
        assert (granted.epoch, granted.program) == (2, first.program)
        changed = (*directives[1:], *stored("d"))
        next_one = await compiler.compile(CATALOGUE, configured, GROUPS, PolicyState(3, changed, (pause(MODEL.id),)))
        assert ids(next_one) == ["b", "c", "d", "file"]
        assert next_one.paused == {MODEL.id}
        kept = {id(compiled) for compiled in first.compiled} & {id(compiled) for compiled in next_one.compiled}
        assert len(kept) == 3
        assert ids(first) == ["a", "b", "c", "file"], "a policy stays as it was made"

    asyncio.run(story())


def test_another_catalogue_or_other_groups_are_compiled_anew() -> None:
    async def story() -> None:
        compiler, mine = Compiler(), Directive(**{**fields(directive("x")), "withdraw": True})
        state = PolicyState(1, (StoredDirective(mine, 1, "olga", 1.0),), ())
        first = await compiler.compile(CATALOGUE, (), GROUPS, state)
        for catalogue, groups in ((Catalogue([MODEL]), GROUPS), (Catalogue([MODEL]), resolve_groups({"mine": ["GB"]}))):
            policy = await compiler.compile(catalogue, (), groups, state)
            assert not {id(compiled) for compiled in first.compiled} & {id(compiled) for compiled in policy.compiled}
            assert ids(policy) == ["x"]
            again = await compiler.compile(Catalogue(catalogue.models.values()), (), dict(groups), state)
            assert again.program is policy.program, "equal ones are the same"

    asyncio.run(story())


def fields(found: Directive) -> dict[str, object]:
    return {name: getattr(found, name) for name in found.__struct_fields__}


def test_what_cannot_be_compiled_leaves_no_trace() -> None:
    async def story() -> None:
        compiler, directives = Compiler(), stored("a")
        await compiler.compile(CATALOGUE, (), GROUPS, PolicyState(1, directives, ()))
        broken = (*directives, *stored("b"), StoredDirective(directive("c", withdraw=True, require={}), 1, "olga", 1.0))
        with pytest.raises(ValueError, match="'c'"):
            await compiler.compile(CATALOGUE, (), GROUPS, PolicyState(2, broken, ()))
        policy = await compiler.compile(CATALOGUE, (), GROUPS, PolicyState(3, broken[:2], ()))
        assert ids(policy) == ["a", "b"]
        assert ids(compile_state(CATALOGUE, (), GROUPS, PolicyState(3, broken[:2], ()))) == ["a", "b"]

    asyncio.run(story())


@pytest.mark.parametrize(("before", "after", "least"), [(0, 100, 9), (100, 0, 9), (100, 101, 0)])
def test_others_have_their_turn_while_many_directives_are_compiled(before: int, after: int, least: int) -> None:
    async def story() -> None:
        compiler = Compiler(ticking)
        directives = stored(*(f"d{number}" for number in range(max(before, after))))
        await compiler.compile(CATALOGUE, (), GROUPS, PolicyState(1, directives[:before], ()))
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        counting = asyncio.create_task(count())
        policy = await compiler.compile(CATALOGUE, (), GROUPS, PolicyState(2, directives[:after], ()))
        counting.cancel()
        assert least <= turns <= least + 2
        assert len(ids(policy)) == after

    asyncio.run(story())


@given(st.lists(st.integers(0, 9), unique=True), st.lists(st.integers(0, 9), unique=True))
def test_differences_are_what_one_has_and_the_other_has_not(before: list[int], now: list[int]) -> None:
    objects = [object() for _ in range(10)]
    gone, new = _differences([objects[number] for number in before], [objects[number] for number in now])
    assert sorted(map(id, gone)) == sorted(id(objects[number]) for number in before if number not in now)
    assert sorted(map(id, new)) == sorted(id(objects[number]) for number in now if number not in before)
