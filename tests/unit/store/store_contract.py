"""What every store must do; a store's own test file subclasses `StoreContract` and says how to connect."""

import asyncio
import datetime
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from frontiergate.domain.directive import Directive, Order, Tag, Vet
from frontiergate.domain.evidence import Assurance, Evidence, Kind
from frontiergate.domain.requirement import Requirement, Selection
from frontiergate.domain.vetting import Grant, GrantState
from frontiergate.errors import Conflict, NotFound, StoreUnavailable
from frontiergate.store.protocol import (
    Change,
    DirectiveAdded,
    DirectiveLifted,
    Enforced,
    Entry,
    GrantChanged,
    GrantIssued,
    KeyCreated,
    KeyRecord,
    KeyRevoked,
    ModelPaused,
    ModelResumed,
    Pause,
    ReplicaReport,
    Store,
    StoreAccepted,
)

Connect = Callable[[], Store]


def directive(id: str, **changes: Any) -> Directive:
    return Directive(
        id=id,
        order=Order(authority="Bureau of Industry and Security", reference="IS-2026-014", received=datetime.date(2026, 11, 20)),
        models=("anthropic/claude-frontier-*", Tag("cyber")),
        **(changes or {"withdraw": True}),
    )


def grant(id: str, principal: str = "https://idp.example|alice", **changes: Any) -> Grant:
    return Grant(id=id, principal=principal, programme="caisi", models=("m/one",), issued_at=1.0, expires_at=9e9, **changes)


def key(id: str, sha256: str | None = None) -> KeyRecord:
    evidence = (Evidence(kind=Kind.NATIONALITY, value="US", source="operator", assurance=Assurance.ATTESTED, observed_at=1.0),)
    return KeyRecord(id=id, sha256=sha256 or f"sha256-of-{id}", name="ci", evidence=evidence, created_at=1.0)


def pause(model: str) -> Pause:
    return Pause(model=model, reason="maintenance", by="olga", since=5.0)


def report(name: str, *, instance: str = "i1", epoch: int = 3, heartbeat: float = 2.0) -> ReplicaReport:
    return ReplicaReport(
        name=name,
        instance=instance,
        version="0.1.0",
        enforced=(Enforced(epoch - 1, 0.5, 0), Enforced(epoch, 1.0, 1)),
        heartbeat=heartbeat,
        live_sessions=4,
        config="c0ffee",
        lineage="l1 l0",
        regressed=True,
        stale=True,
        problem="the store went back",
        clock_offset=-0.25,
    )


async def append(store: Store, change: Change, expect: int | None = None) -> Entry:
    return await store.append(change, actor="olga", reason="because", expect=expect)


async def until_changed(store: Store, expected: bool) -> None:
    """Returns once `changed` answers so: a store may notice soon rather than at once, and may look once too often."""
    async with asyncio.timeout(10):
        while await store.changed() is not expected:
            await store.head()


def with_store(connect: Connect, story: Callable[[Store], Awaitable[None]]) -> None:
    async def main() -> None:
        store = connect()
        await store.open()
        try:
            await story(store)
        finally:
            await store.close()

    asyncio.run(main())


