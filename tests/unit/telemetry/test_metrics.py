"""Metrics: names, labels from closed vocabularies, exact over processes."""

import asyncio
import os
import pathlib
import re
import subprocess
import sys

import prometheus_client as prometheus
import pytest

from frontiergate.telemetry.metrics import Metrics
from frontiergate.telemetry.tally import BatchedHistogram, Observations


def values(metrics: Metrics) -> dict[str, float]:
    return read(metrics.exposition()[0])


def read(exposition: bytes) -> dict[str, float]:
    lines = (line for line in exposition.decode().splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def configured() -> Metrics:
    metrics = Metrics()
    metrics.configure(models=["openai/gpt"], dialects=["openai"], directives=["is-2026-014"], upstreams=["openai"])
    return metrics


def test_requests_are_counted_by_what_became_of_them() -> None:
    metrics = configured()
    for _ in range(3):
        metrics.request("openai/gpt", "openai", "forward", None)
    metrics.request("openai/gpt", "openai", "refuse", "policy_nationality")
    first = values(metrics)
    metrics.request("openai/gpt", "openai", "forward", None)
    assert first['frontiergate_requests_total{dialect="openai",model="openai/gpt",reason="none",verdict="forward"}'] == 3
    assert first['frontiergate_requests_total{dialect="openai",model="openai/gpt",reason="policy_nationality",verdict="refuse"}'] == 1
    assert values(metrics)['frontiergate_requests_total{dialect="openai",model="openai/gpt",reason="none",verdict="forward"}'] == 4


def test_no_caller_can_make_a_series() -> None:
    metrics = configured()
    for n in range(1000):
        metrics.request(f"model-{n}", f"dialect-{n}", f"verdict-{n}", f"reason-{n}")
        metrics.severed(f"model-{n}", f"reason-{n}")
        metrics.observed_violation(f"directive-{n}")
        metrics.upstream_seconds(f"upstream-{n}", 0.1)
    metrics.live_sessions({f"model-{n}": 1 for n in range(1000)})
    metrics.upstream_connections({f"upstream-{n}": 1 for n in range(1000)})
    found = values(metrics)
    assert found['frontiergate_requests_total{dialect="other",model="other",reason="other",verdict="other"}'] == 1000
    assert found['frontiergate_live_sessions{model="other"}'] == 1000
    assert found['frontiergate_upstream_first_byte_seconds_count{upstream="other"}'] == 1000
    assert len([name for name in found if name.startswith("frontiergate_requests_total")]) == 1
    assert len(found) < 200


def test_what_there_is_none_of_is_none_not_other() -> None:
    metrics = Metrics()
    metrics.request("none", "none", "refuse", "caller_operation_unknown")
    assert (
        values(metrics)['frontiergate_requests_total{dialect="none",model="none",reason="caller_operation_unknown",verdict="refuse"}'] == 1
    )


def test_levels_go_up_and_down() -> None:
    metrics = configured()
    metrics.live_sessions({"openai/gpt": 2})
    metrics.client_connections(5)
    metrics.upstream_connections({"openai": 2})
    assert metrics.live_sessions_by_model() == {"openai/gpt": 2}
    metrics.live_sessions({})
    found = values(metrics)
    assert found['frontiergate_live_sessions{model="openai/gpt"}'] == 0
    assert found["frontiergate_client_connections"] == 5
    assert found['frontiergate_upstream_connections{upstream="openai"}'] == 2


def test_the_rest_is_there_by_its_fixed_name() -> None:
    metrics = configured()
    metrics.severed("openai/gpt", "policy_withdrawn")
    metrics.observed_violation("is-2026-014")
    metrics.decision_seconds(1.4e-6)
    metrics.overhead_seconds(9e-5)
    metrics.upstream_seconds("openai", 0.3)
    metrics.upstream_seconds("openai", 0.4)
    metrics.enforcement_seconds(0.04)
    assert "frontiergate_policy_epoch" not in values(metrics)
    metrics.policy_epoch(811)
    metrics.policy_epoch(812)
    metrics.replica(lag=0.02, stale=True, clock_offset=-1.5)
    metrics.geoip_age(86400)
    metrics.config_reload(ok=True)
    metrics.config_reload(ok=False)
    metrics.audit_dropped(2)
    found = values(metrics)
    assert found['frontiergate_severed_sessions_total{model="openai/gpt",reason="policy_withdrawn"}'] == 1
    assert found['frontiergate_observed_violations_total{directive="is-2026-014"}'] == 1
    assert found['frontiergate_decision_seconds_bucket{le="1e-06"}'] == 0
    assert found['frontiergate_decision_seconds_bucket{le="2e-06"}'] == 1
    assert found["frontiergate_overhead_seconds_sum"] == pytest.approx(9e-5)
    assert found['frontiergate_upstream_first_byte_seconds_sum{upstream="openai"}'] == pytest.approx(0.7)
    assert found['frontiergate_enforcement_seconds_bucket{le="0.05"}'] == 1
    assert found["frontiergate_policy_epoch"] == 812
    assert found["frontiergate_replica_lag_seconds"] == 0.02
    assert found["frontiergate_stale_replicas"] == 1
    assert found["frontiergate_clock_offset_seconds"] == 1.5
    assert found["frontiergate_geoip_age_seconds"] == 86400
    assert found['frontiergate_config_reloads_total{result="ok"}'] == 1
    assert found['frontiergate_config_reloads_total{result="failed"}'] == 1
    assert found["frontiergate_audit_dropped_total"] == 2


def test_a_batch_leaves_a_histogram_as_single_observations_do() -> None:
    registries = prometheus.CollectorRegistry(), prometheus.CollectorRegistry()
    single = prometheus.Histogram("h", "text", buckets=(1, 2, 5), registry=registries[0])
    batched = BatchedHistogram("h", "text", buckets=(1, 2, 5), registry=registries[1])
    observations = Observations(batched)
    for seconds in (0, 1, 1.5, 2, 2.1, 5, 6, 7):
        single.observe(seconds)
        observations.add(seconds)
        if seconds == 2:
            observations.flush()
    observations.flush()
    observations.flush()
    texts = [re.sub(r"(?m)^.*h_created.*$", "", prometheus.generate_latest(registry).decode()) for registry in registries]
    assert texts[0] == texts[1]


def test_started_metrics_are_flushed_by_the_loop_and_at_the_end() -> None:
    registry = prometheus.CollectorRegistry()
    metrics = Metrics(registry)

    async def main() -> None:
        metrics.start()
        metrics.client_connections(1)
        metrics.stop()
        metrics.stop()

    asyncio.run(main())
    assert registry.get_sample_value("frontiergate_client_connections") == 1


_PROCESS = """
import os, signal, sys
from frontiergate.telemetry.metrics import Metrics
metrics = Metrics()
metrics.configure(models=["m"], dialects=["openai"])
for _ in range(int(sys.argv[1])):
    metrics.request("m", "openai", "forward", None)
    metrics.decision_seconds(1e-6)
metrics.live_sessions({"m": int(sys.argv[1])})
metrics.policy_epoch(int(sys.argv[2]))
metrics.flush()
print("ready", flush=True)
sys.stdin.read()
"""

_SCRAPE = """
import os, sys
from frontiergate.telemetry.metrics import Metrics, forget_process
for pid in sys.argv[1:]:
    forget_process(int(pid), os.environ["PROMETHEUS_MULTIPROC_DIR"])
metrics = Metrics()
print(metrics.live_sessions_by_model())
sys.stdout.flush()
sys.stdout.buffer.write(metrics.exposition()[0])
"""


def test_several_processes_make_one_exact_exposition_and_a_dead_ones_levels_go(tmp_path: pathlib.Path) -> None:
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}

    def start(*arguments: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([sys.executable, "-c", _PROCESS, *arguments], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def scrape(*dead: int) -> tuple[str, dict[str, float]]:
        command = [sys.executable, "-c", _SCRAPE, *map(str, dead)]
        sessions, _, text = subprocess.run(command, env=environ, check=True, capture_output=True).stdout.partition(b"\n")
        return sessions.decode(), read(text)

    with start("3", "7") as one, start("4", "9") as two:
        for process in (one, two):
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
        sessions, found = scrape()
        one.kill()
        one.wait()
        two.communicate()
    requests = 'frontiergate_requests_total{dialect="openai",model="m",reason="none",verdict="forward"}'
    assert sessions == "{'m': 7}"
    assert found[requests] == 7
    assert found["frontiergate_decision_seconds_count"] == 7
    assert found["frontiergate_policy_epoch"] == 7, "the least, and not the 0 of the process that answers"
    sessions, found = scrape(one.pid)
    assert sessions == "{'m': 4}"
    assert found[requests] == 7
    assert found["frontiergate_policy_epoch"] == 9
