"""Added latency: what the gate adds over nginx at the same rate of arrivals, open loop.

nginx's capacity is measured first (wrk, closed loop); then both get Poisson arrivals at half of it, and once more at half of the
gate's own capacity. All candidates run at once but only one is loaded at a time, in interleaved rounds with the same arrivals.
Quantiles are medians over rounds; "added" is the difference to nginx within a round. CPU at the same rate is counted too: a saturated
nginx finds its peers awake, a slower proxy must wake them, and pays for it.

usage: python -m bench.latency [--rounds 3] [--seconds 4]
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from bench.candidates import plain
from bench.candidates.gate import gate
from bench.figures import Figure, measured
from bench.machine import LOAD_CORE, BenchError, median, progress
from bench.running import Running, running, upstream
from bench.world import World
from bench.wrk import load, script

_CONNECTIONS = 64
_CANDIDATES = (plain.NGINX, gate())


class Latency(msgspec.Struct, frozen=True):
    """Of one candidate at one rate in one round, µs."""

    requests: int
    p50_us: float
    p99_us: float
    cpu_us: float = 0.0  # of the candidate, a request


def open_loop(run: Running, rate: float, seconds: float, seed: int) -> Latency:
    """One round. Raises BenchError where an answer was wrong or missing."""
    world = run.world
    path = world.directory / f"{run.candidate.name}.http"
    fields = {"host": f"127.0.0.1:{run.port}", "content-type": "application/json", **run.setup.headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    path.write_bytes(f"POST /v1/chat/completions HTTP/1.1\r\n{head}content-length: {len(world.request)}\r\n\r\n".encode() + world.request)
    argv = ["taskset", "-c", str(LOAD_CORE), sys.executable, "-m", "bench.openloop", str(run.port), str(path), world.answer[-12:].decode()]
    argv += ["--rate", str(rate), "--seconds", str(seconds), "--connections", str(_CONNECTIONS), "--seed", str(seed)]
    before = run.processes.cpu().total
    ran = subprocess.run(argv, capture_output=True, text=True, check=False)
    used = run.processes.cpu().total - before
    if ran.returncode:
        raise BenchError(f"{run.candidate.name} at {rate:.0f}/s: {ran.stderr[-1000:]}")
    seen = msgspec.convert(json.loads(ran.stdout), Latency)
    return msgspec.structs.replace(seen, cpu_us=used * 1e6 / seen.requests)


def at_rate(runs: dict[str, Running], rate: float, rounds: int, seconds: float) -> dict[str, Figure]:
    """Quantiles of each, and what the gate adds."""
    seen: dict[str, list[Latency]] = {name: [] for name in runs}
    for number in range(rounds):
        for name, run in runs.items():
            seen[name].append(open_loop(run, rate, seconds, number))
            progress(f"{rate:.0f}/s, round {number + 1}: {name} p50 {seen[name][-1].p50_us:.0f} µs, p99 {seen[name][-1].p99_us:.0f} µs")
    found: dict[str, Figure] = {"rate_rps": rate}
    for quantile in ("p50", "p99"):
        values = {name: [getattr(one, f"{quantile}_us") for one in taken] for name, taken in seen.items()}
        found |= {f"{name}_{quantile}_us": median(taken) for name, taken in values.items()}
        found[f"added_{quantile}_ms"] = median(ours - theirs for ours, theirs in zip(values["gate"], values["nginx"], strict=True)) / 1e3
    found |= {f"{name}_cpu_us": median(one.cpu_us for one in taken) for name, taken in seen.items()}
    found["gated_cpu_vs_nginx"] = median(ours.cpu_us / theirs.cpu_us for ours, theirs in zip(seen["gate"], seen["nginx"], strict=True))
    return found


def measure(rounds: int, seconds: float) -> dict[str, Figure]:
    """Both rates."""
    with contextlib.ExitStack() as stack:
        world = World(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="frontiergate-bench-"))))
        stack.enter_context(upstream(world))
        runs = {candidate.name: stack.enter_context(running(world, candidate)) for candidate in _CANDIDATES}
        capacity: dict[str, float] = {}
        for name, run in runs.items():
            lua = script(world.directory / f"{name}.lua", world.request, run.setup.headers)
            load(run.port, lua, 1, _CONNECTIONS)
            capacity[name] = load(run.port, lua, seconds, _CONNECTIONS).rate
        found: dict[str, Figure] = {f"{name}_capacity_rps": rate for name, rate in capacity.items()}
        of_nginx = at_rate(runs, capacity["nginx"] / 2, rounds, seconds)
        of_gate = at_rate(runs, capacity["gate"] / 2, rounds, seconds)
        for run in runs.values():
            run.prove()
    return found | of_nginx | {f"at_half_of_gate_{name}": value for name, value in of_gate.items()}


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.latency", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4)
    given = parser.parse_args()
    settings: dict[str, Figure] = {"rounds": given.rounds, "seconds": given.seconds, "connections": _CONNECTIONS}
    return measured("latency", lambda: measure(given.rounds, given.seconds), settings)


if __name__ == "__main__":
    sys.exit(main())
