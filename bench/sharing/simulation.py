"""A discrete simulation of replicas that follow one Redis, from unit costs. Seeded; nothing here is measured.

The server does one thing at a time, in the order in which things arrive. Replicas behave as `store.feed` and `store.redis` have them: a
look for something to do every 10 ms; a question for the log's head after a wake-up, and otherwise every 200 ms; then the entries, the
policy, a report; a heartbeat a second after the last report. Look-ups of grants and changes come at random instants (Poisson). A probe
of readiness for each gate asks for the head and all reports.
"""

import heapq
import math
import random
from collections import defaultdict

import msgspec

from bench.machine import quantile

POLL = 0.01  # seconds, as in store.feed
LOOK = 0.2  # as in store.redis
HEARTBEAT = 1.0
WORKERS = 4  # replicas of one gate
READINESS = 10.0  # seconds between two probes of one gate
_NEVER = math.inf
_WARM = 2.0  # simulated seconds that do not count


class Times(msgspec.Struct, frozen=True):
    """Seconds of the server for each kind of question; of a replica for a change, and on the way between them, one way."""

    append: float
    wake: float
    position: float
    entries: float
    report: float
    report_of_all: float
    grants_of: float
    change: float
    way: float = 0.00025


class Load(msgspec.Struct, frozen=True):
    """How many replicas, changes a second, look-ups of grants a second of each replica."""

    replicas: float
    changes: float
    look_ups: float


class Outcome(msgspec.Struct, frozen=True):
    """Utilisation of the server; the share of it by kind; seconds from append to enforced, and of waiting for a look-up."""

    utilisation: float
    shares: dict[str, float]
    enforced_p50: float
    enforced_p99: float
    enforced_max: float
    look_up_p99: float


class _Server:
    """One thing at a time, first come, first served."""

    def __init__(self) -> None:
        self.free_at = 0.0
        self.busy: defaultdict[str, float] = defaultdict(float)

    def serve(self, kind: str, arrives: float, takes: float) -> float:
        """When it is done."""
        begins = self.free_at if self.free_at > arrives else arrives
        self.free_at = begins + takes
        if arrives >= _WARM:
            self.busy[kind] += takes
        return self.free_at


class _Replica:
    """Where one is in its round. `turn` tells an appointment that was superseded."""

    __slots__ = ("base", "epoch", "heard_at", "heard_last", "look_at", "report_at", "resting", "target", "turn")

    def __init__(self, phase: float) -> None:
        self.base = phase * POLL
        self.look_at = phase * LOOK
        self.report_at = phase * HEARTBEAT
        self.heard_at = _NEVER  # the first message that it has not acted on; and the last that is on its way or there
        self.heard_last = 0.0
        self.epoch = 0
        self.target = 0
        self.turn = 0
        self.resting = True

    def next_poll(self) -> float:
        """The first of its polls that finds something to do."""
        due = min(self.heard_at, self.look_at, self.report_at)
        if due <= self.base:
            return self.base
        return self.base + POLL * math.ceil((due - self.base) / POLL)


