"""A store that went back never loosens a replica, restarted or not, until the right one is back or an operator accepts it (0018)."""

import pathlib
import sqlite3

import pytest
from feed_bench import Bench, played
from store_contract import append, directive, grant

from frontiergate.store.lineage import accepted, log_of, mark_of, stands_for
from frontiergate.store.protocol import DirectiveAdded, DirectiveLifted, GrantChanged, GrantIssued, ModelPaused, Pause, StoreAccepted

ALICE = "https://idp.example|alice"


@pytest.fixture
def bench(tmp_path: pathlib.Path) -> Bench:
    return Bench(tmp_path, saved=True)


async def two_directives(bench: Bench) -> str:
    """`a` and `b` are enforced; a backup of the time between the two."""
    await append(bench.store, DirectiveAdded(directive("a")))
    backup = bench.back_up()
    await append(bench.store, DirectiveAdded(directive("b")))
    await bench.feed.start()
    assert bench.feed.policy == (2, ("a", "b"))
    return backup


async def refuses(bench: Bench, why: str) -> None:
    """It goes on enforcing what it did, admits nobody, not even for models that may be served stale, and says why."""
    for _ in range(2):
        await bench.feed.poll()
        assert bench.feed.stale(bench.ticks)
        assert not bench.feed.lease.servable
        assert bench.feed.policy == (2, ("a", "b"))
        assert why in (bench.feed.lease.problem or "")
        assert "`frontiergate store accept`" in (bench.feed.lease.problem or "")
    report = await bench.replica()
    assert (report.regressed, report.stale, report.problem) == (True, True, bench.feed.lease.problem)


async def accept(bench: Bench) -> None:
    """As the admin API does it."""
    state, reports = await bench.store.state(), await bench.store.replicas()
    await append(bench.store, StoreAccepted(accepted(state.lineage, [report.lineage for report in reports])), expect=state.epoch)


