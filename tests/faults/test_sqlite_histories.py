"""Generated histories on SQLite: changes by two processes, kill -9 in mid-append, disks that fill, replicas that start anew (P4, P5).

After every step the log is read by a third process's connection: it is what was acknowledged, in order, and of what a killed process
did not answer any subset; nothing else. `make test` runs a hundred; `make soak` thousands.
"""

import asyncio
import itertools
import pathlib
import tempfile

import hypothesis.strategies as st
from hypothesis import event, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from frontiergate.errors import Conflict, NotFound, OutcomeUnknown, StoreError, StoreUnavailable
from frontiergate.store.protocol import Change
from frontiergate.store.sqlite import SqliteStore
from tests.faults.histories import CHANGES, EXPECTED, LEASE, WISHES, Follower, Past, World, check_all
from tests.fixtures.writer import Writer

_WRITERS = _REPLICAS = st.sampled_from([0, 1])


class SqliteHistories(RuleBasedStateMachine):
    """Two processes that write, two replicas that follow."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.folder.name) / "state.db"
        self.runner = asyncio.Runner()
        self.run = self.runner.run
        self.past = Past()
        self.now = 1000.0
        self.marks = itertools.count(1)

    @initialize()
    def begin(self) -> None:
        self.writers = [Writer(str(self.path)) for _ in range(2)]  # they make the file, both at once
        self.observer = SqliteStore(str(self.path))
        self.run(self.observer.open())
        self.past.lineage = self.run(self.observer.position()).lineage
        self.past.stands(self.now)
        self.followers = [
            Follower(f"r{number}", lambda: SqliteStore(str(self.path)), pathlib.Path(self.folder.name), lambda: self.now)
            for number in range(2)
        ]
        for number in range(2):
            self.restart(number)

    def observe(self, acknowledged: object = None) -> None:
        lineage = self.run(self.observer.position()).lineage
        entries = self.run(self.observer.entries(0))
        self.past.grows(entries, acknowledged, lineage, self.now)  # type: ignore[arg-type]

    # -- changes

    @rule(writer=_WRITERS, change=CHANGES, expect=EXPECTED)
    def append_anything(self, writer: int, change: Change, expect: int | None) -> None:
        refusal = World(self.past.log).refusal(change, expect)
        acknowledged, refused_as = None, None
        try:
            acknowledged = self.writers[writer].append(change, f"mark {next(self.marks)}", expect)
        except (Conflict, NotFound) as error:
            refused_as = type(error)
        assert refused_as is refusal
        self.observe(acknowledged)

    @rule(writer=_WRITERS, wishes=WISHES)
    def append(self, writer: int, wishes: list[Change]) -> None:
        change = World(self.past.log).possible(wishes)
        if change is not None:
            self.append_anything(writer, change, None)

    @rule(writer=_WRITERS, wishes=WISHES, after=st.floats(0, 0.004))
    def kill_while_appending(self, writer: int, wishes: list[Change], after: float) -> None:
        change = World(self.past.log).possible(wishes)
        if change is None:
            return
        mark = f"mark {next(self.marks)}"
        answer = self.writers[writer].append_until_killed(change, mark, after)
        self.writers[writer] = Writer(str(self.path))
        assert not isinstance(answer, StoreError)
        if answer is None:
            self.past.unknown[self.past.lineage, mark] = change
        before = len(self.past.log)
        self.observe(answer)
        event(f"killed: {'answered' if answer else 'made' if len(self.past.log) > before else 'not made'}")
        self.past.unknown.clear()  # nobody is left who could make it

    @rule(writer=_WRITERS, wishes=WISHES, room=st.integers(-8192, 8192))
    def append_to_a_full_disk(self, writer: int, wishes: list[Change], room: int) -> None:
        """Its log can grow by `room` bytes, so that it may fail after a part was written."""
        change = World(self.past.log).possible(wishes)
        if change is None:
            return
        wal = self.path.with_name("state.db-wal")
        acknowledged = None
        self.writers[writer].limit(max(0, (wal.stat().st_size if wal.exists() else 0) + room))
        mark = f"mark {next(self.marks)}"
        try:
            acknowledged = self.writers[writer].append(change, mark)
        except OutcomeUnknown:
            self.past.unknown[self.past.lineage, mark] = change
        except StoreUnavailable:  # nothing was changed, it says
            pass
        finally:
            self.writers[writer].limit(-1)
        event(f"full disk: {'made' if acknowledged else 'not made'}")
        self.observe(acknowledged)

    # -- replicas

    @rule(replica=_REPLICAS)
    def follow(self, replica: int) -> None:
        follower = self.followers[replica]
        feed = follower.feed
        assert feed is not None
        self.run(feed.poll())
        assert feed.lease.problem is None
        follower.learns(self.past.log, self.past.lineage)
        assert feed.epoch == len(self.past.log)
        assert World(self.past.log).is_that_of(feed.policy)

    @rule(replica=_REPLICAS)
    def restart(self, replica: int) -> None:
        follower = self.followers[replica]
        assert self.run(follower.restart())
        follower.learns(self.past.log, self.past.lineage)

    @rule(seconds=st.sampled_from([1.0, 4.0, LEASE + 1]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def no_replica_admits_on_a_policy_older_than_its_lease(self) -> None:
        for follower in self.followers:
            if follower.confirmed:
                assert self.past.stood_so(follower.lineage, follower.known, self.now - LEASE)

    def teardown(self) -> None:
        try:
            for replica in range(2):
                self.follow(replica)
            self.run(check_all(self.observer, self.past.log))
        finally:
            for writer in self.writers:
                writer.kill()
            for follower in self.followers:
                self.run(follower.close())
            self.run(self.observer.close())
            self.runner.close()
            self.folder.cleanup()


TestSqliteHistories = SqliteHistories.TestCase
TestSqliteHistories.settings = settings(stateful_step_count=25, deadline=None, database=None)
