"""The lease's states, and that what a store knows by hearsay does not prolong it."""

import pathlib

import pytest
from feed_bench import Bench, played

from frontiergate.store.lease import Lease


def test_a_lease_goes_from_unknown_to_current_to_unconfirmed_and_back() -> None:
    lease = Lease(5.0)
    assert lease.stale(0.0)
    assert not lease.servable, "no policy was ever loaded"
    lease.known = True  # from the file of an earlier run
    assert lease.stale(0.0)
    assert lease.servable
    lease.confirm(10.0)
    assert not lease.stale(15.0)
    assert lease.stale(15.1)
    lease.fail("the store is away")
    assert (lease.problem, lease.servable, lease.age(12.0)) == ("the store is away", True, 2.0)
    lease.confirm(20.0)
    assert lease.problem is None
    assert not lease.stale(25.0)


def test_what_is_doubted_is_refused_at_once_and_until_it_is_confirmed() -> None:
    lease = Lease(5.0)
    lease.confirm(10.0)
    lease.doubt("the store went back")
    assert lease.stale(10.0)
    assert not lease.servable
    lease.fail("the store is away")
    assert (lease.problem, lease.servable) == ("the store went back", False)
    lease.confirm(11.0)
    assert not lease.stale(16.0)
    assert lease.servable


def test_an_older_confirmation_does_not_shorten_it() -> None:
    lease = Lease(5.0)
    lease.confirm(10.0)
    lease.confirm(9.8)
    assert lease.until == 15.0


@pytest.fixture
def bench(tmp_path: pathlib.Path) -> Bench:
    return Bench(tmp_path)


def test_a_no_of_a_store_that_only_listens_counts_as_of_when_it_last_asked(bench: Bench) -> None:
    """A partition is silent: the lease must not begin with the last time that nothing was heard."""

    async def story(bench: Bench) -> None:
        await bench.feed.start()

        async def unchanged() -> bool:
            return False

        await bench.feed.poll()
        bench.store.changed = unchanged  # type: ignore[method-assign]
        bench.store.lag = 0.2
        for passed in (0.1, 0.15):
            bench.ticks = 50.0 + passed
            await bench.feed.poll()
            assert bench.feed.lease.until == 55.0
        bench.ticks = 51.0
        await bench.feed.poll()
        assert bench.feed.lease.until == pytest.approx(55.8)

    played(bench, story)
