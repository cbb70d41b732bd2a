"""Models: what stands in the way of each, and the operational stop (pause), which makes no legal claim."""

import msgspec
from aiohttp import web

from frontiergate.control.bodies import nearest, query, read, reply
from frontiergate.control.directives import Why
from frontiergate.control.instants import iso
from frontiergate.control.operators import Operator
from frontiergate.control.plane import Plane, Setup
from frontiergate.control.problems import Problem
from frontiergate.domain.catalogue import Model
from frontiergate.domain.directive import Directive, Vet, rule
from frontiergate.domain.policy import Policy, in_force
from frontiergate.domain.requirement import Requirement
from frontiergate.errors import Conflict, NotFound
from frontiergate.store.protocol import ModelPaused, ModelResumed, Pause


class WhyPaused(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reason: Why


class WhyResumed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reason: Why = "resumed"


async def index(plane: Plane, request: web.Request, _: Operator) -> web.Response:
    """Every model of the catalogue with its state."""
    query(request, ())
    policy, state, at = await plane.policy(), await plane.store.state(), plane.clock()
    pauses = {pause.model: pause for pause in state.pauses}
    sessions = plane.metrics.live_sessions_by_model()
    views = [
        _view(model, policy, pauses.get(model.id), sessions.get(model.id, 0), at)
        for model in sorted(plane.setup.catalogue.models.values(), key=lambda model: model.id)
    ]
    return reply({"epoch": policy.epoch, "models": views}, etag=policy.epoch)


async def pause(plane: Plane, request: web.Request, operator: Operator) -> web.Response:
    """Stop one model: 503 for every caller, live streams included."""
    model = model_of(plane.setup, request.match_info["id"])
    body = await read(request, WhyPaused)
    change = ModelPaused(Pause(model=model.id, reason=body.reason, by=operator.name, since=plane.clock()))
    try:
        entry = await plane.store.append(change, actor=operator.name, reason=body.reason)
    except Conflict:
        raise Problem("conflict", f"{model.id} is paused already") from None
    return reply({"epoch": entry.epoch, "appended_at": entry.at, "model": model.id, "paused": True})


async def resume(plane: Plane, request: web.Request, operator: Operator) -> web.Response:
    """End a pause. It lifts no directive. A pause of a model that left the catalogue can be ended too."""
    name = request.match_info["id"]
    body = await read(request, WhyResumed) if request.body_exists else WhyResumed()
    if name not in {pause.model for pause in (await plane.store.state()).pauses}:
        raise Problem("conflict", f"{model_of(plane.setup, name).id} is not paused")
    plane.refuse_loosening(f"resuming {name}")
    try:
        entry = await plane.store.append(ModelResumed(name), actor=operator.name, reason=body.reason)
    except (Conflict, NotFound):  # someone else was faster
        raise Problem("conflict", f"{name} is not paused") from None
    return reply({"epoch": entry.epoch, "appended_at": entry.at, "model": name, "paused": False})


def model_of(setup: Setup, id: str) -> Model:
    """The model with this id; raises Problem (404) with the nearest id."""
    model = setup.catalogue.models.get(id)
    if model is None:
        raise Problem("not-found", f"there is no model {id!r} in the catalogue{nearest(id, setup.catalogue.models)}")
    return model


def state_of(directives: tuple[Directive, ...], paused: bool) -> str:
    """The most restrictive first: withdrawn, paused, restricted (some are refused), vetting (all others may be vetted), open."""
    rules = [rule(directive) for directive in directives if directive.mode == "enforce"]
    if any(made.otherwise == "withdraw" and made.require == Requirement(never=True) for made in rules):
        return "withdrawn"
    if paused:
        return "paused"
    if not rules:
        return "open"
    return "vetting" if all(isinstance(made.otherwise, Vet) for made in rules) else "restricted"


def _view(model: Model, policy: Policy, paused: Pause | None, live_sessions: int, at: float) -> dict[str, object]:
    directives = in_force(policy, model.id, at)
    return {
        "id": model.id,
        "names": model.names,
        "dialects": model.dialects,
        "tags": model.tags,
        "stage": model.stage,
        "state": state_of(directives, paused is not None),
        "directives": [directive.id for directive in directives],
        "paused": None if paused is None else {"reason": paused.reason, "by": paused.by, "since": iso(paused.since)},
        "live_sessions": live_sessions,
    }
