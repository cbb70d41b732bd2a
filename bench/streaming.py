"""CPU, memory and delay per streamed event: many streams of paced events through each proxy, interleaved rounds.

500 streams get 200 events each, one every 20 ms, as from a model that writes 50 tokens a second. The proxy is alone on one core; callers
and upstream (uvloop, ours) share the other. All streams have begun before CPU is counted, so that it is the events' alone. An event
carries the instant at which it was written; the delay that a proxy adds is over that of the same streams without a proxy.

usage: python -m bench.streaming [--peers] [--rounds 3] [--streams 500] [--events 200]
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.candidates import envoy, plain
from bench.candidates.candidate import Candidate
from bench.candidates.gate import gate
from bench.figures import Figure, measured
from bench.machine import BenchError, median, progress
from bench.running import Running, running
from bench.streams.lines import Callers, StreamUpstream
from bench.world import World

_PACE = 20  # ms
OURS = (plain.NGINX_STREAMING, gate())
PEERS = (envoy.ROUTING, envoy.CHECKING)


class Sample(msgspec.Struct, frozen=True):
    """One candidate in one round: µs, and KiB of the process tree."""

    cpu: float
    p50: float
    p99: float
    kib_per_stream: float


def flow(world: World, run: Running | None, streams: int, events: int, upstream: StreamUpstream) -> Sample:
    """All streams from beginning to end. Raises BenchError unless each event came."""
    rss = run.processes.rss() if run else 0.0
    with Callers(world, run, streams) as callers:
        callers.wait_ready()
        kib = ((run.processes.rss() if run else 0.0) - rss) * 1024 / streams
        before = run.processes.cpu().total if run else 0.0
        upstream.flow()
        seen = callers.result()
        used = (run.processes.cpu().total if run else 0.0) - before
    if seen["events"] != streams * events:
        raise BenchError(f"{seen['events']} of {streams * events} events came")
    return Sample(used / seen["events"] * 1e6, seen["p50_us"], seen["p99_us"], kib)


def sample(world: World, candidate: Candidate | None, streams: int, events: int) -> Sample:
    """One round of one candidate, or of none."""
    with StreamUpstream(world, events=events, pace=_PACE) as upstream:
        if candidate is None:
            upstream.wait_listening(world)
            return flow(world, None, streams, events, upstream)
        with running(world, candidate) as run:
            return flow(world, run, streams, events, upstream)


def figures(samples: dict[str, list[Sample]]) -> dict[str, Figure]:
    """Medians over rounds; ratios and added delays within a round."""
    found: dict[str, Figure] = {}
    for name, taken in samples.items():
        found |= {f"{name}_delay_p50_us": median(one.p50 for one in taken), f"{name}_delay_p99_us": median(one.p99 for one in taken)}
        if name == "direct":
            continue
        found[f"{name}_event_cpu_us"] = median(one.cpu for one in taken)
        found[f"{name}_kib_per_stream"] = median(one.kib_per_stream for one in taken)
        for quantile in ("p50", "p99"):
            pairs = zip(taken, samples["direct"], strict=True)
            found[f"{name}_added_{quantile}_us"] = median(getattr(one, quantile) - getattr(direct, quantile) for one, direct in pairs)
        if name != "gate":
            found[f"event_cpu_vs_{name}"] = median(ours.cpu / theirs.cpu for ours, theirs in zip(samples["gate"], taken, strict=True))
    return found


def measure(candidates: Sequence[Candidate], rounds: int, streams: int, events: int) -> dict[str, Figure]:
    """All rounds; the first of each is without a proxy."""
    samples: dict[str, list[Sample]] = {"direct": [], **{candidate.name: [] for candidate in candidates}}
    for number in range(rounds):
        for candidate in (None, *candidates):
            with tempfile.TemporaryDirectory(prefix="frontiergate-bench-") as directory:
                taken = sample(World(Path(directory)), candidate, streams, events)
            name = candidate.name if candidate else "direct"
            samples[name].append(taken)
            progress(f"round {number + 1}: {name:12} {taken.cpu:6.1f} µs CPU an event, delay {taken.p50:.0f} / {taken.p99:.0f} µs")
    return figures(samples)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.streaming", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", action="store_true", help="Envoy too")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--events", type=int, default=200)
    given = parser.parse_args()
    candidates = [*OURS, *(PEERS if given.peers else ())]
    settings: dict[str, Figure] = {"rounds": given.rounds, "streams": given.streams, "events": given.events, "pace_ms": _PACE}
    name = "streaming_peers" if given.peers else "streaming"
    return measured(name, lambda: measure(candidates, given.rounds, given.streams, given.events), settings, peers=given.peers)


if __name__ == "__main__":
    sys.exit(main())
