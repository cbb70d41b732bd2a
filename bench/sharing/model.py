"""The model of cost: how often each thing is asked of the one server, and what follows for its CPU and its network. Closed formulas.

With N replicas, λ changes a second, g look-ups of grants a second and replica: see `rates`. The simulation adds what formulas do not
tell: who waits for whom.
"""

import math
from collections.abc import Callable, Mapping

from bench.sharing.costs import Cost, Costs
from bench.sharing.simulation import HEARTBEAT, LOOK, POLL, READINESS, WORKERS, Load

Rates = Mapping[str, float]  # a second, by kind of question


def rates(load: Load, look: float = LOOK) -> Rates:
    """How often. Changes that come within one round of a replica are taken together; what is due at the latest after a time
    unless something else comes first (Poisson, rate λ) is due λ / (1 - exp(-λ · time)) times a second."""
    replicas, changes = load.replicas, load.changes
    rounds = changes / (1 + changes * POLL)
    probes = replicas / WORKERS / READINESS
    return {
        "append": changes,
        "wake": changes * replicas,
        "position": replicas * _at_latest(rounds, look) + probes,
        "entries": replicas * rounds,
        "report": replicas * _at_latest(rounds, HEARTBEAT),
        "grants_of": replicas * load.look_ups,
        "report_of_all": replicas * probes,
    }


def _at_latest(rate: float, time: float) -> float:
    return rate / -math.expm1(-rate * time) if rate else 1 / time


def shares(costs: Costs, load: Load, look: float = LOOK) -> dict[str, float]:
    """Of one core of the server, by kind."""
    return {kind: rate * _cost(costs, kind).server for kind, rate in rates(load, look).items()}


def _cost(costs: Costs, kind: str) -> Cost:
    cost: Cost = getattr(costs, kind)
    return cost


def utilisation(costs: Costs, load: Load, look: float = LOOK) -> float:
    """Of one core of the server; it has one for all this."""
    return sum(shares(costs, load, look).values())


def network(costs: Costs, load: Load) -> float:
    """Bytes a second to and from the server."""
    return sum(rate * (_cost(costs, kind).received + _cost(costs, kind).sent) for kind, rate in rates(load).items())


def replica_share(costs: Costs, load: Load) -> float:
    """Of one core of a replica, for following."""
    often = {kind: rate / load.replicas for kind, rate in rates(load).items()}
    asked = ((often["position"] - often["entries"]) * costs.position.replica) + often["grants_of"] * costs.grants_of.replica
    beats = max(0.0, often["report"] - often["entries"]) * costs.report.replica
    return asked + beats + often["entries"] * (costs.change + costs.wake.replica)


def breaks_at(utilisation_of: Callable[[float], float], limit: float) -> float:
    """The number at which the server's utilisation comes to `limit`."""
    low, high = 0.01, 1e7
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if utilisation_of(middle) < limit else (low, middle)
    return low


def levers(costs: Costs, changes: float, look_ups: float) -> dict[str, float]:
    """At how many replicas the server is 70 % busy, as it is and with one thing done about it."""

    def replicas(utilisation_of: Callable[[float], float]) -> float:
        return breaks_at(utilisation_of, 0.7)

    def followed(each: int) -> Callable[[float], float]:
        """One process asks for `each` replicas and tells them; their look-ups still come to the server."""
        return lambda number: utilisation(costs, Load(number / each, changes, look_ups * each))

    return {
        "as_it_is": replicas(lambda number: utilisation(costs, Load(number, changes, look_ups))),
        "look_1s": replicas(lambda number: utilisation(costs, Load(number, changes, look_ups), 1.0)),
        "copies": replicas(lambda number: utilisation(costs, Load(number, changes, 0.0))),
        "followers": replicas(followed(WORKERS)),
        "followers_50": replicas(followed(50)),
        "followers_50_copies": replicas(lambda number: utilisation(costs, Load(number / 50, changes, 0.0))),
    }
