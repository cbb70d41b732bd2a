"""The whole request over many distinct callers in turn: what every cache on the way is worth, and what it costs to miss.

The other benches have one caller, so everything that is remembered of it is found again. Here each request is another caller's, each
with an RS256 token, a grant and a head of its own.
"""

import tempfile
from pathlib import Path

from bench.candidates.gate import Admitted, gate, give_grants
from bench.machine import BenchError, progress
from bench.processes import status
from bench.running import running, upstream
from bench.world import ISSUER, World
from bench.wrk import load, script

_CONNECTIONS = 32
_COLD = 2_500  # callers a second that a worker establishes with time to spare


def measure(seconds: float, sizes: tuple[int, ...]) -> dict[str, float]:
    """µs of CPU a request, and the worker's memory."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="frontiergate-bench-") as directory:
        world = World(Path(directory))
        subjects = [f"crowd-{number}" for number in range(max(sizes))]
        give_grants(world.directory / "state.db", [f"{ISSUER}|{subject}" for subject in subjects])
        tokens = [world.token_of(subject, ["US"], us_person=True) for subject in subjects]
        with upstream(world):
            for size in sizes:
                found |= _sample(world, tokens[:size], seconds)
    return found


def _sample(world: World, tokens: list[str], seconds: float) -> dict[str, float]:
    path = world.directory / "tokens"
    path.write_text("\n".join(tokens))
    with running(world, gate()) as run:
        if run.setup.control_port is None:
            raise BenchError("the gate has no control port")
        lua = script(world.directory / "crowd.lua", world.request, {}, path)
        worker = run.processes.worker("frontiergate.worker")
        load(run.port, lua, 2 + len(tokens) / _COLD, _CONNECTIONS)
        admitted = Admitted(run.setup.control_port)
        before = run.processes.cpu().total
        seen = load(run.port, lua, seconds, _CONNECTIONS)
        cpu = (run.processes.cpu().total - before) / seen.requests * 1e6
        rss = status(worker, "VmRSS") / 1024
        admitted.check(seen.requests, _CONNECTIONS)
        run.prove()
    progress(f"{len(tokens)} callers in turn: {cpu:.1f} µs CPU, worker {rss:.0f} MiB")
    return {f"crowd_{len(tokens)}_cpu_us": cpu, f"crowd_{len(tokens)}_worker_rss_mib": rss}