class StoreContract:
    @pytest.fixture
    def connect(self) -> Connect:
        raise NotImplementedError

    def test_an_empty_store_is_at_epoch_0(self, connect: Connect) -> None:
        async def story(store: Store) -> None:
            assert await store.head() == 0
            state = await store.state()
            assert (state.epoch, state.directives, state.pauses) == (0, (), ())
            assert await store.entries(0) == ()
            assert await store.grants() == ()
            assert await store.keys() == ()
            assert await store.replicas() == ()

        with_store(connect, story)

    def test_epochs_are_consecutive_and_entries_come_back_as_they_were(self, connect: Connect) -> None:
        changes: list[Change] = [
            DirectiveAdded(directive("a")),
            DirectiveAdded(
                directive(
                    "b",
                    require=Requirement(
                        all_of=(Requirement(us_person=True, assurance="verified"), Requirement(location=Selection(none_in=("bis_d5",))))
                    ),
                    otherwise="refuse",
                    unknown=Vet("caisi"),
                    from_=datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC),
                    mode="observe",
                )
            ),
            ModelPaused(pause("m/one")),
            GrantIssued(grant("g")),
            GrantChanged("g", "suspended", "https://idp.example|alice"),
            KeyCreated(key("k")),
            KeyRevoked("k"),
            ModelResumed("m/one"),
            DirectiveLifted("a"),
        ]

        async def story(store: Store) -> None:
            entries = [await append(store, change) for change in changes]
            assert [entry.epoch for entry in entries] == list(range(1, len(changes) + 1))
            assert [entry.change for entry in entries] == changes
            assert {(entry.actor, entry.reason) for entry in entries} == {("olga", "because")}
            assert list(await store.entries(0)) == entries
            assert list(await store.entries(2, limit=3)) == entries[2:5]
            assert list(await store.entries(len(changes))) == []
            assert await store.head() == len(changes)
            state = await store.state()
            assert [(stored.directive, stored.epoch, stored.actor) for stored in state.directives] == [
                (entries[1].change.directive, 2, "olga")
            ]
            assert list(await store.directive_history("a")) == [entries[0], entries[-1]]

        with_store(connect, story)

    def test_what_was_acknowledged_is_there_after_opening_again(self, connect: Connect) -> None:
        async def first(store: Store) -> None:
            await append(store, DirectiveAdded(directive("a")))

        lineages = []

        async def second(store: Store) -> None:
            assert [stored.directive for stored in (await store.state()).directives] == [directive("a")]
            lineages.append((await store.position()).lineage)

        with_store(connect, first)
        with_store(connect, second)
        with_store(connect, second)
        assert len(set(lineages)) == 1
        assert lineages[0]

    def test_a_directive_that_exists_is_not_added_again(self, connect: Connect) -> None:
        async def story(store: Store) -> None:
            await append(store, DirectiveAdded(directive("a")))
            with pytest.raises(Conflict, match="'a' exists"):
                await append(store, DirectiveAdded(directive("a")))
            assert await store.head() == 1
            await append(store, DirectiveLifted("a"))
            await append(store, DirectiveAdded(directive("a")))

        with_store(connect, story)

    @pytest.mark.parametrize(
        "change",
        [DirectiveLifted("x"), ModelResumed("x"), GrantChanged("x", "revoked", "p"), KeyRevoked("x")],
        ids=lambda c: type(c).__name__,
    )
    def test_what_is_not_there_cannot_change_and_leaves_no_trace(self, connect: Connect, change: Change) -> None:
        async def story(store: Store) -> None:
            with pytest.raises(NotFound):
                await append(store, change)
            with pytest.raises(NotFound):
                await append(store, change, expect=0)
            assert await store.head() == 0
            with pytest.raises(NotFound):
                await store.grant("x")
            assert await store.key("x") is None

        with_store(connect, story)

    def test_a_paused_model_is_not_paused_again(self, connect: Connect) -> None:
        async def story(store: Store) -> None:
            await append(store, ModelPaused(pause("m")))
            with pytest.raises(Conflict, match="paused already, by olga"):
                await append(store, ModelPaused(pause("m")))
            assert (await store.state()).pauses == (pause("m"),)

        with_store(connect, story)

    def test_a_change_that_expects_an_older_log_conflicts_and_says_what_is_now(self, connect: Connect) -> None:
        async def story(store: Store) -> None:
            await append(store, DirectiveAdded(directive("a")), expect=0)
            with pytest.raises(Conflict, match="you saw epoch 0, it is 1"):
                await append(store, DirectiveAdded(directive("b")), expect=0)
            assert await store.head() == 1

        with_store(connect, story)

    def test_a_lift_may_expect_the_directives_own_epoch(self, connect: Connect) -> None:
        async def story(store: Store) -> None:
            await append(store, DirectiveAdded(directive("a")))
            await append(store, DirectiveAdded(directive("b")))
            await append(store, DirectiveLifted("a"), expect=1)
            await append(store, DirectiveAdded(directive("a")))
            with pytest.raises(Conflict, match="you saw epoch 1, it is 4"):
                await append(store, DirectiveLifted("a"), expect=1)
            with pytest.raises(NotFound):
                await append(store, DirectiveLifted("c"), expect=1)

        with_store(connect, story)

    def test_a_grant_moves_only_as_the_table_allows(self, connect: Connect) -> None:
        principal = "https://idp.example|alice"

        async def story(store: Store) -> None:
            await append(store, GrantIssued(grant("g")))
            with pytest.raises(Conflict, match="exists"):
                await append(store, GrantIssued(grant("g")))
            with pytest.raises(Conflict, match="issued active"):
                await append(store, GrantIssued(grant("h", state=GrantState.REVOKED)))
            await append(store, GrantChanged("g", "suspended", principal))
            await append(store, GrantChanged("g", "active", principal))
            with pytest.raises(Conflict, match="another principal"):
                await append(store, GrantChanged("g", "revoked", "https://idp.example|mallory"))
            with pytest.raises(Conflict):
                await append(store, GrantChanged("g", "no-such-state", principal))
            await append(store, GrantChanged("g", "revoked", principal))
            for state in GrantState:
                with pytest.raises(Conflict):
                    await append(store, GrantChanged("g", state, principal))
            assert (await store.grant("g")).state is GrantState.REVOKED
            assert await store.head() == 4

        with_store(connect, story)

    def test_a_principals_grants_are_those_active_or_suspended(self, connect: Connect) -> None:
        async def story(store: Store) -> None:
            for name in ("a", "b", "c"):
                await append(store, GrantIssued(grant(name)))
            await append(store, GrantIssued(grant("d", "https://idp.example|alice|x")))
            await append(store, GrantChanged("b", "suspended", "https://idp.example|alice"))
            await append(store, GrantChanged("c", "revoked", "https://idp.example|alice"))
            found = await store.grants_of("https://idp.example|alice")
            assert [(g.id, g.state) for g in found] == [("a", GrantState.ACTIVE), ("b", GrantState.SUSPENDED)]
            assert await store.grants_of("HTTPS://idp.example|alice") == ()
            assert [g.id for g in await store.grants(limit=3)] == ["a", "b", "c"]
            assert [g.id for g in await store.grants(after="c")] == ["d"]

        with_store(connect, story)

    def test_a_key_is_found_by_its_digest_and_revoked_once(self, connect: Connect) -> None:
        async def story(store: Store) -> None:
            await append(store, KeyCreated(key("k")))
            assert await store.key("sha256-of-k") == key("k")
            with pytest.raises(Conflict):
                await append(store, KeyCreated(key("k", "another")))
            with pytest.raises(Conflict):
                await append(store, KeyCreated(key("l", "sha256-of-k")))
            entry = await append(store, KeyRevoked("k"))
            found = await store.key("sha256-of-k")
            assert found is not None
            assert found.revoked_at == entry.at
            with pytest.raises(Conflict, match="revoked already"):
                await append(store, KeyRevoked("k"))
            assert list(await store.keys()) == [found]

        with_store(connect, story)

    def test_a_replica_is_known_by_its_last_report_until_that_instance_signs_off(self, connect: Connect) -> None:
        async def story(store: Store) -> None:
            await store.report(report("w1"))
            await store.report(report("w2", epoch=2))
            await store.report(report("w1", instance="i2", epoch=4))
            await store.forget_replica("w1", "i1")
            assert list(await store.replicas()) == [report("w1", instance="i2", epoch=4), report("w2", epoch=2)]
            await store.forget_replica("w1", "i2")
            assert [r.name for r in await store.replicas()] == ["w2"]
            assert await store.head() == 0

        with_store(connect, story)

    def test_a_bearing_tells_where_the_log_stands_and_the_stores_time(self, connect: Connect) -> None:
        async def story(store: Store) -> None:
            before = time.time()
            bearing = await store.bearing()
            assert bearing.position == await store.position()
            assert before - 1 <= bearing.at <= time.time() + 1, "the store is on this host"

        with_store(connect, story)

    def test_a_log_that_is_accepted_is_another_one_from_there_on(self, connect: Connect) -> None:
        async def story(store: Store) -> None:
            await append(store, DirectiveAdded(directive("a")))
            old, at = (await store.position()).lineage, await store.head()
            entry = await append(store, StoreAccepted(f"new {old} lost"), expect=at)
            with pytest.raises(Conflict):
                await append(store, StoreAccepted("newer"), expect=at)
            assert ((await store.position()).lineage, entry.epoch) == (f"new {old} lost", at + 1)
            state = await store.state()
            assert (state.lineage, state.epoch, len(state.directives)) == (f"new {old} lost", at + 1, 1)
            assert list(await store.entries(at)) == [entry]
            await append(store, DirectiveLifted("a"))
            assert await store.head() == at + 2

        with_store(connect, story)

    def test_a_change_of_its_own_or_of_another_process_is_noticed(self, connect: Connect) -> None:
        async def story(store: Store) -> None:
            other = connect()
            await other.open()
            try:
                assert await store.changed(), "at first nothing is known"
                await until_changed(store, False)
                for writer, name in ((other, "a"), (store, "b")):
                    await append(writer, DirectiveAdded(directive(name)))
                    await until_changed(store, True)
                    await until_changed(store, False)
            finally:
                await other.close()

        with_store(connect, story)

    def test_of_two_that_race_for_one_expected_epoch_one_wins(self, connect: Connect) -> None:
        async def story(store: Store) -> None:
            other = connect()
            await other.open()
            try:
                outcomes = await asyncio.gather(
                    append(store, GrantIssued(grant("x")), expect=0),
                    append(other, GrantIssued(grant("y")), expect=0),
                    return_exceptions=True,
                )
            finally:
                await other.close()
            assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "Entry"]

        with_store(connect, story)

    def test_a_closed_store_says_so(self, connect: Connect) -> None:
        async def main() -> None:
            store = connect()
            await store.open()
            await store.close()
            await store.close()
            with pytest.raises(StoreUnavailable, match="closed"):
                await store.head()
            with pytest.raises(StoreUnavailable, match="closed"):
                await store.changed()

        asyncio.run(main())
