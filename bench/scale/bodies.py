"""Bodies from 200 B to 30 MB: CPU per request beside nginx without buffering, the worker's memory, and the pause of its loop.

Memory is the worker's high-water mark over what it held before. Small bodies come over many connections, the largest over one, so
that it is one request's memory, and over ten at once. The pause is the longest that a ping through the same worker had to wait (see
`ping`), which other processes can lengthen; `held` is what the loop's own thread worked in one go (see `probed`), also for bodies that
are made to be costly.
"""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.candidates import plain
from bench.candidates.candidate import Candidate
from bench.candidates.gate import gate, write
from bench.machine import BenchError, progress
from bench.processes import ask, free_port, status
from bench.running import Running, running
from bench.scale.sizes import BODIES
from bench.streams.lines import Child, StreamUpstream
from bench.world import MODEL, World
from bench.wrk import load, script

_CONNECTIONS = {"200b": 16, "20kb": 16, "2mb": 2, "30mb": 1}
_AT_ONCE = 10
_RESET_PEAK = "5"  # proc_pid_clear_refs(5)
_TIMES = 20
# An element of a list that names models, over and over: to look into it costs most of all that a body can be made of.
_COSTLY = {"small": 60_000, "large": 30_000_000}  # bytes


def measure(seconds: float) -> dict[str, float]:
    """All sizes through both."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="frontiergate-bench-") as directory:
        world = World(Path(directory))
        with StreamUpstream(world):  # it reads a body to its end, as nginx with a fixed answer does not
            for candidate in (plain.NGINX_STREAMING, gate()):
                for size in BODIES:
                    found |= _size(world, candidate, size, seconds)
            found |= _held(world)
    for size in BODIES:
        found[f"body_{size}_cpu_vs_nginx"] = found[f"body_{size}_gate_cpu_us"] / found[f"body_{size}_nginx_cpu_us"]
    return found


def _size(world: World, candidate: Candidate, size: str, seconds: float) -> dict[str, float]:
    """A fresh process for each size, as memory once used is kept."""
    body = World.request_of(BODIES[size] - len(World.request_of(0)))
    with running(world, candidate) as run:
        lua = script(world.directory / "body.lua", body, run.setup.headers)
        found = _gate(run, lua, body, size, seconds) if candidate.name == "gate" else {}
        before = run.processes.cpu().total
        seen = load(run.port, lua, seconds, _CONNECTIONS[size])
        cpu = (run.processes.cpu().total - before) / seen.requests * 1e6
        run.prove()
    progress(f"{size}: {candidate.name} {cpu:.0f} µs CPU, {seen.rate:.0f}/s")
    return found | {f"body_{size}_{candidate.name}_cpu_us": cpu}


def _gate(run: Running, lua: Path, body: bytes, size: str, seconds: float) -> dict[str, float]:
    """Memory and pause, apart from the CPU that pings would add to."""
    worker = run.processes.worker("frontiergate.worker")
    each = _memory(run, worker, body, _CONNECTIONS[size])
    found = {f"body_{size}_rss_mib": each}
    if _CONNECTIONS[size] == 1:
        found[f"body_{size}_rss_over_body_mib"] = each - len(body) / 2**20
        found[f"body_{size}_at_once_rss_over_body_mib"] = _memory(run, worker, body, _AT_ONCE) - len(body) / 2**20
    longest, p99 = _pause(run, lua, size, seconds)
    return found | {f"body_{size}_loop_pause_ms": longest, f"body_{size}_loop_pause_p99_ms": p99}


def _memory(run: Running, worker: int, body: bytes, at_once: int) -> float:
    """MiB that one of so many requests at once takes."""
    before = _reset_peak(worker)
    with ThreadPoolExecutor(at_once) as callers:
        statuses = {answer[0] for answer in callers.map(lambda _: ask(run.port, body, run.setup.headers, timeout=60), range(2 * at_once))}
    if statuses != {200}:
        raise BenchError(f"not every answer was a 200: {statuses}")
    return (status(worker, "VmHWM") - before) / 1024 / at_once


def _reset_peak(pid: int) -> int:
    """The resident KiB now, from which on the high-water mark counts anew."""
    Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK)
    return status(pid, "VmRSS")


def _pause(run: Running, lua: Path, size: str, seconds: float) -> tuple[float, float]:
    """The longest ping and the 99th percentile while the load runs, ms."""
    with Child("bench.scale.ping", run.port, run.world.token) as ping:
        ping.hear()
        load(run.port, lua, seconds, _CONNECTIONS[size])
        ping.tell("enough")
        seen = ping.hear_json()
    return seen["longest_ms"], seen["p99_ms"]


def _held(world: World) -> dict[str, float]:
    """The most that the loop's thread works in one go for a body."""
    found: dict[str, float] = {}
    port = free_port()
    path, _ = write(world, port)
    with Child("bench.scale.probed", path) as worker:
        worker.hear()

        def held(body: bytes, status: int) -> float:
            worker.tell("from now on")
            worker.hear_json()
            for _ in range(_TIMES):
                answered = ask(port, body, world.bearer())[0]
                if answered != status:
                    raise BenchError(f"{answered}, not {status}, to a body of {len(body)} bytes")
            worker.tell("so far")
            return float(worker.hear_json()["held_ms"])

        held(world.request, 200)  # the first of all waits for a signature's check, a grant and a connection
        for size, length in BODIES.items():
            found[f"body_{size}_held_ms"] = held(World.request_of(length - len(World.request_of(0))), 200)
        element = b'{"model":"a"},'
        for size, length in _COSTLY.items():
            body = b'{"model":"%b","fallbacks":[%b0]}' % (MODEL.encode(), element * (length // len(element)))
            found[f"body_costly_{size}_held_ms"] = held(body, 400)
    progress(", ".join(f"{name} {value:.1f}" for name, value in found.items()))
    return found
