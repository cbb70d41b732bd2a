"""How far one Redis carries: unit costs against a real redis-server, and from them 1,000 replicas, a change a second, 10 M grants.

The server is alone on one core, the replicas' code runs on the other. Costs are means over many operations; memory is measured with
100,000 and 1,000,000 grants and grows with each by the same, so that 10 million are told from the larger. The simulation
is seeded: the same costs give the same figures.

usage: python -m bench.scaling [--small] [--times 2000] [--seconds 30]
"""

import argparse
import functools
import itertools
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import uvloop

from bench.figures import Figure, measured
from bench.machine import LOAD_CORE, PROXY_CORE, progress
from bench.redisserver import redis_server
from bench.sharing import costs, grants, model, sizes
from bench.sharing.costs import Costs
from bench.sharing.simulation import Load, Outcome, Simulation, Times

_LISTENERS = 1_000


def times_of(found: Costs) -> Times:
    """What the simulation takes from what was measured."""
    server = {kind: getattr(found, kind).server for kind in Times.__struct_fields__ if kind not in ("change", "way")}
    return Times(**server, change=found.change)


def simulated(found: Costs, seconds: float, *, small: bool) -> dict[str, Figure]:
    """Over replicas at one change a second, and over changes at a thousand replicas."""
    times = times_of(found)
    replicas, changes = (sizes.REPLICAS[:3], ()) if small else (sizes.REPLICAS, sizes.CHANGES)
    loads = {f"replicas_{number}": Load(number, sizes.CHANGE, sizes.LOOK_UPS) for number in replicas}
    loads |= {f"changes_{number:g}": Load(sizes.GOAL, number, sizes.LOOK_UPS) for number in changes}
    outcomes: dict[Load, Outcome] = {}
    told: dict[str, Figure] = {}
    for name, load in loads.items():
        if load not in outcomes:
            outcomes[load] = Simulation(times, load).run(seconds)
        told |= _named(name, outcomes[load], found, load)
    late = _late([(load.replicas, outcome.enforced_p99 * 1e3) for load, outcome in outcomes.items() if load.changes == sizes.CHANGE])
    return told | ({} if late is None else {"late_at_replicas": late})


def _late(points: Sequence[tuple[float, float]]) -> float | None:
    """At how many replicas the p99 passes its bound, on the line between the points before and after; None where it does not."""
    for (low, before), (high, after) in itertools.pairwise(points):
        if before <= sizes.LATE < after:
            return low + (high - low) * (sizes.LATE - before) / (after - before)
    return None


def _named(name: str, outcome: Outcome, found: Costs, load: Load) -> dict[str, Figure]:
    told: dict[str, Figure] = {
        f"{name}_utilisation_percent": outcome.utilisation * 100,
        f"{name}_formula_percent": model.utilisation(found, load) * 100,
        f"{name}_enforced_p50_ms": outcome.enforced_p50 * 1e3,
        f"{name}_enforced_p99_ms": outcome.enforced_p99 * 1e3,
        f"{name}_enforced_max_ms": outcome.enforced_max * 1e3,
        f"{name}_look_up_p99_ms": outcome.look_up_p99 * 1e3,
        f"{name}_mbit_per_second": model.network(found, load) * 8 / 1e6,
    }
    progress(f"{name}: " + ", ".join(f"{key.removeprefix(name + '_')} {value:.4g}" for key, value in told.items()))
    return told


def modelled(found: Costs, stored: grants.Stored) -> dict[str, Figure]:
    """The goal's load by the formulas, and where it ends."""
    load = Load(sizes.GOAL, sizes.CHANGE, sizes.LOOK_UPS)
    told: dict[str, Figure] = {f"share_{kind}_percent": share * 100 for kind, share in model.shares(found, load).items()}
    varied: dict[str, Callable[[float], Load]] = {
        "replicas": lambda number: Load(number, sizes.CHANGE, sizes.LOOK_UPS),
        "changes": lambda number: Load(sizes.GOAL, number, sizes.LOOK_UPS),
        "look_ups": lambda number: Load(sizes.GOAL, sizes.CHANGE, number),
    }
    for what, load_of in varied.items():
        for limit, name in ((0.7, "busy"), (1.0, "full")):
            told[f"{name}_at_{what}"] = model.breaks_at(functools.partial(_utilisation, found, load_of), limit)
    told |= {f"lever_{name}": replicas for name, replicas in model.levers(found, sizes.CHANGE, sizes.LOOK_UPS).items()}
    more = sizes.GRANTS_GOAL / stored.grants
    return told | {
        "replica_percent": model.replica_share(found, load) * 100,
        "goal_memory_gib": stored.bytes_each * sizes.GRANTS_GOAL / 2**30,
        "goal_log_gib": stored.log_bytes_each * sizes.GRANTS_GOAL / 2**30,
        "goal_fork_ms": stored.fork * more * 1e3,
        "goal_load_s": stored.load * more,
        "goal_restart_all_s": found.start.server * sizes.GOAL,
    }


def _utilisation(found: Costs, load_of: Callable[[float], Load], number: float) -> float:
    return model.utilisation(found, load_of(number))


def measure(times: int, seconds: float, *, small: bool) -> dict[str, Figure]:
    os.sched_setaffinity(0, {LOAD_CORE})
    with tempfile.TemporaryDirectory(prefix="frontiergate-bench-") as directory:
        with redis_server(Path(directory) / "log", PROXY_CORE) as server:
            found = uvloop.run(costs.measured(server, times, _LISTENERS))
        told: dict[str, Figure] = dict(found.figures())
        progress(", ".join(f"{name.removeprefix('unit_')} {value:.4g}" for name, value in told.items()))
        stored = grants.measured(sizes.GRANTS[:1] if small else sizes.GRANTS, Path(directory) / "grants", times)
    for one in stored:
        told |= one.figures()
        progress(", ".join(f"{name} {value:.4g}" for name, value in one.figures().items()))
    found = msgspec.structs.replace(found, grants_of=stored[-1].look_up)
    return told | modelled(found, stored[-1]) | simulated(found, seconds, small=small)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.scaling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=2000, help="of each operation")
    parser.add_argument("--seconds", type=float, default=30, help="simulated")
    parser.add_argument("--small", action="store_true", help="without the largest points; for trying")
    given = parser.parse_args()
    settings: dict[str, Figure] = {"times": given.times, "seconds": given.seconds, "listeners": _LISTENERS}
    return measured("scaling", lambda: measure(given.times, given.seconds, small=given.small), settings)


if __name__ == "__main__":
    sys.exit(main())
