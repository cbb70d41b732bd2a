"""All curves. usage: python -m bench.scale [--only directives models grants callers live crowd bodies workers] [--seconds 2] [--small]"""

import argparse
import sys
import tempfile
from collections.abc import Callable

from bench.figures import Figure, measured, read
from bench.machine import median, progress
from bench.scale import bodies, callers, crowd, decisions, epochs, grants, live, workers
from bench.scale.apart import apart
from bench.scale.sizes import CALLERS, CROWD, DIRECTIVES, GRANTS, LIVE, MODELS

_REPEATS = 3


def _named(prefix: str, found: dict[str, float]) -> dict[str, Figure]:
    progress(f"{prefix}: " + ", ".join(f"{name} {value:.4g}" for name, value in found.items()))
    return {f"{prefix}_{name}": value for name, value in found.items()}


def _decision(prefix: str, count: int, models: int, *, crowded: bool = False) -> dict[str, Figure]:
    """Median of a few fresh processes: some of these figures are a third of a µs."""
    taken = [apart(decisions.point, count, models, crowded=crowded) for _ in range(_REPEATS)]
    return _named(prefix, {name: median(one[name] for one in taken) for name in taken[0]})


def directives(small: bool, _seconds: float) -> dict[str, Figure]:
    found: dict[str, Figure] = {}
    for count in DIRECTIVES[:2] if small else DIRECTIVES:
        found |= _decision(f"directives_{count}", count, MODELS[0])
        with tempfile.TemporaryDirectory(prefix="frontiergate-bench-") as directory:
            found |= _named(f"directives_{count}", apart(epochs.point, count, directory))
    found["decision_warm_us"] = max(value for name, value in found.items() if name.endswith("_warm_us") and not isinstance(value, str))
    return found | _decision("directives_1000_crowded", 1_000, MODELS[0], crowded=True)


def models(small: bool, _seconds: float) -> dict[str, Figure]:
    found: dict[str, Figure] = {}
    for count in MODELS:
        found |= _decision(f"models_{count}", DIRECTIVES[0] if small else DIRECTIVES[1], count)
    return found


def many_grants(small: bool, _seconds: float) -> dict[str, Figure]:
    found: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory(prefix="frontiergate-bench-") as directory:
        for count in GRANTS[:2] if small else GRANTS:
            found |= _named(f"grants_{count}", apart(grants.point, count, directory))
    return found


def many_callers(small: bool, _seconds: float) -> dict[str, Figure]:
    found = _named("callers_rs256", apart(callers.point, 1_000, "RS256"))
    for count in CALLERS[:2] if small else CALLERS:
        found |= _named(f"callers_{count}", apart(callers.point, count))
    # Twice as many as `token_cache` allows: memory must not follow.
    return found | _named("callers_bounded", apart(callers.point, 20_000, remembered=10_000))


def live_streams(small: bool, _seconds: float) -> dict[str, Figure]:
    found: dict[str, Figure] = {}
    for count in LIVE[:2] if small else LIVE:
        found |= _named(f"live_{count}", apart(live.point, count, count))
    # A service with few callers: all of them share a hundred verdicts.
    return found | _named("live_shared", apart(live.point, LIVE[0 if small else -1], 100))


def a_crowd(small: bool, seconds: float) -> dict[str, Figure]:
    return {**crowd.measure(seconds, CROWD[:2] if small else CROWD)}


def all_bodies(_small: bool, seconds: float) -> dict[str, Figure]:
    return {**bodies.measure(seconds)}


def all_workers(_small: bool, seconds: float) -> dict[str, Figure]:
    return {**workers.measure(seconds)}


CURVES: dict[str, Callable[[bool, float], dict[str, Figure]]] = {
    "directives": directives,
    "models": models,
    "grants": many_grants,
    "callers": many_callers,
    "live": live_streams,
    "crowd": a_crowd,
    "bodies": all_bodies,
    "workers": all_workers,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.scale", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=CURVES, default=list(CURVES))
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--small", action="store_true", help="without the largest points; for trying")
    given = parser.parse_args()

    def measure() -> dict[str, Figure]:
        kept = read("scale") if given.only != list(CURVES) else {}
        for name in given.only:
            kept |= CURVES[name](given.small, given.seconds)
        return kept

    return measured("scale", measure, {"seconds": given.seconds})


if __name__ == "__main__":
    sys.exit(main())
