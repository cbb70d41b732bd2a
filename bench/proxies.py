"""CPU per request: the same work through each proxy, in interleaved rounds, so that a change of the machine's speed meets them all.

The proxy is alone on one core; wrk and the upstream share another. CPU is that of the proxy's whole process tree, from /proc. A round
starts each candidate afresh, proves that it answers and refuses, warms it, loads it, and proves it again. Ratios are medians over
rounds of the ratio within a round.

usage: python -m bench.proxies [--peers] [--rounds 5] [--seconds 3] [--connections 32]
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.candidates import envoy, gateways, plain
from bench.candidates.candidate import Candidate
from bench.candidates.gate import INTERPRETED, Admitted, gate
from bench.figures import Figure, measured
from bench.machine import median, progress, raise_file_limit
from bench.running import running, upstream
from bench.world import World
from bench.wrk import load, script

OURS = (plain.NGINX, plain.HAPROXY, gate(), INTERPRETED)
PEERS = (envoy.ROUTING, envoy.CHECKING, envoy.LOGGING, envoy.EXTERNAL, gateways.PORTKEY, gateways.LITELLM)
_WARM_UP = 1  # seconds
_HEAVY_ROUNDS, _HEAVY_WARM_UP, _HEAVY_CONNECTIONS = 2, 6, 8


class Sample(msgspec.Struct, frozen=True):
    """One candidate in one round. CPU in µs per request."""

    cpu: float
    user: float
    system: float
    rate: float
    p50: float
    p99: float
    rss: float


def sample(world: World, candidate: Candidate, seconds: float, connections: int) -> Sample:
    """Start, prove, warm, measure, prove, stop. Raises BenchError where any answer was wrong."""
    with running(world, candidate) as run:
        lua = script(world.directory / f"{candidate.name}.lua", world.request, run.setup.headers)
        if candidate.heavy:
            connections = min(connections, _HEAVY_CONNECTIONS)
        load(run.port, lua, _HEAVY_WARM_UP if candidate.heavy else _WARM_UP, connections)
        admitted = Admitted(run.setup.control_port) if run.setup.control_port else None
        before = run.processes.cpu()
        seen = load(run.port, lua, seconds, connections)
        used = run.processes.cpu() - before
        rss = run.processes.rss()
        if admitted is not None:
            admitted.check(seen.requests, connections)
        run.prove()
        each = 1e6 / seen.requests
        return Sample(used.total * each, used.user * each, used.system * each, seen.rate, seen.p50_us, seen.p99_us, rss)


def figures(samples: dict[str, list[Sample]]) -> dict[str, Figure]:
    """The flat figures of all candidates, and the gate's ratios to each other one."""
    found: dict[str, Figure] = {}
    for name, taken in samples.items():
        cpu = [one.cpu for one in taken]
        found[f"{name}_cpu_us"] = median(cpu)
        found[f"{name}_cpu_us_least"], found[f"{name}_cpu_us_most"] = min(cpu), max(cpu)
        for part in ("user", "system", "rate", "p50", "p99", "rss"):
            unit = {"rate": "rps", "rss": "rss_mib"}.get(part, f"{part}_us")
            found[f"{name}_{unit}"] = median(getattr(one, part) for one in taken)
        if name != "gate":
            found[f"gated_cpu_vs_{name}"] = median(ours.cpu / theirs.cpu for ours, theirs in zip(samples["gate"], taken, strict=False))
    return found


def collect(candidates: Sequence[Candidate], rounds: int, seconds: float, connections: int) -> dict[str, list[Sample]]:
    """All rounds, by the candidate's name."""
    samples: dict[str, list[Sample]] = {candidate.name: [] for candidate in candidates}
    with tempfile.TemporaryDirectory(prefix="frontiergate-bench-") as directory:
        world = World(Path(directory))
        with upstream(world):
            for number in range(rounds):
                for candidate in candidates:
                    if candidate.heavy and number >= _HEAVY_ROUNDS:
                        continue
                    taken = sample(world, candidate, seconds, connections)
                    samples[candidate.name].append(taken)
                    progress(f"round {number + 1}: {candidate.name:19} {taken.cpu:8.1f} µs CPU, {taken.rate:7.0f}/s, {taken.rss:4.0f} MiB")
    return samples


def measure(candidates: Sequence[Candidate], rounds: int, seconds: float, connections: int) -> dict[str, Figure]:
    """All rounds, as figures."""
    return figures(collect(candidates, rounds, seconds, connections))


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.proxies", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", action="store_true", help="Envoy, LiteLLM and Portkey too")
    parser.add_argument("--only", nargs="+", default=[], help="these candidates beside the gate")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--connections", type=int, default=32)
    given = parser.parse_args()
    candidates = [*OURS, *(PEERS if given.peers else ())]
    settings: dict[str, Figure] = {"rounds": given.rounds, "seconds": given.seconds, "connections": given.connections}
    if given.only:  # a part of the candidates is for the eye, not for the record
        raise_file_limit()
        some = [candidate for candidate in candidates if candidate.name in {"gate", *given.only}]
        print(json.dumps(measure(some, given.rounds, given.seconds, given.connections), indent=1))
        return 0
    name = "peers" if given.peers else "proxies"
    return measured(name, lambda: measure(candidates, given.rounds, given.seconds, given.connections), settings, peers=given.peers)


if __name__ == "__main__":
    sys.exit(main())
