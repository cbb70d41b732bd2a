"""One worker and two. With four cores or more, measured: requests a second, each worker and each generator on a core of its own.

With fewer, load and upstream need the cores too, so what two free cores would give is derived from CPU per request: two workers serve
`2 * cpu(1) / cpu(2)` times what one serves, less what the kernel's uneven share of connections costs, which is told beside it.
"""

import tempfile
from pathlib import Path

from bench.candidates.gate import Admitted, gate
from bench.machine import CORES, LOAD_CORE, BenchError, median, progress
from bench.processes import cpu_of
from bench.running import running, upstream
from bench.world import World
from bench.wrk import load, script

_CONNECTIONS = 64
_ENOUGH_CORES = 4


def measure(seconds: float, rounds: int = 2) -> dict[str, float]:
    """Interleaved rounds of one worker and two."""
    samples: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    free = len(CORES) >= _ENOUGH_CORES
    with tempfile.TemporaryDirectory(prefix="frontiergate-bench-") as directory:
        world = World(Path(directory))
        with upstream(world, CORES[-2] if free else LOAD_CORE):
            for _ in range(rounds):
                for workers, taken in samples.items():
                    one = _sample(world, workers, CORES[:workers] if free else CORES, seconds)
                    taken.append(one)
                    progress(f"{workers} workers: {one['cpu_us']:.1f} µs CPU, {one['rps']:.0f}/s")
    pairs = list(zip(samples[1], samples[2], strict=True))
    key = "rps" if free else "cpu_us"
    ratio = median(two[key] / one[key] for one, two in pairs)
    found = {f"workers_{workers}_{name}": median(one[name] for one in taken) for workers, taken in samples.items() for name in taken[0]}
    return found | {"workers_2_vs_1": ratio if free else 2 / ratio, "workers_measured_on_free_cores": int(free)}


def _sample(world: World, workers: int, cores: list[int], seconds: float) -> dict[str, float]:
    with running(world, gate(workers), cores) as run:
        lua = script(world.directory / "workers.lua", world.request, run.setup.headers)
        load(run.port, lua, 1, _CONNECTIONS)
        pids = run.processes.workers("frontiergate.worker")
        if len(pids) != workers or run.setup.control_port is None:
            raise BenchError(f"{len(pids)} workers run, not {workers}")
        admitted = Admitted(run.setup.control_port)
        before, each = run.processes.cpu().total, [cpu_of(pid).total for pid in pids]
        seen = load(run.port, lua, seconds, _CONNECTIONS)
        used = run.processes.cpu().total - before
        shares = [cpu_of(pid).total - start for pid, start in zip(pids, each, strict=True)]
        rss = run.processes.rss()
        admitted.check(seen.requests, _CONNECTIONS)
    return {"cpu_us": used / seen.requests * 1e6, "rps": seen.rate, "rss_mib": rss, "largest_share": max(shares) / sum(shares)}
