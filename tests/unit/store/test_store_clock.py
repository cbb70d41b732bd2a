"""A replica whose clock is far from the store's says so and refuses, since instants would be wrong; it goes on enforcing (0017)."""

import asyncio
import logging
import pathlib

import pytest
from feed_bench import Bench, played
from store_contract import append, directive

from frontiergate.store.protocol import Bearing, DirectiveAdded, Enforced, Position
from frontiergate.store.storeclock import StoreClock


@pytest.fixture
def bench(tmp_path: pathlib.Path) -> Bench:
    return Bench(tmp_path)


class Answering:
    """A store whose clock stands at 1000 and that takes `seconds` to say so."""

    def __init__(self, ahead: float, seconds: float) -> None:
        self.ticks, self.seconds = 0.0, seconds
        self.clock = StoreClock(5.0, lambda: 1000.0 + ahead + self.ticks / 2, lambda: self.ticks)

    async def bearing(self) -> Bearing:
        self.ticks += self.seconds
        return Bearing(Position("l", 1), 1000.0)


@pytest.mark.parametrize(
    ("ahead", "seconds", "wrong"),
    [
        (0, 0, False),
        (5, 0, False),
        (5.1, 0, True),
        (-5, 0, False),
        (-5.1, 0, True),
        (3600, 0, True),
        (5.9, 2, False),  # up to a second of it may be the answer's way
        (6.1, 2, True),
        (-6.1, 2, True),
        (3600, 10, True),
    ],
)
def test_a_clock_is_wrong_where_it_is_certainly_further_off_than_the_bound(ahead: float, seconds: float, wrong: bool) -> None:
    store = Answering(ahead, seconds)
    position = asyncio.run(store.clock.ask(store))  # type: ignore[arg-type]  # of a store only its bearing is asked
    assert position.epoch == 1
    assert store.clock.offset == pytest.approx(ahead)
    assert store.clock.now() == pytest.approx(1000.0 + seconds / 2)
    assert (store.clock.problem is not None) is wrong
    if wrong:
        assert f"s {'ahead of' if ahead > 0 else 'behind'} the store's" in (store.clock.problem or "")


@pytest.mark.parametrize("ahead", [6.0, -3600.0])
def test_a_wrong_clock_refuses_until_it_is_right_and_goes_on_enforcing(
    bench: Bench, ahead: float, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(bench: Bench) -> None:
        await bench.feed.start()
        assert not bench.feed.stale(bench.ticks)
        bench.ahead = ahead
        await append(bench.store, DirectiveAdded(directive("a")))
        await bench.feed.poll()
        assert bench.feed.policy == (1, ("a",)), "a withdrawal is obeyed by any clock"
        assert bench.feed.stale(bench.ticks)
        assert not bench.feed.lease.servable
        report = await bench.replica()
        assert (report.stale, report.regressed, report.clock_offset) == (True, False, pytest.approx(ahead))
        assert "enforcement.clock_skew (5 s)" in report.problem
        assert report.enforced[-1] == Enforced(1, 1000.0, 0), "instants are told by the store's clock"
        assert report.heartbeat == pytest.approx(1000.0)
        assert bench.delays == [pytest.approx(0.0)]
        for _ in range(3):
            bench.ticks += 1.0
            await bench.feed.poll()
            assert bench.feed.stale(bench.ticks)
        assert len([record for record in caplog.records if "this host's clock is" in record.message]) == 1

        bench.ahead = 0.0
        await append(bench.store, DirectiveAdded(directive("b")))
        await bench.feed.poll()
        assert not bench.feed.stale(bench.ticks)
        assert bench.feed.lease.servable
        assert "confirmed again" in caplog.text

    caplog.set_level(logging.INFO)
    played(bench, story)


def test_a_replica_does_not_begin_to_admit_with_a_wrong_clock(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        bench.ahead = 60.0
        await bench.feed.start()
        assert bench.feed.policy == (0, ())
        assert bench.feed.stale(bench.ticks)
        assert not bench.feed.lease.servable

    played(bench, story)


def test_a_wrong_clock_stays_wrong_while_the_store_is_away(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        await bench.feed.start()
        bench.ahead = 60.0
        await append(bench.store, DirectiveAdded(directive("a")))
        await bench.feed.poll()
        bench.lose()
        bench.ahead = 0.0
        await bench.feed.poll()
        assert bench.feed.stale(bench.ticks)
        assert not bench.feed.lease.servable
        assert "this host's clock" in (bench.feed.lease.problem or "")

    played(bench, story)


def test_the_bounds_of_a_new_configuration_count(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        await bench.feed.start()
        bench.ahead = 60.0
        bench.feed.bound(lease=2.0, clock_skew=90.0)
        await append(bench.store, DirectiveAdded(directive("a")))
        await bench.feed.poll()
        assert not bench.feed.stale(bench.ticks + 2.0)
        assert bench.feed.stale(bench.ticks + 2.1)

    played(bench, story)
