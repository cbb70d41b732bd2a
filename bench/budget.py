"""The budget: what each stage of the exchange costs in CPU, so that whoever adds a feature sees what it adds.

By ablation: the same exchange is run again with one stage replaced by its known result; what it then costs less is the stage's own.
Variants take turns with the whole exchange, and each batch is measured against a fixed loop run just before it, because the machine's
speed drifts. Kernel and event loop come from `bench.proxies`: the gate's CPU per request there, less what is measured here.

usage: python -m bench.budget [--rounds 200] [--profile | --whole]
"""

import argparse
import cProfile
import os
import pstats
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import uvloop
from httptools import HttpRequestParser, HttpResponseParser

from bench.compiled import compiled
from bench.figures import Figure, measured, read
from bench.inside import Inside, inside
from bench.machine import PROXY_CORE, BenchError, calibration, median
from frontiergate.domain.policy import decide
from frontiergate.gate import exchange, record
from frontiergate.telemetry.audit import AuditLog

_BATCH = 40
_PROFILED = 5000


class _Silent:
    """llhttp's callbacks, doing nothing: what is left is the parser."""

    def on_header(self, name: bytes, value: bytes) -> None:
        """Nothing."""

    def on_url(self, url: bytes) -> None:
        """Nothing."""

    def on_body(self, body: bytes) -> None:
        """Nothing."""


def _nothing_like(part: object) -> SimpleNamespace:
    """Stands for a part that is told things: its methods do nothing, and are found as fast as attributes are."""
    return SimpleNamespace(**{name: _ignore for name in dir(part) if not name.startswith("_")})


def _ignore(*_: object) -> None:
    """Nothing."""


def _constant(value: object) -> Callable[..., Any]:
    return lambda *_, **__: value


def ablations(driven: Inside) -> dict[str, Callable[[], ExitStack]]:
    """Stage to how it is taken out."""
    keeper = driven.keeper
    seen: dict[str, Any] = {}

    def keeping(name: str, original: Callable[..., object]) -> Callable[..., Any]:
        def call(*arguments: object) -> object:
            seen[name] = original(*arguments)
            return seen[name]

        return call

    with (
        patch.object(exchange, "decide", keeping("decide", decide)),
        patch.object(record, "admission", keeping("record", record.admission)),
        patch.object(keeper, "models", keeping("models", keeper.models)),
    ):
        driven.exchange()
    caller = next(iter(keeper.callers._known.values()))

    def without(target: object, name: str, stub: object) -> Callable[[], ExitStack]:
        def enter() -> ExitStack:
            stack = ExitStack()
            stack.enter_context(patch.object(target, name, stub))
            return stack

        return enter

    return {
        "models: read the body, resolve names": without(keeper, "models", _constant(seen["models"])),
        "address to whereabouts": without(keeper.locator, "locate", _constant(keeper.locator.locate("127.0.0.1"))),
        "facts of the caller": without(type(caller), "facts", _constant(caller.facts(keeper.locator.locate("127.0.0.1"), time.time()))),
        "decision": without(exchange, "decide", _constant(seen["decide"])),
        "decision record": without(record, "admission", _constant(seen["record"])),
        "end record": without(record, "EndRecord", _constant(seen["record"])),
        "audit: keep both records": without(keeper, "audit", _nothing_like(keeper.audit)),
        "metrics": without(keeper, "metrics", _nothing_like(keeper.metrics)),
        "live sessions": without(keeper, "sessions", _nothing_like(keeper.sessions)),
        "lease": without(keeper, "require_current", _constant(None)),
        "request id": without(keeper, "request_id", _constant("req_000000000000000000")),
    }


def parts(driven: Inside) -> dict[str, Callable[[], object]]:
    """Stages that nothing can stand in for, run alone."""
    request, response = HttpRequestParser(_Silent()), HttpResponseParser(_Silent())
    return {
        "llhttp: the request": lambda: request.feed_data(driven.request),
        "llhttp: the answer": lambda: response.feed_data(driven.answer),
    }


def _batch(driven: Inside, work: Callable[[], object]) -> float:
    """One run's cost as a multiple of the calibration's."""
    driven.forget_records()
    unit = calibration()
    began = time.thread_time()
    for _ in range(_BATCH):
        work()
    took = time.thread_time() - began
    return took / _BATCH / unit


async def measure(rounds: int) -> dict[str, Figure]:
    """All stages in µs, at the speed that the machine had in the middle of the run."""
    async with inside() as driven:
        stages, alone = ablations(driven), parts(driven)
        saved: dict[str, list[float]] = {name: [] for name in stages}
        cost: dict[str, list[float]] = {name: [] for name in alone}
        whole: list[float] = []
        unit = median(calibration() for _ in range(200))
        for _ in range(rounds):
            for name, enter in stages.items():
                before = _batch(driven, driven.exchange)
                with enter():
                    saved[name].append(before - _batch(driven, driven.exchange))
                whole.append(before)
            for name, work in alone.items():
                cost[name].append(_batch(driven, work))
        writing = _audit_writing(driven, unit)
    found = {f"stage: {name}": median(taken) * unit * 1e6 for name, taken in {**saved, **cost}.items()}
    total = median(whole) * unit * 1e6
    rest = total - sum(found.values())
    proxies = read("proxies") or read("peers")
    outside: dict[str, Figure] = {}
    if "gate_cpu_us" in proxies:
        outside = {"gate_cpu_us": proxies["gate_cpu_us"], "gate_system_us": proxies["gate_system_us"]}
    return {
        **found,
        "stage: everything else": rest,
        "inside_us": total,
        "inside_compiled_us": _compiled(),
        "audit_thread_us": writing,
        **outside,
    }


async def whole(rounds: int) -> float:
    """All of it in µs, by whichever package is imported."""
    async with inside() as driven:
        unit = median(calibration() for _ in range(200))
        return median(_batch(driven, driven.exchange) for _ in range(rounds)) * unit * 1e6


def _compiled() -> float:
    """The same work by the package as it is shipped. Stages cannot be taken out of it: compiled calls do not go by name."""
    environment = {**os.environ, "PYTHONPATH": str(compiled())}
    argv = (sys.executable, "-m", "bench.budget", "--whole")
    ran = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise BenchError(ran.stderr[-2000:])
    return float(ran.stdout)


def _audit_writing(driven: Inside, unit: float) -> float:
    """µs that the audit's thread spends on one request's two records: encoding and the write, of a batch, without the disk's sync."""
    audit: AuditLog = driven.worker._audit
    for _ in range(1000):
        driven.exchange()
    began = time.perf_counter()
    audit.flush()
    return (time.perf_counter() - began) / 1000 / calibration() * unit * 1e6


async def profile() -> None:
    """Where the time goes, by function."""
    async with inside() as driven:
        profiler = cProfile.Profile()
        profiler.enable()
        for _ in range(_PROFILED):
            driven.exchange()
        profiler.disable()
        driven.forget_records()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(40)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.budget", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--profile", action="store_true", help="a profile instead")
    parser.add_argument("--whole", action="store_true", help="print the whole's µs instead, no stages")
    given = parser.parse_args()
    os.sched_setaffinity(0, {PROXY_CORE})
    if given.whole:
        print(uvloop.run(whole(given.rounds)))
        return 0
    if given.profile:
        uvloop.run(profile())
        return 0
    return measured("budget", lambda: uvloop.run(measure(given.rounds)), {"rounds": given.rounds})


if __name__ == "__main__":
    sys.exit(main())
