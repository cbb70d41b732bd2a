"""Figures: measured, then written down as flat JSON with what they are of. Half a run is never written."""

import datetime
import json
import os
import platform
import re
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

from bench import tools
from bench.machine import CORES, ROOT, BenchError, raise_file_limit

Figure = float | int | str
FOLDER = ROOT / "docs" / "figures"
_LIBRARIES = ("frontiergate", "uvloop", "httptools", "msgspec", "pyjwt", "cryptography")


def measured(bench: str, measure: Callable[[], Mapping[str, Figure]], settings: Mapping[str, Figure], *, peers: bool = False) -> int:
    """Run a bench and write its figures as docs/figures/BENCH.json; the exit status. A wrong answer ends it, nothing written."""
    raise_file_limit()
    about = description() | tools.versions(peers)
    try:
        found = measure()
    except BenchError as error:
        print(f"{bench}: {error}", file=sys.stderr)
        return 1
    write(bench, {**about, **settings, **{name: value for name, value in found.items() if name not in about}})
    return 0


def description() -> dict[str, Figure]:
    """What a figure is worth nothing without: processor, cores, kernel, Python and libraries, the day, and how busy it was before."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{model[1].strip() if model else platform.machine()}, {len(CORES)} cores",
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{f"version_{name}": version(name) for name in _LIBRARIES},
        "load_average_before": os.getloadavg()[0],
    }


def write(bench: str, figures: Mapping[str, Figure]) -> None:
    """Four significant digits: more would claim what no run can keep."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    rounded = {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in figures.items()}
    path = FOLDER / f"{bench}.json"
    path.write_text(json.dumps(rounded, indent=1) + "\n")
    print(f"wrote {path.relative_to(ROOT)}", file=sys.stderr)


def read(bench: str) -> dict[str, Figure]:
    """What `write` wrote last; empty where it never did."""
    path = FOLDER / f"{bench}.json"
    found: dict[str, Figure] = json.loads(path.read_text()) if path.exists() else {}
    return found
