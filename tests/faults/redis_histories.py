"""The machines that generate histories on Redis: changes, readers, partitions, lost answers, crashes, flushes and old backups against a model (P4, P5).

Two machines share the store, each over a network of its own that the test holds, cuts, or traps requests in. After every step the
log is read past those networks: it is what was acknowledged, in order, and of what nobody knows the outcome any subset; nothing
else. A replica whose lease runs has the policy of a moment within that lease.
"""

import asyncio
import itertools
import pathlib
import tempfile
from collections.abc import Awaitable, Callable
from typing import Literal

import hypothesis.strategies as st
import redis
from hypothesis import event
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from frontiergate.config.store_url import RedisUrl, read_store_url
from frontiergate.errors import Conflict, NotFound, OutcomeUnknown, StoreUnavailable
from frontiergate.store.lineage import accepted
from frontiergate.store.protocol import Change, Entry, Store, StoreAccepted
from frontiergate.store.redis import RedisStore
from frontiergate.store.registry import open_store
from tests.faults.histories import CHANGES, EXPECTED, LEASE, WISHES, Follower, Past, World, check_all
from tests.fixtures.partition import Partition
from tests.fixtures.redis import RedisServer

_MACHINES = st.sampled_from([0, 1])
_LOOK = 0.25  # seconds after which a replica looks, though it heard nothing
_APPEND = b"\r\nactor\r\n"  # what only the request of an append has in it


class Ground:
    """One server for all histories of a module, and the two networks; the fixture `redis_ground` sets them."""

    server: RedisServer
    links: tuple[Partition, Partition]


def lineage() -> str:
    return Ground.server.call("HGET", "{frontiergate}:meta", "lineage") or ""


