"""Idle streams: what a stream costs in memory while nothing flows. Thousands of them on one worker, each with its upstream connection.

The base is a worker that has served a few requests. Resident memory is the worker's own (VmRSS).

usage: python -m bench.idle [--streams 5000]
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from bench.candidates import plain
from bench.candidates.gate import gate
from bench.figures import Figure, measured
from bench.machine import progress
from bench.processes import status
from bench.running import running
from bench.streams.lines import Callers, StreamUpstream
from bench.world import World

_SETTLE = 1.0  # seconds
_WORKERS = {"gate": "frontiergate.worker", "nginx": "worker process"}


def measure(streams: int) -> dict[str, Figure]:
    """The gate and nginx."""
    found: dict[str, Figure] = {}
    for candidate in (gate(), plain.NGINX_STREAMING):
        with tempfile.TemporaryDirectory(prefix="frontiergate-bench-") as directory:
            world = World(Path(directory))
            with StreamUpstream(world) as _, running(world, candidate) as run:
                for _ in range(20):
                    run.prove()
                worker = run.processes.worker(_WORKERS[candidate.name])
                base = status(worker, "VmRSS")
                with Callers(world, run, streams, idle=True) as callers:
                    callers.wait_ready()
                    time.sleep(_SETTLE)
                    full = status(worker, "VmRSS")
                    before = run.processes.cpu().total
                    time.sleep(_SETTLE)
                    busy = (run.processes.cpu().total - before) / _SETTLE
                    tree = run.processes.rss()
                time.sleep(_SETTLE)
                after = status(worker, "VmRSS")
                run.prove()
        prefix = "" if candidate.name == "gate" else f"{candidate.name}_"
        found[f"{prefix}kib_per_idle_stream"] = (full - base) / streams
        found[f"{prefix}worker_base_rss_mib"] = base / 1024
        found[f"{prefix}worker_full_rss_mib"] = full / 1024
        found[f"{prefix}worker_rss_after_mib"] = after / 1024
        found[f"{prefix}idle_cpu_percent"] = busy * 100
        found[f"{prefix}tree_full_rss_mib"] = tree
        progress(f"{candidate.name}: {(full - base) / streams:.1f} KiB a stream over {base / 1024:.0f} MiB")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.idle", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=5000)
    given = parser.parse_args()
    return measured("idle", lambda: measure(given.streams), {"streams": given.streams})


if __name__ == "__main__":
    sys.exit(main())
