"""The decision over directives and models: warm (same caller again), cold (a caller never seen), first (nobody seen yet under a new
policy for the model), and the time to compile all at once.

Five directives apply to the model asked for, as in the other benches; one of them needs a grant. The rest, all different, are on
other models. `crowded` has all of them on the one model.
"""

import itertools
import time
from typing import Any

import msgspec

from bench.candidates.gate import directives as usual
from bench.machine import BenchError, median
from bench.scale.apart import resident
from bench.world import MODEL
from frontiergate.domain.catalogue import Catalogue, Model
from frontiergate.domain.country import ALL_CODES
from frontiergate.domain.directive import Directive
from frontiergate.domain.evidence import Assurance, Evidence, Kind
from frontiergate.domain.facts import Facts, establish
from frontiergate.domain.groups import resolve_groups
from frontiergate.domain.policy import Draft, Policy, compile_policy, decide
from frontiergate.domain.verdict import Outcome
from frontiergate.domain.vetting import Grant

_APPLYING = 5
_CALLERS = 300
_ROUNDS = 30
_TIMES = 1000
_PLACES = ("US", "CA", "AU", "DE", "JP", "BR", "FR", "SE", "IT", "KR")  # where the directives let callers be


def point(count: int, models: int, *, crowded: bool = False) -> dict[str, float]:
    """One point: µs, ms and KiB."""
    catalogue = catalogue_of(models)
    directives = made(count + 1, models - 1, crowded=crowded)
    groups = resolve_groups({})
    at = time.time()
    before, began = resident(), time.perf_counter()
    policy = compile_policy(catalogue, directives[:-1], (), groups, 1)
    compiled = time.perf_counter() - began
    return {
        "compile_ms": compiled * 1e3,
        "policy_kib": resident() - before,
        "cold_us": _cold(policy, catalogue, at),
        "first_us": _first(policy, catalogue, at),
        "warm_us": _warm(policy, catalogue, at),
    }


def catalogue_of(models: int) -> Catalogue:
    """The model asked for and others."""
    return Catalogue(Model(id=id_, dialects=("openai",), upstream="u") for id_ in [MODEL, *_others(models - 1)])


def _others(count: int) -> list[str]:
    return [f"openai/other-{number}" for number in range(count)]


def made(count: int, others: int, *, crowded: bool = False) -> list[Directive]:
    """The usual five, and beyond them `location none_in` lists of two countries, no two alike while there are enough."""
    pairs = itertools.cycle(itertools.combinations([code for code in ALL_CODES if code not in {*_PLACES, "GB"}], 2))
    found: list[dict[str, Any]] = []
    for number, directive in enumerate(usual(count, _APPLYING)):
        if number >= _APPLYING:
            directive["require"] = {"location": {"none_in": list(next(pairs))}}
            directive["otherwise"] = "refuse"
            directive["models"] = [MODEL if crowded else f"openai/other-{number % others}"]
        found.append(directive)
    return msgspec.convert(found, list[Directive])


def grant_of(principal: str, at: float) -> Grant:
    """The grant that the usual five need."""
    return Grant(id=f"g-{principal}", principal=principal, programme="caisi", models=(MODEL,), issued_at=at, expires_at=at + 1e6)


def _caller(location: str, at: float) -> Facts:
    said = ((Kind.NATIONALITY, "US"), (Kind.US_PERSON, "true"), (Kind.LOCATION, location))
    return establish(
        (Evidence(kind=kind, value=value, source="token", assurance=Assurance.ATTESTED, observed_at=at) for kind, value in said), at
    )


def _cold(policy: Policy, catalogue: Catalogue, at: float) -> float:
    """µs of the first decision on a caller."""
    asked, grants = (catalogue.models[MODEL],), (grant_of("p", at),)
    decide(_caller("US", at), asked, policy, grants, at)
    fresh = [_caller(place, at) for place, _ in zip(itertools.cycle(_PLACES), range(_CALLERS), strict=False)]
    took: list[float] = []
    for facts in fresh:
        began = time.perf_counter()
        decide(facts, asked, policy, grants, at)
        took.append(time.perf_counter() - began)
    return median(took) * 1e6


def _first(policy: Policy, catalogue: Catalogue, at: float) -> float:
    """µs of the first decision of all under a policy that is new for the model: one directive more is on it."""
    asked, grants = (catalogue.models[MODEL],), (grant_of("p", at),)
    took: list[float] = []
    for number in range(_ROUNDS):
        draft = Draft.after(policy)
        draft.add(msgspec.structs.replace(made(1, 1)[0], id=f"new-{number}"))
        policy, facts = draft.policy((), policy.epoch + 1), _caller("US", at)
        began = time.perf_counter()
        verdict = decide(facts, asked, policy, grants, at)
        took.append(time.perf_counter() - began)
        if verdict.outcome is not Outcome.FORWARD or verdict.epoch != policy.epoch:
            raise BenchError("the good caller is not admitted")
    return median(took) * 1e6


def _warm(policy: Policy, catalogue: Catalogue, at: float) -> float:
    """µs of a further decision on the same caller, the loop's own cost taken off. Raises BenchError where it is not forward."""
    asked, grants, facts = (catalogue.models[MODEL],), (grant_of("p", at),), _caller("US", at)
    if decide(facts, asked, policy, grants, at).outcome is not Outcome.FORWARD:
        raise BenchError("the good caller is not admitted")
    took: list[float] = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        for _ in range(_TIMES):
            decide(facts, asked, policy, grants, at)
        middle = time.perf_counter()
        for _ in range(_TIMES):
            pass
        took.append((middle - began) - (time.perf_counter() - middle))
    return median(took) / _TIMES * 1e6