class RedisHistories(RuleBasedStateMachine):
    """Changes, partitions, lost answers, restarts of replicas."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.run = self.runner.run
        self.past = Past()
        self.now = 1000.0
        self.marks = itertools.count(1)
        self.reachable = [True, True]

    @initialize()
    def begin(self) -> None:
        for link in Ground.links:
            link.heals(late=False)
        Ground.server.call("FLUSHALL")
        self.observer = open_store(f"{Ground.server.url}?timeout=10s")
        self.run(self.observer.open())
        self.past.lineage = lineage()
        self.past.stands(self.now)
        self.followers = [
            Follower(
                f"m{number}",
                lambda link=link: self.store_behind(link),
                pathlib.Path(self.folder.name),
                lambda: self.now,
            )
            for number, link in enumerate(Ground.links)
        ]
        for number in (0, 1):
            self.restart(number)

    def store_behind(self, link: Partition) -> Store:
        url = read_store_url(f"redis://127.0.0.1:{link.port}?timeout=60ms")
        assert isinstance(url, RedisUrl)
        return RedisStore(url, monotonic=lambda: self.now)

    def observe(self, acknowledged: Entry | None = None) -> None:
        """Look past the networks."""
        self.past.grows(self.run(self.observer.entries(0)), acknowledged, lineage(), self.now)

    # -- changes

    @rule(machine=_MACHINES, change=CHANGES, expect=EXPECTED)
    def append_anything(self, machine: int, change: Change, expect: int | None) -> None:
        self.outcome_of(machine, change, expect)

    @rule(machine=_MACHINES, wishes=WISHES)
    def append(self, machine: int, wishes: list[Change]) -> None:
        change = World(self.past.log).possible(wishes)
        if change is not None:
            self.outcome_of(machine, change)

    def outcome_of(
        self, machine: int, change: Change, expect: int | None = None, crash: Callable[[], Awaitable[None]] | None = None
    ) -> Literal["made", "refused", "not made", "unknown"]:
        """What comes of a change, held against the model; `crash` happens meanwhile."""
        refusal = World(self.past.log).refusal(change, expect)
        mark = f"mark {next(self.marks)}"
        acknowledged, outcome, refused_as = None, "made", None

        async def work() -> Entry:
            appending = asyncio.create_task(self.followers[machine].store.append(change, actor="x", reason=mark, expect=expect))
            if crash is not None:
                await crash()
            return await appending

        try:
            acknowledged = self.run(work())
        except OutcomeUnknown:
            outcome = "unknown"
            self.past.unknown[self.past.lineage, mark] = change
        except StoreUnavailable:  # nothing was changed, it says: should it ever appear, nobody knows of it
            outcome = "not made"
        except (Conflict, NotFound) as error:
            outcome, refused_as = "refused", type(error)
        if outcome in {"made", "refused"}:
            assert self.reachable[machine]
            assert refused_as is refusal
        if crash is not None:
            Ground.server.start()
        event(f"{'crash: ' if crash else ''}{outcome}")
        self.observe(acknowledged)
        return outcome

    @rule(machine=_MACHINES, wishes=WISHES)
    def append_and_lose_the_answer(self, machine: int, wishes: list[Change]) -> None:
        change = World(self.past.log).possible(wishes)
        if self.reachable[machine] and change is not None:
            Ground.links[machine].traps(_APPEND, "lose the answer")
            if self.outcome_of(machine, change) == "made":  # else it took too long to arrive
                assert self.past.log[-1].change == change, "it arrived, so it is made, whatever the answer's fate"
            Ground.links[machine].heals()

    @rule(machine=_MACHINES, wishes=WISHES)
    def append_into_a_partition(self, machine: int, wishes: list[Change]) -> None:
        """It has left, and arrives when the partition is over, if its connection lasts until then."""
        change = World(self.past.log).possible(wishes)
        if self.reachable[machine] and self.past.lineage and change is not None:
            Ground.links[machine].traps(_APPEND, "hold")
            self.reachable[machine] = False
            before = len(self.past.log)
            assert self.outcome_of(machine, change) in {"unknown", "not made"}
            assert len(self.past.log) == before
            Ground.links[machine].holds()

    # -- networks

    @rule(machine=_MACHINES)
    def hold(self, machine: int) -> None:
        Ground.links[machine].holds()
        self.reachable[machine] = False

    @rule(machine=_MACHINES)
    def cut(self, machine: int) -> None:
        Ground.links[machine].cuts()
        self.reachable[machine] = False

    @rule(machine=_MACHINES)
    def break_connections(self, machine: int) -> None:
        Ground.links[machine].breaks()

    @rule(machine=_MACHINES, late=st.booleans())
    def heal(self, machine: int, late: bool) -> None:
        Ground.links[machine].heals(late)
        self.reachable[machine] = True
        Ground.server.call("PING")  # answered after what came before it
        self.observe()

    # -- replicas

    @rule(machine=_MACHINES)
    def follow(self, machine: int) -> None:
        follower = self.followers[machine]
        feed = follower.feed
        if feed is None:
            return
        before = feed.epoch, feed.policy
        self.now += _LOOK
        self.run(feed.poll())
        if not self.reachable[machine]:
            assert (feed.epoch, feed.policy) == before
            assert feed.lease.problem is not None
            return
        goes_on = follower.can_go_on_from(self.past)
        for _ in range(20):  # a machine that is busy may not answer in time
            if feed.lease.problem is None if goes_on else feed.lease.regressed:
                break
            self.run(feed.poll())
        assert feed.lease.regressed == (not goes_on), (feed.lease.problem, follower.known, self.past.log)
        if feed.lease.regressed:
            self.is_refused(follower)
            return
        follower.learns(self.past.log, self.past.lineage)
        assert feed.epoch == len(self.past.log)
        assert World(self.past.log).is_that_of(feed.policy)
        self.run(self._acknowledged(follower))

    async def _acknowledged(self, follower: Follower) -> None:
        """Its report says what it enforces."""
        assert follower.feed is not None
        async with asyncio.timeout(20):
            while True:
                reports = {report.name: report.epoch for report in await self.observer.replicas()}
                if reports.get(follower.name) == follower.feed.epoch:
                    return
                self.now += 1.0  # until its next report is due
                await follower.feed.poll()

    @rule(machine=_MACHINES)
    def restart(self, machine: int) -> None:
        follower = self.followers[machine]
        known = follower.known, follower.lineage
        reached = self.run(follower.restart())
        if not self.reachable[machine]:
            assert not reached
            if follower.feed is not None:  # what it saw before, kept beside it, and admitting nobody
                assert follower.feed.stale(self.now)
                assert World(known[0]).is_that_of(follower.feed.policy), "a restart forgets no withdrawal"
                follower.learns(*known)
            return
        for _ in range(20):
            if reached or (follower.feed is not None and follower.feed.lease.regressed):
                break
            reached = self.run(follower.restart())
        self.began_again()
        assert reached == follower.can_go_on_from(self.past)
        if reached:
            follower.learns(self.past.log, self.past.lineage)
        else:
            follower.learns(*known)
            self.is_refused(follower)

    def is_refused(self, follower: Follower) -> None:
        """The store is not believed: what was enforced stays in force, and nobody is admitted, were it only while the store is away."""
        feed = follower.feed
        assert feed is not None
        assert feed.stale(self.now)
        assert not feed.lease.servable
        assert World(follower.known).is_that_of(feed.policy)

    def began_again(self) -> None:
        """A store that was opened again; where it had been flushed, that began a new log."""

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
            for machine in (0, 1):
                self.heal(machine, late=True)
                self.follow(machine)
            if self.past.lineage:
                self.run(check_all(self.observer, self.past.log))
        finally:
            for follower in self.followers:
                self.run(follower.close())
            self.run(self.observer.close())
            self.runner.close()
            self.folder.cleanup()


class RedisSetbacks(RedisHistories):
    """The same, and the store loses what it had: FLUSHALL, or an older backup put back."""

    def __init__(self) -> None:
        super().__init__()
        self.backup: tuple[list[tuple[bytes, bytes]], list[Entry], str] | None = None

    @rule()
    def back_up(self) -> None:
        with redis.Redis(port=Ground.server.port) as client:
            kept = [(name, client.dump(name)) for name in client.keys("*") if not name.endswith((b"replicas", b"replicas:seen"))]
        self.backup = kept, list(self.past.log), self.past.lineage

    @precondition(lambda self: self.backup is not None)
    @rule()
    def restore_the_backup(self) -> None:
        assert self.backup is not None
        dumped, log, lineage = self.backup
        with redis.Redis(port=Ground.server.port) as client:
            client.flushall()
            for name, value in dumped:
                client.restore(name, 0, value)
        self.past.begins_anew(log, lineage, self.now)

    @rule(sure=st.sampled_from([True, False, False]))
    def flush(self, sure: bool) -> None:
        if sure:
            Ground.server.call("FLUSHALL")
            self.past.begins_anew([], "", self.now)

    def began_again(self) -> None:
        if not self.past.lineage:
            self.past.begins_anew([], lineage(), self.now)

    @rule()
    def accept(self) -> None:
        """An operator takes the store as it is, for all replicas that have said which log they follow."""
        self.run(self.observer.open())
        self.began_again()
        followed = [report.lineage for report in self.run(self.observer.replicas())]
        change = StoreAccepted(accepted(self.past.lineage, followed))
        entry = self.run(self.observer.append(change, actor="x", reason="accepted"))
        self.past.is_accepted(entry, lineage(), self.now)
        assert self.past.lineage == change.lineage


class RedisCrashes(RedisHistories):
    """The same, and the server is killed (-9) in the middle of an append, and started again from what is on its disk."""

    @rule(machine=_MACHINES, wishes=WISHES, turns=st.integers(0, 120))
    def crash_while_appending(self, machine: int, wishes: list[Change], turns: int) -> None:
        async def crash() -> None:
            for _ in range(turns):  # of the loop, in which the append gets ahead
                await asyncio.sleep(0)
            Ground.server.kill()

        change = World(self.past.log).possible(wishes)
        if change is not None:
            self.outcome_of(machine, change, crash=crash)
