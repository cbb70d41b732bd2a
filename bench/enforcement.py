"""How long from an acknowledged withdrawal until every replica enforces it, and until the last flowing stream is cut? (P4)

    .venv/bin/python bench/enforcement.py [--streams 1000] [--workers 2] [--rounds 20]

Each round opens the streams, withdraws their model through the admin API, waits until every stream has ended, and lifts the
withdrawal again. Measured on one clock of one machine: *enforced* is the latest replica's own report of when it enforced the
epoch, less the instant that the log gave the entry; *severed* is when the last caller had its stream's end, less the same instant.
The upstream runs in a process of its own, the callers in this one; what they cost is part of *severed*.
"""

import argparse
import asyncio
import json
import math
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.fixtures.gate import Gate  # noqa: E402 - the path must be set first
from tests.fixtures.streams import all_ended, callers  # noqa: E402
from tests.fixtures.upstream import Upstream  # noqa: E402

FIGURES = ROOT / "docs" / "figures" / "enforcement.json"
MODEL = "openai/gpt-frontier"


def serve_upstream(ready: Connection, pace: float) -> None:
    """An upstream whose streams have an event every `pace` seconds, until the other end of `ready` is closed."""
    upstream = Upstream()
    upstream.pace = pace
    ready.send(upstream.url)
    try:
        ready.recv()
    except EOFError:
        upstream.stop()


class ElsewhereUpstream:
    """An upstream in another process, as far as a gate needs to know it."""

    def __init__(self, url: str) -> None:
        self.url = url


async def one_round(gate: Gate, streams: int, number: int) -> tuple[float, float]:
    """Seconds to enforced, and to the last stream's end."""
    flowing = await callers(gate.port, gate.token(), streams)
    done = await asyncio.to_thread(gate.put_in_force, f"wd-{number}", MODEL)
    await all_ended(flowing)
    report = await asyncio.to_thread(gate.wait_enforced, done["epoch"])
    if not all(caller.orderly for caller in flowing):
        raise SystemExit("a stream was cut without its error event")
    lifted = await asyncio.to_thread(gate.lift, f"wd-{number}")
    await asyncio.to_thread(gate.wait_enforced, lifted["epoch"])
    appended = done["appended_at"]
    enforced = max(replica["enforced_at"] for replica in report["replicas"])
    return enforced - appended, max(caller.ended_at for caller in flowing) - appended


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: a value that was measured."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def spread(values: Sequence[float]) -> dict[str, float]:
    """In milliseconds."""
    milliseconds = [value * 1000 for value in values]
    found = {
        "min": min(milliseconds),
        "p50": statistics.median(milliseconds),
        "p99": percentile(milliseconds, 0.99),
        "max": max(milliseconds),
    }
    return {name: round(value, 1) for name, value in found.items()}


def processor() -> str:
    """The processor's name, where Linux tells it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(": ")[2]
    return platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--pace", type=float, default=0.5, help="seconds between two events of a stream")
    given = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    load = round(os.getloadavg()[0], 2)  # of whatever else this machine does
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    upstream = multiprocessing.get_context("spawn").Process(target=serve_upstream, args=(theirs, given.pace), daemon=True)
    upstream.start()
    theirs.close()
    url = ours.recv()

    async def rounds(gate: Gate) -> list[tuple[float, float]]:
        measured = []
        for number in range(given.rounds):
            measured.append(await one_round(gate, given.streams, number))
            print(f"round {number + 1}: enforced {measured[-1][0] * 1000:.1f} ms, last stream severed {measured[-1][1] * 1000:.1f} ms")
        return measured

    with tempfile.TemporaryDirectory() as directory, Gate(Path(directory) / "gate", ElsewhereUpstream(url), workers=given.workers) as gate:
        measured = asyncio.run(rounds(gate))
    ours.close()
    upstream.join(10)

    result = {
        "question": "how long from a withdrawal appended until enforced on every replica, and until the last stream is severed",
        "unit": "ms",
        "streams": given.streams,
        "workers": given.workers,
        "rounds": given.rounds,
        "events_per_second_and_stream": round(1 / given.pace, 3),
        "append_to_enforced": spread([enforced for enforced, _ in measured]),
        "append_to_last_stream_severed": spread([severed for _, severed in measured]),
        "processor": processor(),
        "processors": multiprocessing.cpu_count(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "load_average_before": load,
    }
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    FIGURES.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
