"""What one operation on the shared store costs: the server's CPU, the replica's CPU, bytes. The real store against a real server.

Each runs many times in turn on one connection, as it does at a replica; what many replicas ask also from many connections at once (see
`crowd`). The server's CPU is what Redis says of itself (INFO), the replica's that of its event loop's thread.
"""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from bench.machine import BenchError
from bench.redisserver import Redis
from bench.scale.decisions import catalogue_of, grant_of, made
from bench.sharing import crowd
from frontiergate.domain.directive import Directive
from frontiergate.domain.groups import resolve_groups
from frontiergate.domain.policy import Policy
from frontiergate.store.compiled import Compiler
from frontiergate.store.feed import Feed
from frontiergate.store.protocol import DirectiveAdded, DirectiveLifted, Enforced, Entry, GrantIssued, PolicyState, ReplicaReport, Store
from frontiergate.store.redis import RedisStore
from frontiergate.store.redis_ear import Ear
from frontiergate.store.registry import open_store
from frontiergate.store.reporter import Replica

DIRECTIVES = 100  # in force meanwhile
_MODELS = 10
_WARM = 20
_PATIENCE = 60.0  # seconds


class Cost(msgspec.Struct, frozen=True):
    """Of one operation: seconds of CPU, of the server as one of many at once and `alone`; bytes that the server gets, and that it sends."""

    server: float
    alone: float
    replica: float
    received: float
    sent: float

    def figures(self, name: str) -> dict[str, float]:
        return {
            f"{name}_server_us": self.server * 1e6,
            f"{name}_alone_us": self.alone * 1e6,
            f"{name}_replica_us": self.replica * 1e6,
            f"{name}_bytes": self.received + self.sent,
        }


class Costs(msgspec.Struct, frozen=True):
    """Of all that a replica asks, and of a wake-up for each who listens. `report_of_all` is one report read among all of them."""

    append: Cost
    wake: Cost
    position: Cost
    entries: Cost
    report: Cost
    report_of_all: Cost
    grants_of: Cost
    start: Cost  # a replica that comes anew
    change: float  # the replica's own CPU from a wake-up heard until it has reported, in seconds

    def figures(self) -> dict[str, float]:
        found = {"unit_change_replica_us": self.change * 1e6}
        for name in self.__struct_fields__:
            cost = getattr(self, name)
            if isinstance(cost, Cost):
                found |= cost.figures(f"unit_{name}")
        return found


async def cost_of(server: Redis, times: int, work: Callable[[int], Awaitable[object]]) -> Cost:
    """The mean over `times`, warm."""
    for number in range(_WARM):
        await work(number)
    gc.collect()
    used, thread = server.usage(), time.thread_time()
    for number in range(_WARM, _WARM + times):
        await work(number)
    spent = time.thread_time() - thread
    more = server.usage() - used
    return Cost(more.cpu / times, more.cpu / times, spent / times, more.received / times, more.sent / times)


