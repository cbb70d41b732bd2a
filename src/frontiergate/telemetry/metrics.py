"""Metrics for Prometheus: names and labels are fixed (DESIGN 8); labels come from closed vocabularies, else `other`.

Several processes write one set: the supervisor sets PROMETHEUS_MULTIPROC_DIR before anything imports prometheus_client, each
process writes memory-mapped files there, and whoever answers /metrics adds them up.

Such a write costs 2.3 µs (a histogram's 3.2 µs), 9 µs for one request. So requests are counted in plain ints (0.3 µs) and written
every FLUSH seconds, when the process ends in good order, and before this process answers a scrape: a scrape is at most FLUSH
behind the other processes, a kill -9 loses at most the last FLUSH of counts. The audit log, not this, is the record.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping

import prometheus_client as prometheus
from prometheus_client import multiprocess

from frontiergate.domain.reason import Reason
from frontiergate.domain.verdict import Outcome
from frontiergate.telemetry.tally import OTHER, BatchedHistogram, Counts, Levels, Observations

FLUSH = 0.25
_NONE = "none"  # there is none to name: a request that was refused before it had a model
_VERDICTS = frozenset(outcome.name.lower() for outcome in Outcome)
_REASONS = frozenset({_NONE, *(reason.value for reason in Reason)})

# Around 1.5 µs for a memoised decision, up to what a body of many models may cost.
_DECISION = (1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2)
# From the request's last byte read to the first one written upstream.
_OVERHEAD = (2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.5, 1.0)
# P4 promises 250 ms.
_ENFORCEMENT = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_FIRST_BYTE = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Metrics:
    """One process's metrics. `configure` says which names are configured; any other counts as `other`."""

    def __init__(self, registry: prometheus.CollectorRegistry | None = None) -> None:
        self._registry = registry = registry or prometheus.CollectorRegistry()
        self._models: set[str] = {_NONE}
        self._dialects: set[str] = {_NONE}
        self._directives: set[str] = set()
        self._upstreams: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None

        def counter(name: str, text: str, labels: Iterable[str] = ()) -> prometheus.Counter:
            return prometheus.Counter(f"frontiergate_{name}", text, labels, registry=registry)

        def level(name: str, text: str, labels: Iterable[str] = ()) -> prometheus.Gauge:
            return prometheus.Gauge(f"frontiergate_{name}", text, labels, registry=registry, multiprocess_mode="livesum")

        def worst(name: str, text: str) -> prometheus.Gauge:
            return prometheus.Gauge(f"frontiergate_{name}", text, registry=registry, multiprocess_mode="livemax")

        def histogram(name: str, text: str, buckets: Iterable[float], labels: Iterable[str] = ()) -> BatchedHistogram:
            return BatchedHistogram(f"frontiergate_{name}", text, labels, registry=registry, buckets=tuple(buckets))

        self._requests = Counts(
            counter("requests_total", "Requests by what became of them.", ("model", "dialect", "verdict", "reason")),
            (self._models, self._dialects, _VERDICTS, _REASONS),
        )
        self._severed = Counts(
            counter("severed_sessions_total", "Live sessions ended because the policy changed.", ("model", "reason")),
            (self._models, _REASONS),
        )
        self._observed = Counts(
            counter("observed_violations_total", "Requests that a directive in mode observe would not have admitted.", ("directive",)),
            (self._directives,),
        )
        self._sessions = Levels(level("live_sessions", "Admitted exchanges that are alive.", ("model",)), (self._models,))
        self._upstream_connections = Levels(
            level("upstream_connections", "Connections to upstreams, idle ones included.", ("upstream",)), (self._upstreams,)
        )
        self._client_connections = level("client_connections", "Connections of callers.")
        self._decision = Observations(histogram("decision_seconds", "Time to decide one request.", _DECISION))
        self._overhead = Observations(
            histogram("overhead_seconds", "Time from a request read to the first byte written upstream.", _OVERHEAD)
        )
        self._first_byte = histogram(
            "upstream_first_byte_seconds", "Time that an upstream took to begin its answer.", _FIRST_BYTE, ("upstream",)
        )
        self._first_bytes: dict[str, Observations] = {}
        self._enforcement = histogram(
            "enforcement_seconds", "Time from a change appended to the policy log until a worker enforces it.", _ENFORCEMENT
        )
        self._epoch: prometheus.Gauge | None = None
        self._lag = worst("replica_lag_seconds", "Longest time since a live worker confirmed its policy.")
        self._stale = level("stale_replicas", "Live workers that refuse gated traffic, as they cannot rely on their policy or clock.")
        self._clock_offset = worst("clock_offset_seconds", "Furthest that a live worker's clock is from the store's.")
        self._geoip_age = worst("geoip_age_seconds", "Age of the oldest GeoIP database in use.")
        self._reloads = counter("config_reloads_total", "Reloads of the configuration.", ("result",))
        self._audit_dropped = counter("audit_dropped_total", "Audit records lost because they could not be written.")
        self._batched: tuple[Counts | Levels | Observations, ...] = (
            self._requests,
            self._severed,
            self._observed,
            self._sessions,
            self._upstream_connections,
            self._decision,
            self._overhead,
        )
        # Bound once: these are called for every request.
        self.decision_seconds: Callable[[float], None] = self._decision.add
        self.overhead_seconds: Callable[[float], None] = self._overhead.add

    def configure(
        self,
        *,
        models: Iterable[str] = (),
        dialects: Iterable[str] = (),
        directives: Iterable[str] = (),
        upstreams: Iterable[str] = (),
    ) -> None:
        """These names may be labels from now on, besides those named before."""
        self._models.update(models)
        self._dialects.update(dialects)
        self._directives.update(directives)
        self._upstreams.update(upstreams)

    def request(self, model: str, dialect: str, verdict: str, reason: str | None) -> None:
        self._requests.add((model, dialect, verdict, reason or _NONE))

    def severed(self, model: str, reason: str) -> None:
        self._severed.add((model, reason))

    def observed_violation(self, directive: str) -> None:
        self._observed.add((directive,))

    def live_sessions(self, by_model: Mapping[str, int]) -> None:
        self._sessions.replace(by_model)

    def upstream_connections(self, by_upstream: Mapping[str, int]) -> None:
        self._upstream_connections.replace(by_upstream)

    def client_connections(self, number: int) -> None:
        self._client_connections.set(number)

    def upstream_seconds(self, upstream: str, seconds: float) -> None:
        """How long `upstream` took to begin its answer."""
        try:
            self._first_bytes[upstream].add(seconds)
        except KeyError:
            label = upstream if upstream in self._upstreams else OTHER
            if label not in self._first_bytes:
                self._first_bytes[label] = Observations(self._first_byte.labels(label))
            self._first_bytes[label].add(seconds)

    def enforcement_seconds(self, seconds: float) -> None:
        self._enforcement.observe(seconds)

    def policy_epoch(self, epoch: int) -> None:
        """Made when first set: a process without a policy must not pull the least of all down to 0."""
        if self._epoch is None:
            self._epoch = prometheus.Gauge(
                "frontiergate_policy_epoch",
                "The epoch that every live worker enforces at least.",
                registry=self._registry,
                multiprocess_mode="livemin",
            )
        self._epoch.set(epoch)

    def replica(self, *, lag: float, stale: bool, clock_offset: float) -> None:
        """How well this worker knows the policy: seconds since it was confirmed, whether it refuses, how far off its clock is."""
        self._lag.set(lag)
        self._stale.set(stale)
        self._clock_offset.set(abs(clock_offset))

    def geoip_age(self, seconds: float) -> None:
        self._geoip_age.set(seconds)

    def config_reload(self, ok: bool) -> None:
        self._reloads.labels("ok" if ok else "failed").inc()

    def audit_dropped(self, records: int) -> None:
        self._audit_dropped.inc(records)

    def start(self) -> None:
        """Flush every FLUSH seconds on the running loop."""
        self.flush()
        self._timer = asyncio.get_running_loop().call_later(FLUSH, self.start)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.flush()

    def flush(self) -> None:
        """Write what was counted since the last time to where a scrape finds it."""
        for batch in self._batched:
            batch.flush()
        for observations in self._first_bytes.values():
            observations.flush()

    def exposition(self) -> tuple[bytes, str]:
        """The body of /metrics and its content type: of all processes where there are several, else of this one."""
        return prometheus.generate_latest(self._everyone()), prometheus.CONTENT_TYPE_LATEST

    def live_sessions_by_model(self) -> dict[str, int]:
        """Over all processes."""
        return {
            sample.labels["model"]: int(sample.value)
            for family in self._everyone().collect()
            if family.name == "frontiergate_live_sessions"
            for sample in family.samples
        }

    def _everyone(self) -> prometheus.CollectorRegistry:
        self.flush()
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return self._registry
        registry = prometheus.CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return registry


def forget_process(pid: int, directory: str) -> None:
    """A process that wrote to `directory` ended: its levels (sessions, connections) end with it, its counts stay."""
    multiprocess.mark_process_dead(pid, directory)  # type: ignore[no-untyped-call]