class Simulation:
    """`run` plays `seconds` after the first two."""

    def __init__(self, times: Times, load: Load, seed: int = 1) -> None:
        self._times = times
        self._load = load
        self._chance = random.Random(seed)
        self._server = _Server()
        self._replicas = [_Replica(self._chance.random()) for _ in range(round(load.replicas))]
        self._due: list[tuple[float, int, str, int]] = []  # when, in which order, what, of whom (a replica, or its turn too)
        self._order = 0
        self._head = 0
        self._appended = [0.0]  # by epoch
        self._enforced: list[float] = []
        self._look_ups: list[float] = []

    def run(self, seconds: float) -> Outcome:
        load, end = self._load, _WARM + seconds
        for number, replica in enumerate(self._replicas):
            self._rest(number, replica.base)
        arrivals = {
            "append": load.changes,
            "grants_of": load.look_ups * load.replicas,
            "readiness": load.replicas / WORKERS / READINESS,
        }
        for kind, rate in arrivals.items():
            if rate:
                self._at(self._chance.expovariate(rate), kind, 0)
        while self._due and self._due[0][0] < end:
            at, _, kind, whom = heapq.heappop(self._due)
            if kind in arrivals:
                self._at(at + self._chance.expovariate(arrivals[kind]), kind, 0)
                self._arrived(kind, at)
            else:
                self._step(kind, at, whom)
        return self._outcome(seconds)

    def _arrived(self, kind: str, at: float) -> None:
        times, server = self._times, self._server
        if kind == "append":
            self._append(at)
        elif kind == "grants_of":
            done = server.serve(kind, at, times.grants_of)
            if at >= _WARM:
                self._look_ups.append(done - at + 2 * times.way)
        else:
            server.serve(kind, at, times.position + times.report_of_all * self._load.replicas)

    def _append(self, at: float) -> None:
        """The script, and a message to each who listens; they go out together when it is over."""
        self._server.serve("append", at, self._times.append)
        done = self._server.serve("wake", at, self._times.wake * self._load.replicas)
        self._head += 1
        self._appended.append(at)
        heard_at = done + self._times.way
        for number, replica in enumerate(self._replicas):
            replica.heard_last = heard_at
            if replica.heard_at == _NEVER:
                replica.heard_at = heard_at
                if replica.resting:
                    self._rest(number, replica.base)

    def _rest(self, number: int, base: float) -> None:
        """Until the next poll that finds something to do."""
        replica = self._replicas[number]
        replica.base, replica.resting = base, True
        replica.turn += 1
        self._at(replica.next_poll(), "poll", replica.turn * len(self._replicas) + number)

    def _step(self, kind: str, at: float, whom: int) -> None:
        """One replica goes on."""
        turn, number = divmod(whom, len(self._replicas))
        replica, times = self._replicas[number], self._times
        if kind == "poll":
            if turn == replica.turn:
                self._poll(number, at)
        elif kind == "position":  # the question arrives at the server
            done = self._server.serve(kind, at, times.position)
            replica.target = self._head
            if replica.target > replica.epoch:
                self._at(done + 2 * times.way, "entries", number)
            else:
                self._report_if_due(number, done + times.way)
        elif kind == "entries":
            done = self._server.serve(kind, at, times.entries)
            self._at(done + times.way + times.change, "enforced", number)
        elif kind == "enforced":
            self._enforced += [at - self._appended[epoch] for epoch in range(replica.epoch + 1, replica.target + 1) if at >= _WARM]
            replica.epoch = replica.target
            self._at(at + times.way, "report", number)
        else:
            done = self._server.serve(kind, at, times.report)
            replica.report_at = done + times.way + HEARTBEAT
            self._rest(number, done + times.way + POLL)

    def _poll(self, number: int, at: float) -> None:
        replica = self._replicas[number]
        replica.resting = False
        if replica.heard_at <= at or replica.look_at <= at:
            if replica.heard_at <= at:
                replica.heard_at = _NEVER if replica.heard_last <= at else replica.heard_last
            replica.look_at = at + LOOK
            self._at(at + self._times.way, "position", number)
        else:
            self._report_if_due(number, at)

    def _report_if_due(self, number: int, at: float) -> None:
        if self._replicas[number].report_at <= at:
            self._at(at + self._times.way, "report", number)
        else:
            self._rest(number, at + POLL)

    def _at(self, when: float, what: str, whom: int) -> None:
        self._order += 1
        heapq.heappush(self._due, (when, self._order, what, whom))

    def _outcome(self, seconds: float) -> Outcome:
        busy = {kind: spent / seconds for kind, spent in self._server.busy.items()}
        late = self._behind(_WARM + seconds)
        enforced, look_ups = sorted(self._enforced + late) or [0.0], sorted(self._look_ups) or [0.0]
        return Outcome(
            utilisation=min(1.0, sum(busy.values())),  # a queue that only grows counts what is not done yet
            shares=busy,
            enforced_p50=quantile(enforced, 0.5),
            enforced_p99=quantile(enforced, 0.99),
            enforced_max=enforced[-1],
            look_up_p99=quantile(look_ups, 0.99),
        )

    def _behind(self, end: float) -> list[float]:
        """What is not enforced yet in the end counts as enforced then, so that one who never gets there is not left out."""
        return [
            end - self._appended[epoch]
            for replica in self._replicas
            for epoch in range(replica.epoch + 1, self._head + 1)
            if end - self._appended[epoch] > LOOK
        ]
