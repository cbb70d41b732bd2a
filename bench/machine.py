"""The machine: its two cores, its drifting speed, and how progress and failure are told."""

import os
import resource
import statistics
import sys
import time
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORES = sorted(os.sched_getaffinity(0))
PROXY_CORE, LOAD_CORE = CORES[0], CORES[-1]


class BenchError(Exception):
    """A figure would not mean what it says: a wrong answer, a peer that does not start, a tool that is missing."""


def raise_file_limit() -> None:
    """As many open files as this user may have; children inherit it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def progress(text: str) -> None:
    """Tell who waits what is being done."""
    print(f"· {text}", file=sys.stderr, flush=True)


def calibration() -> float:
    """CPU seconds that a fixed piece of Python takes now: the machine's speed drifts, so short costs are told as multiples of it."""
    began = time.thread_time()
    total = 0
    for number in range(4000):
        total += number
    return time.thread_time() - began


def median(values: Iterable[float]) -> float:
    """The middle one; robust against a neighbour's burst."""
    return statistics.median(values)


def quantile(ordered: list[float], share: float) -> float:
    """The value below which `share` of the sorted values lie."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
