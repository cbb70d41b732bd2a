"""The feed on a real store: read, compile, enforce, acknowledge; and what it does when the store is not what it was."""

import asyncio
import logging
import os
import pathlib
import sqlite3

import pytest
from feed_bench import Bench, played
from store_contract import append, directive, grant

from frontiergate.errors import ConfigError
from frontiergate.store.protocol import DirectiveAdded, DirectiveLifted, Enforced, GrantIssued, PolicyState


@pytest.fixture
def bench(tmp_path: pathlib.Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def keeping(tmp_path: pathlib.Path) -> Bench:
    return Bench(tmp_path, saved=True)


def test_a_feed_starts_with_the_stores_policy_and_is_current(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        await append(bench.store, DirectiveAdded(directive("a")))
        assert bench.feed.stale(bench.ticks)
        await bench.feed.start()
        assert bench.feed.policy == (1, ("a",))
        assert not bench.feed.stale(bench.ticks)
        assert bench.taken[1:] == []

    played(bench, story)


def test_a_new_epoch_is_enforced_then_acknowledged(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        await bench.feed.start()
        await append(bench.store, DirectiveAdded(directive("a")))
        bench.now += 0.030
        bench.sessions_hit = 3
        await append(bench.store, GrantIssued(grant("g")))
        await bench.feed.poll()
        assert bench.feed.policy == (2, ("a",))
        assert bench.feed.epoch == 2
        assert bench.taken[1:] == [((2, ("a",)), [1, 2])]
        assert bench.delays == [pytest.approx(0.030), 0.0]
        (report,) = await bench.store.replicas()
        assert (report.name, report.instance, report.epoch) == ("host/1", "i1", 2)
        assert report.enforced[1:] == (Enforced(0, 1000.0, 0), Enforced(2, bench.now, 3))
        assert (report.live_sessions, report.config, report.heartbeat) == (7, "c0ffee", bench.now)
        assert (report.lineage, report.regressed) == ((await bench.store.position()).lineage, False)

    played(bench, story)


def test_nothing_is_enforced_where_only_heartbeats_changed_the_store(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        await append(bench.store, DirectiveAdded(directive("a")))
        await bench.feed.start()
        for _ in range(4):
            bench.ticks += 1.0
            bench.now += 1.0
            await bench.feed.poll()
        assert bench.taken[1:] == []
        assert (await bench.store.replicas())[0].heartbeat == bench.now

    played(bench, story)


def test_a_heartbeat_is_sent_every_second_not_at_every_poll(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        await bench.feed.start()
        await bench.feed.poll()
        first = bench.now
        bench.now += 0.9
        bench.ticks += 0.9
        await bench.feed.poll()
        assert (await bench.store.replicas())[0].heartbeat == first

    played(bench, story)


def test_following_picks_up_a_change_and_stops_in_good_order(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        await bench.feed.start()
        enforced = asyncio.Event()
        bench.told = enforced.set
        following = asyncio.create_task(bench.feed.follow())
        await append(bench.store, DirectiveAdded(directive("a")))
        async with asyncio.timeout(5):
            await enforced.wait()
            while not await bench.store.replicas():
                await bench.store.changed()
            await bench.feed.stop()
            await following
        assert await bench.store.replicas() == ()
        assert bench.taken[1:] == [((1, ("a",)), [1])]

    played(bench, story)


def test_the_lease_ends_when_the_store_is_lost_and_the_policy_is_kept(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    async def story(bench: Bench) -> None:
        await append(bench.store, DirectiveAdded(directive("a")))
        await bench.feed.start()
        await bench.feed.poll()
        os.rename(bench.path, bench.path + ".away")
        for _ in range(5):
            bench.ticks += 1.0
            await bench.feed.poll()
            assert not bench.feed.stale(bench.ticks)
        bench.ticks += 0.1
        assert bench.feed.stale(bench.ticks)
        assert bench.feed.lease.age(bench.ticks) == pytest.approx(5.1)
        assert bench.feed.policy == (1, ("a",))
        assert bench.feed.lease.problem is not None
        assert len([r for r in caplog.records if "cannot be confirmed" in r.message]) == 1, "said once, not at each attempt"
        assert len([r for r in caplog.records if "could not report" in r.message]) == 1

        os.rename(bench.path + ".away", bench.path)
        await bench.feed.poll()
        assert not bench.feed.stale(bench.ticks)
        assert bench.feed.lease.problem is None
        assert bench.taken[1:] == []

    caplog.set_level(logging.INFO)
    played(bench, story)


def test_a_change_seen_while_the_policy_could_not_be_compiled_is_enforced_later(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        await bench.feed.start()
        await append(bench.store, DirectiveAdded(directive("a")))
        bench.unreadable = ConfigError(["directive a names a country group that is not configured"])
        await bench.feed.poll()
        bench.ticks += 6.0
        await bench.feed.poll()
        assert bench.feed.stale(bench.ticks)
        assert "country group" in (bench.feed.lease.problem or "")
        assert bench.feed.epoch == 0
        bench.unreadable = None
        await bench.feed.poll()
        assert not bench.feed.stale(bench.ticks)
        assert bench.taken[1:] == [((1, ("a",)), [1])]

    played(bench, story)


@pytest.mark.parametrize("kept_from", [3, 4, 6])
def test_a_log_trimmed_past_a_sleeping_replica_is_loaded_whole(bench: Bench, kept_from: int) -> None:
    async def story(bench: Bench) -> None:
        for name in ("a", "b"):
            await append(bench.store, DirectiveAdded(directive(name)))
        await bench.feed.start()
        for name in ("c", "d", "e", "f"):
            await append(bench.store, DirectiveAdded(directive(name)))
        connection = sqlite3.connect(bench.path)
        connection.execute("DROP TRIGGER log_is_not_cut")
        connection.execute("DELETE FROM log WHERE epoch < ?", (kept_from,))
        connection.commit()
        connection.close()
        await bench.feed.poll()
        whole = (6, ("a", "b", "c", "d", "e", "f"))
        assert bench.taken[1:] == [(whole, [3, 4, 5, 6] if kept_from == 3 else None)]
        await append(bench.store, DirectiveLifted("a"))
        await bench.feed.poll()
        assert bench.taken[2] == ((7, ("b", "c", "d", "e", "f")), [7])

    played(bench, story)


def test_a_replica_far_behind_loads_whole(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontiergate.store.feed._WHOLE", 2)

    async def story(bench: Bench) -> None:
        await bench.feed.start()
        for name in ("a", "b", "c"):
            await append(bench.store, DirectiveAdded(directive(name)))
        await bench.feed.poll()
        assert bench.taken[1:] == [((3, ("a", "b", "c")), None)]

    played(bench, story)


def test_many_entries_are_read_in_pages(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontiergate.store.feed._PAGE", 2)

    async def story(bench: Bench) -> None:
        await append(bench.store, DirectiveAdded(directive("a")))
        await bench.feed.start()
        for name in ("b", "c", "d", "e"):
            await append(bench.store, DirectiveAdded(directive(name)))
        await bench.feed.poll()
        assert bench.taken[1:] == [((5, ("a", "b", "c", "d", "e")), [2, 3, 4, 5])]

    played(bench, story)


def test_a_new_configuration_is_compiled_with_the_same_state(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        await append(bench.store, DirectiveAdded(directive("a")))
        await bench.feed.start()
        await bench.feed.poll()
        bench.sessions_hit = 2
        bench.now += 9.0
        await bench.feed.recompile()
        assert bench.taken[1:] == [((1, ("a",)), [])]
        await bench.feed.poll()
        (report,) = await bench.store.replicas()
        assert report.enforced[-1] == Enforced(1, bench.now, 2)

    played(bench, story)


def test_without_a_store_and_without_a_saved_policy_it_starts_once_there_is_one(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    folder = pathlib.Path(bench.path).parent / "no"
    bench.path = str(folder / "state.db")
    bench.open()

    async def story(bench: Bench) -> None:
        for _ in range(3):
            assert not await bench.feed.start()
            assert bench.feed.stale(bench.ticks)
            assert not bench.feed.lease.servable, "there is no policy, so nobody is served by it either"
        assert caplog.text.count("check that it exists and may be written") == 1
        os.mkdir(folder)
        assert await bench.feed.start()
        assert not bench.feed.stale(bench.ticks)

    played(bench, story)


@pytest.mark.parametrize("damage", [b'{"epoch": 1, "directives": [{}', b"", b"\xff\xfe\x00", b"a policy"])
def test_a_saved_policy_that_cannot_be_read_admits_nobody_and_is_told_until_it_is_mended(keeping: Bench, damage: bytes) -> None:
    """Without it nobody can tell whether the store went back."""
    assert keeping.saved is not None
    saved = pathlib.Path(keeping.saved)
    saved.write_bytes(damage)

    async def story(bench: Bench) -> None:
        assert not await bench.feed.start()
        assert bench.feed.stale(bench.ticks)
        (report,) = await bench.store.replicas()
        assert report.stale
        assert str(saved) in report.problem
        assert "or remove it" in report.problem
        await asyncio.to_thread(saved.unlink)
        assert await bench.feed.start()
        assert not bench.feed.stale(bench.ticks)
        await bench.feed.poll()
        assert [report.stale for report in await bench.store.replicas()] == [False]

    played(keeping, story)


def test_a_policy_that_cannot_be_compiled_at_the_start_is_told_and_compiled_once_it_can_be(bench: Bench) -> None:
    bench.unreadable = ValueError("there is no country group 'partners'")

    async def story(bench: Bench) -> None:
        await append(bench.store, DirectiveAdded(directive("a")))
        assert not await bench.feed.start()
        assert bench.feed.stale(bench.ticks)
        assert (await bench.store.replicas())[0].stale
        bench.unreadable = None
        assert await bench.feed.start()
        assert bench.feed.epoch == 1

    played(bench, story)


def test_a_policy_that_cannot_be_saved_is_enforced_all_the_same(tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(tmp_path)
    bench.saved = str(tmp_path / "no" / "last-seen.json")
    bench.open()

    async def story(bench: Bench) -> None:
        await append(bench.store, DirectiveAdded(directive("a")))
        await bench.feed.start()
        assert not bench.feed.stale(bench.ticks)
        assert "cannot be kept" in caplog.text

    played(bench, story)


def test_signing_off_from_a_lost_store_is_not_an_error(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    async def story(bench: Bench) -> None:
        await bench.feed.start()
        os.unlink(bench.path)
        await bench.feed.stop()
        assert "could not sign off" in caplog.text
        await bench.feed.follow()

    played(bench, story)


def test_the_next_policy_is_taken_while_sessions_are_still_decided_by_the_last_one(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        await bench.feed.start()
        first, second = asyncio.Event(), asyncio.Event()
        bench.held, bench.told = first, lambda: setattr(bench, "held", second)
        await append(bench.store, DirectiveAdded(directive("a")))
        await bench.feed.poll()
        await append(bench.store, DirectiveAdded(directive("b")))
        bench.ticks += 1.0
        await bench.feed.poll()
        assert [policy for policy, _ in bench.taken] == [(0, ()), (1, ("a",)), (2, ("a", "b"))]
        assert not bench.feed.stale(bench.ticks)
        assert (await bench.replica()).epoch == 0, "some session may still be under the first policy"
        assert bench.delays == []

        first.set()
        bench.ticks += 1.0
        await bench.feed.poll()
        assert (await bench.replica()).epoch == 1, "some session may have been decided before the second was taken"
        assert len(bench.delays) == 1

        second.set()
        await bench.feed.poll()
        assert (await bench.replica()).epoch == 2
        assert (bench.passes, len(bench.delays)) == (3, 2)

    played(bench, story)


def test_a_new_configuration_is_enforced_though_its_epoch_is_acknowledged(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        await bench.feed.start()
        bench.held = asyncio.Event()
        await append(bench.store, DirectiveAdded(directive("a")))
        await bench.feed.poll()
        await bench.feed.recompile()
        bench.held.set()
        await bench.feed.poll()
        assert bench.taken[1:] == [((1, ("a",)), [1]), ((1, ("a",)), [])]
        assert bench.passes == 3

    played(bench, story)


def test_a_configuration_that_cannot_be_compiled_is_not_taken(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        await bench.feed.start()
        bench.unreadable = ValueError("no such country group")
        with pytest.raises(ValueError, match="country group"):
            await bench.feed.recompile()
        assert bench.taken[1:] == []

    played(bench, story)


def test_a_session_that_cannot_be_decided_again_is_a_defect_and_not_a_store_that_is_away(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        await bench.feed.start()

        def fail() -> None:
            raise ValueError("the policy knows no model")

        bench.told = fail
        await append(bench.store, DirectiveAdded(directive("a")))
        with pytest.raises(ValueError, match="knows no model"):
            await bench.feed.poll()

    played(bench, story)


def test_stopping_does_not_wait_for_sessions(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        await bench.feed.start()
        bench.held = asyncio.Event()
        await append(bench.store, DirectiveAdded(directive("a")))
        await bench.feed.poll()
        await bench.feed.stop()
        assert await bench.store.replicas() == ()
        assert bench.passes == 1

    played(bench, story)


def test_an_epoch_costs_what_it_changes(bench: Bench) -> None:
    """The state is read whole at the start only, and what an entry leaves alone is handed on as the same objects."""

    async def story(bench: Bench) -> None:
        await append(bench.store, DirectiveAdded(directive("a")))
        await bench.feed.start()

        async def never() -> PolicyState:
            raise AssertionError("the state is read whole")

        bench.store.state = never  # type: ignore[method-assign]
        for change in (GrantIssued(grant("g")), DirectiveAdded(directive("b"))):
            await append(bench.store, change)
            await bench.feed.poll()
        started, granted, added = bench.states
        assert granted.epoch == 2
        assert granted.directives is started.directives
        assert added.directives[0] is started.directives[0]
        assert bench.taken[-1] == ((3, ("a", "b")), [3])

    played(bench, story)


def test_a_store_that_was_edited_by_hand_is_read_whole(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    async def story(bench: Bench) -> None:
        await append(bench.store, DirectiveAdded(directive("a")))
        await bench.feed.start()
        connection = sqlite3.connect(bench.path)
        connection.execute("DELETE FROM directives")
        connection.commit()
        connection.close()
        for name in ("b", "a"):
            await append(bench.store, DirectiveAdded(directive(name)))
        await bench.feed.poll()
        assert bench.taken[1:] == [((3, ("a", "b")), [2, 3])]
        assert "does not fit" in caplog.text

    played(bench, story)
