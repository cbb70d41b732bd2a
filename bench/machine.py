"""The machine that figures are of, its two cores, and the one way in which figures are written down."""

import datetime
import json
import os
import platform
import re
import resource
import statistics
import sys
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "docs" / "figures"
CORES = sorted(os.sched_getaffinity(0))
PROXY_CORE, LOAD_CORE = CORES[0], CORES[-1]

Figure = float | int | str
_LIBRARIES = ("frontiergate", "uvloop", "httptools", "msgspec", "pyjwt", "cryptography")


class BenchError(Exception):
    """A figure would not mean what it says: a wrong answer, a peer that does not start, a tool that is missing."""


def description() -> dict[str, Figure]:
    """What a figure is worth nothing without: processor, cores, kernel, Python and libraries, and the day."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{model[1].strip() if model else platform.machine()}, {len(CORES)} cores",
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{f"version_{name}": version(name) for name in _LIBRARIES},
        "load_average_before": round(os.getloadavg()[0], 2),
    }


def raise_file_limit() -> None:
    """As many open files as this user may have; children inherit it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def record(bench: str, figures: Mapping[str, Figure], about: Mapping[str, Figure]) -> None:
    """Write the figures of one bench as flat JSON, with what they are of. `about`: `description()` as of the bench's start."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    rounded = {name: _rounded(value) for name, value in figures.items()}
    path = FIGURES / f"{bench}.json"
    path.write_text(json.dumps({**about, **rounded}, indent=1) + "\n")
    print(f"wrote {path.relative_to(ROOT)}", file=sys.stderr)


def recorded(bench: str) -> dict[str, Figure]:
    """What `record` wrote last; empty where it never did."""
    path = FIGURES / f"{bench}.json"
    figures: dict[str, Figure] = json.loads(path.read_text()) if path.exists() else {}
    return figures


def _rounded(value: Figure) -> Figure:
    """Four significant digits: more would claim what no run can keep."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def progress(text: str) -> None:
    """Tell who waits what is being done."""
    print(f"· {text}", file=sys.stderr, flush=True)


def calibration() -> float:
    """Seconds that a fixed piece of Python takes now: the machine's speed drifts, so short costs are told as multiples of it."""
    began = time.perf_counter()
    total = 0
    for number in range(4000):
        total += number
    return time.perf_counter() - began


def median(values: Iterable[float]) -> float:
    """The middle one; robust against a neighbour's burst."""
    return statistics.median(values)


def quantile(ordered: list[float], share: float) -> float:
    """The value below which `share` of the sorted values lie."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