def test_an_older_backup_is_refused_whatever_is_appended_to_it_and_it_says_what_is_lost(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(bench: Bench) -> None:
        backup = await two_directives(bench)
        await append(bench.store, ModelPaused(Pause(model="m/one", reason="r", by="olga", since=1.0)))
        await append(bench.store, DirectiveLifted("a"))
        await append(bench.store, DirectiveAdded(directive("a", require=directive("x").require, withdraw=True, mode="observe")))
        await bench.feed.poll()
        bench.put(backup)
        await bench.feed.poll()
        problem = bench.feed.lease.problem or ""
        assert "the store went back: epoch 5 of log" in problem
        assert "the store holds epoch 1 of log" in problem
        assert "Not in it: a, b, the pause of m/one." in problem, "`a` is another by now"
        for name in ("c", "d", "e", "f"):
            await append(bench.store, DirectiveAdded(directive(name)))
        bench.ticks += 1.0
        await bench.feed.poll()
        assert bench.feed.stale(bench.ticks), "catching up in numbers does not bring back what was lost"
        assert bench.feed.policy[0] == 5
        await bench.feed.poll()
        assert len([record for record in caplog.records if "cannot be confirmed" in record.message]) == 2, "each said once"

    played(bench, story)


def test_the_end_of_a_grant_that_was_lost_is_noticed_after_a_restart_too(bench: Bench) -> None:
    """No policy shows grants; but a store that lost a revocation would admit."""

    async def story(bench: Bench) -> None:
        await append(bench.store, DirectiveAdded(directive("a")))
        await append(bench.store, GrantIssued(grant("g", ALICE)))
        backup = bench.back_up()
        await bench.feed.start()
        await append(bench.store, GrantChanged("g", "revoked", ALICE))
        await bench.feed.poll()
        bench.put(backup)
        await bench.restart()
        assert "the store went back: epoch 3" in (bench.feed.lease.problem or "")
        assert bench.feed.stale(bench.ticks)

    played(bench, story)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_backup_that_was_written_to_before_anyone_looked_is_recognised(bench: Bench, restarted: bool) -> None:
    async def story(bench: Bench) -> None:
        bench.put(await two_directives(bench))
        for name in ("c", "d", "e"):
            await append(bench.store, DirectiveAdded(directive(name)))
        if restarted:
            await bench.restart()
        await refuses(bench, "history was replaced")

    played(bench, story)


def test_a_backup_that_was_written_to_up_to_the_same_epoch_is_recognised(bench: Bench) -> None:
    """Nothing in the numbers tells it from the right one."""

    async def story(bench: Bench) -> None:
        bench.put(await two_directives(bench))
        assert (await append(bench.store, DirectiveAdded(directive("c")))).epoch == bench.feed.epoch
        await refuses(bench, "the store went back: epoch 2 of log")

    played(bench, story)


@pytest.mark.parametrize("restarted", [False, True])
def test_one_that_is_thousands_of_entries_on_is_recognised_too(bench: Bench, monkeypatch: pytest.MonkeyPatch, restarted: bool) -> None:
    monkeypatch.setattr("frontiergate.store.feed._WHOLE", 1)

    async def story(bench: Bench) -> None:
        bench.put(await two_directives(bench))
        for name in ("c", "d", "e"):
            await append(bench.store, DirectiveAdded(directive(name)))
        if restarted:
            await bench.restart()
        await refuses(bench, "history was replaced")

    played(bench, story)


@pytest.mark.parametrize("restarted", [False, True])
def test_another_store_in_its_place_is_refused(bench: Bench, tmp_path: pathlib.Path, restarted: bool) -> None:
    async def story(bench: Bench) -> None:
        await two_directives(bench)
        (tmp_path / "elsewhere").mkdir()
        other = Bench(tmp_path / "elsewhere")
        for name in ("x", "y", "z"):
            await append(other.store, DirectiveAdded(directive(name)))
        await other.store.close()
        bench.put(other.path)
        if restarted:
            await bench.restart()
        await refuses(bench, "the store went back")

    played(bench, story)


def test_an_empty_store_in_its_place_is_refused_after_a_restart(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        await two_directives(bench)
        bench.remove()
        await bench.restart()
        await refuses(bench, "the store holds epoch 0 of log")
        await bench.restart()
        await refuses(bench, "the store holds epoch 0 of log")

    played(bench, story)


@pytest.mark.parametrize("restarted", [False, True])
def test_the_right_store_is_followed_again_by_itself(bench: Bench, restarted: bool) -> None:
    async def story(bench: Bench) -> None:
        older = await two_directives(bench)
        newer = bench.back_up("newer")
        bench.put(older)
        if restarted:
            await bench.restart()
        await bench.feed.poll()
        assert bench.feed.stale(bench.ticks)
        taken = len(bench.taken)
        bench.put(newer)
        await bench.feed.poll()
        assert not bench.feed.stale(bench.ticks)
        assert bench.feed.lease.problem is None
        assert len(bench.taken) == taken, "nothing is new"
        await append(bench.store, DirectiveAdded(directive("c")))
        await bench.feed.poll()
        assert bench.feed.policy == (3, ("a", "b", "c"))
        bench.ticks += 1.0
        await bench.feed.poll()
        assert (await bench.replica()).regressed is False

    played(bench, story)


@pytest.mark.parametrize("restarted", [False, True])
def test_an_operator_who_accepts_it_is_obeyed_by_running_and_restarted_replicas(bench: Bench, restarted: bool) -> None:
    async def story(bench: Bench) -> None:
        bench.put(await two_directives(bench))
        if restarted:
            await bench.restart()
        await refuses(bench, "the store went back")
        await accept(bench)
        await bench.feed.poll()
        assert bench.taken[-1] == ((2, ("a",)), None), "nothing cached is trusted"
        assert not bench.feed.stale(bench.ticks)
        report = await bench.replica()
        assert (report.epoch, report.regressed, report.stale) == (2, False, False)
        await append(bench.store, DirectiveAdded(directive("c")))
        await bench.feed.poll()
        assert bench.taken[-1] == ((3, ("a", "c")), [3])
        await bench.restart()
        assert not bench.feed.stale(bench.ticks)
        assert bench.feed.policy == (3, ("a", "c"))

    played(bench, story)


def test_an_acceptance_counts_for_what_was_lost_then_and_not_for_the_next_time(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        bench.put(await two_directives(bench))
        await bench.feed.poll()
        await accept(bench)
        accepted_then = bench.back_up()
        await append(bench.store, DirectiveAdded(directive("b")))
        await bench.feed.poll()
        assert bench.feed.policy == (3, ("a", "b"))
        bench.put(accepted_then)
        await bench.restart()
        assert bench.feed.stale(bench.ticks)
        assert bench.feed.policy == (3, ("a", "b"))

    played(bench, story)


def test_a_replica_that_slept_through_it_all_takes_the_log_that_was_accepted(bench: Bench) -> None:
    """It knows a log that the accepted one stands for, though it never saw what was lost."""

    async def story(bench: Bench) -> None:
        backup = await two_directives(bench)
        await bench.store.close()
        bench.put(backup)
        bench.saved, sleeping = None, bench.saved
        bench.open()
        await accept(bench)
        await accept(bench)
        bench.saved = sleeping
        await bench.restart()
        assert bench.feed.policy == (3, ("a",))
        assert not bench.feed.stale(bench.ticks)

    played(bench, story)


def test_a_log_that_reaches_back_too_little_to_tell_is_believed(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        await two_directives(bench)
        await append(bench.store, DirectiveAdded(directive("c")))
        connection = sqlite3.connect(bench.path)
        connection.execute("DROP TRIGGER log_is_not_cut")
        connection.execute("DELETE FROM log WHERE epoch < 3")
        connection.commit()
        connection.close()
        await bench.restart()
        assert bench.feed.policy == (3, ("a", "b", "c"))
        assert not bench.feed.stale(bench.ticks)

    played(bench, story)


def test_a_store_that_is_away_hides_no_regression(bench: Bench) -> None:
    """Neither from who reads why, nor by making models servable that may be while a store is only away."""

    async def story(bench: Bench) -> None:
        bench.put(await two_directives(bench))
        await bench.feed.poll()
        bench.lose()
        bench.ticks += 10.0
        await bench.feed.poll()
        assert "the store went back" in (bench.feed.lease.problem or "")
        assert not bench.feed.lease.servable

    played(bench, story)


def test_a_lineage_names_the_log_and_those_in_whose_place_it_stands() -> None:
    first = "aa"
    second = accepted(first, ["bb", "cc aa"])
    assert second.split()[1:] == ["aa", "bb", "cc"]
    assert log_of(second) == second.split()[0]
    assert len(log_of(second)) == 16
    assert stands_for(second, "aa")
    assert stands_for(second, "cc aa")
    assert not stands_for(second, second)
    assert not stands_for(first, second)
    assert not stands_for("", "aa")
    assert not stands_for("aa", "aa")
    assert log_of("") == ""


def test_entries_that_differ_in_anything_that_counts_have_different_marks(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        entry = await append(bench.store, DirectiveAdded(directive("a")))
        (read,) = await bench.store.entries(0)
        assert mark_of(read) == mark_of(entry)
        other = await append(bench.store, DirectiveLifted("a"))
        third = await append(bench.store, DirectiveAdded(directive("b")))
        assert len({mark_of(entry), mark_of(other), mark_of(third), None}) == 4
        assert mark_of(None) is None

    played(bench, story)