async def asked_by_many(server: Redis, times: int, ask: Callable[[Store], Awaitable[object]]) -> Cost:
    """Of a question that changes nothing which it is answered by."""
    store = redis_store(server)
    await store.open()
    alone = await cost_of(server, times, lambda _: ask(store))
    await store.close()
    question = await crowd.recorded(server, ask)
    together = await asyncio.to_thread(crowd.busy, server, [question], max(times // 50, 1))
    return msgspec.structs.replace(alone, server=together)


def redis_store(server: Redis) -> RedisStore:
    store = open_store(server.url)
    assert isinstance(store, RedisStore)
    return store


def report_of(name: str, epoch: int) -> ReplicaReport:
    """As a worker's."""
    at = time.time()
    return ReplicaReport(
        name=name,
        instance="0123456789abcdef",
        version="0.1.0",
        enforced=tuple(Enforced(epoch - 7 + each, at, 0) for each in range(8)),
        heartbeat=at,
        live_sessions=1000,
        config="0123456789ab",
        lineage="0123456789abcdef",
    )


class Changes:
    """An operator who adds a directive and lifts it again, in turn."""

    def __init__(self, store: RedisStore, directive: Directive) -> None:
        self._store = store
        self._directive = directive
        self._in_force = False

    async def make(self) -> Entry:
        change = DirectiveLifted(self._directive.id) if self._in_force else DirectiveAdded(self._directive)
        self._in_force = not self._in_force
        return await self._store.append(change, actor="bench", reason="bench")


async def measured(server: Redis, times: int, replicas: int) -> Costs:
    """All of them but `grants_of` from a store of many grants, with `replicas` that report and listen."""
    store = redis_store(server)
    await store.open()
    directives = made(DIRECTIVES + 1, _MODELS - 1)
    for directive in directives[:-1]:
        await store.append(DirectiveAdded(directive), actor="bench", reason="bench")
    await store.append(GrantIssued(grant_of("p", time.time())), actor="bench", reason="bench")
    changes = Changes(store, directives[-1])
    append = await cost_of(server, times, lambda _: changes.make())
    head = await store.head()
    position = await asked_by_many(server, times, lambda store: store.bearing())
    entries = await asked_by_many(server, times, lambda store: store.entries(head - 2, 500))
    for number in range(replicas):
        await store.report(report_of(f"host-{number}/0", head))
    report = await asked_by_many(server, times, lambda store: store.report(report_of("host-0/0", head)))
    of_all = await asked_by_many(server, max(times // 50, 1), lambda store: store.replicas())
    grants_of = await asked_by_many(server, times, lambda store: store.grants_of("p"))
    wake = await _wake(server, store, max(times // 50, 1), replicas)
    start = await cost_of(server, max(times // 20, 1), lambda number: _start(server, number))
    change = await _change(server, changes, max(times // 20, 1))
    await store.close()
    each = Cost(*(getattr(of_all, name) / replicas for name in of_all.__struct_fields__))
    return Costs(append, wake, position, entries, report, each, grants_of, start, change)


async def _wake(server: Redis, store: RedisStore, messages: int, listeners: int) -> Cost:
    """A message, for each who hears it: what it costs with all of them, less what it costs with none."""
    channel = store._keys.changed
    alone = await cost_of(server, messages, lambda number: asyncio.to_thread(server.call, "PUBLISH", channel, number))
    ears = [Ear(store._link.connection, channel) for _ in range(listeners)]
    for ear in ears:
        ear.start()
    await _until(lambda: all(ear.listening for ear in ears))

    async def heard_by_all(number: int) -> None:
        for ear in ears:
            ear.heard()  # what it heard before does not count
        deaf = set(ears)
        server.call("PUBLISH", channel, number)
        async with asyncio.timeout(_PATIENCE):
            while deaf:
                await asyncio.sleep(0.005)
                deaf = {ear for ear in deaf if not ear.heard()}

    together = await cost_of(server, messages, heard_by_all)
    for ear in ears:
        await ear.close()
    each = (together.server - alone.server) / listeners
    return Cost(
        server=each,
        alone=each,
        replica=together.replica / listeners,
        received=0,
        sent=(together.sent - alone.sent) / listeners,
    )


async def _start(server: Redis, number: int) -> None:
    """What a replica does once, when it starts."""
    store = redis_store(server)
    await store.open()
    state = await store.state()
    await store.entries(state.epoch - 1, 1)
    await store.report(report_of(f"host-{number}/0", state.epoch))
    await store.close()


class _Follower:
    """A replica's feed on the shared store, compiling for real, without live sessions."""

    def __init__(self, server: Redis) -> None:
        self._catalogue, self._groups, self._compiler = catalogue_of(_MODELS), resolve_groups({}), Compiler()
        self.store = redis_store(server)
        replica = Replica(name="bench/0", instance="b", version="0", config=lambda: "", live_sessions=lambda: 0)
        self.feed: Feed[Policy] = Feed(self.store, self._compile, self._take, self._enforce, replica, lease=5.0)
        self.feed._reporter._heartbeat = 1e9

    async def _compile(self, state: PolicyState) -> Policy:
        return await self._compiler.compile(self._catalogue, (), self._groups, state)

    def _take(self, policy: Policy, entries: Sequence[Entry] | None) -> None:
        """Nobody else is here."""

    async def _enforce(self) -> int:
        return 0


async def _change(server: Redis, changes: Changes, times: int) -> float:
    """Seconds of CPU from the poll that notices a change until it is reported."""
    follower = _Follower(server)
    feed = follower.feed
    ear = follower.store._ear
    await feed.start()
    await feed.poll()
    await _until(lambda: ear.listening)
    await feed.poll()
    spent = 0.0
    for _ in range(times):
        entry = await changes.make()
        await _until(lambda: ear._heard)
        thread = time.thread_time()
        await feed.poll()
        spent += time.thread_time() - thread
        if feed.epoch != entry.epoch:
            raise BenchError(f"epoch {entry.epoch} was not taken")
    await feed.stop()
    await follower.store.close()
    return spent / times


async def _until(condition: Callable[[], bool]) -> None:
    """Returns once `condition` holds; an ear tells nobody that it heard."""
    async with asyncio.timeout(_PATIENCE):
        while True:
            if condition():
                return
            await asyncio.sleep(0.005)
