"""Grants: give, list, suspend, resume, revoke. A grant names its models one by one, as they are today (DESIGN 4.3)."""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from frontiergate.control.bodies import nearest, number, query, read, reply
from frontiergate.control.directives import Why
from frontiergate.control.instants import iso, parse_instant
from frontiergate.control.operators import Operator
from frontiergate.control.plane import Plane, Setup
from frontiergate.control.problems import FieldError, Problem, invalid
from frontiergate.domain.scope import ModelIndex
from frontiergate.domain.vetting import Grant, GrantState, active
from frontiergate.errors import Conflict, NotFound
from frontiergate.store.protocol import GrantChanged, GrantIssued

PATH = "/admin/v1/grants"
PAGE = 100


class NewGrant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`models` are ids or globs over ids; `expires` an instant or a duration, by default what the programme gives."""

    principal: Annotated[str, Meta(min_length=3, max_length=500)]
    programme: str
    models: Annotated[tuple[str, ...], Meta(min_length=1)]
    expires: str | None = None
    reason: Why


class WhyMoved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reason: Why


async def index(plane: Plane, request: web.Request, _: Operator) -> web.Response:
    """Grants by id, page by page (`next` is the cursor of the following page), or those of one principal."""
    parameters = query(request, ("principal", "cursor", "limit"))
    at = plane.clock()
    following = None
    grants: Sequence[Grant]
    if (principal := parameters.get("principal")) is not None:
        grants = await plane.store.grants_of(principal)
    else:
        limit = max(1, number(parameters, "limit", PAGE, 1000))
        grants = await plane.store.grants(after=parameters.get("cursor", ""), limit=limit)
        following = grants[-1].id if len(grants) == limit else None
    return reply({"grants": [view(grant, at) for grant in grants], "next": following})


async def create(plane: Plane, request: web.Request, operator: Operator) -> web.Response:
    """Give a grant at once, without a case."""
    body = await read(request, NewGrant)
    at = plane.clock()
    grant = await _grant(plane, body, at)
    plane.refuse_loosening(f"a grant for {grant.principal}")
    entry = await plane.store.append(GrantIssued(grant), actor=operator.name, reason=body.reason)
    document = {"epoch": entry.epoch, "appended_at": entry.at, "grant": view(grant, at)}
    return reply(document, status=201, location=f"{PATH}/{grant.id}")


async def show(plane: Plane, request: web.Request, _: Operator) -> web.Response:
    return reply(view(await _existing(plane, request.match_info["id"]), plane.clock()))


def to(state: GrantState) -> Callable[[Plane, web.Request, Operator], Awaitable[web.Response]]:
    """The handler that moves a grant to `state`."""

    async def move(plane: Plane, request: web.Request, operator: Operator) -> web.Response:
        body = await read(request, WhyMoved)
        grant = await _existing(plane, request.match_info["id"])
        if state is GrantState.ACTIVE:
            plane.refuse_loosening(f"resuming {grant.id}")
        change = GrantChanged(grant.id, state.value, grant.principal)
        try:
            entry = await plane.store.append(change, actor=operator.name, reason=body.reason)
        except Conflict:
            raise Problem("conflict", f"{grant.id} is {grant.state.value}: it cannot become {state.value}") from None
        moved = msgspec.structs.replace(grant, state=state)
        return reply({"epoch": entry.epoch, "appended_at": entry.at, "grant": view(moved, entry.at)})

    return move


def view(grant: Grant, at: float) -> dict[str, object]:
    return {
        "id": grant.id,
        "principal": grant.principal,
        "programme": grant.programme,
        "models": grant.models,
        "state": grant.state.value,
        "in_force": active(grant, at),
        "issued_at": iso(grant.issued_at),
        "expires_at": iso(grant.expires_at),
        "case": grant.case,
        "reason": grant.reason,
    }


async def _grant(plane: Plane, body: NewGrant, at: float) -> Grant:
    """The grant that `body` asks for; raises Problem (422) that lists all that is wrong."""
    setup = plane.setup
    errors = [FieldError("principal", trouble) for trouble in await _principal_troubles(plane, body.principal)]
    models: set[str] = set()
    index = ModelIndex(setup.catalogue.models)
    for position, glob in enumerate(body.models):
        found = index.select((glob,))
        models |= found
        if not found:
            detail = f"no model of the catalogue is {glob!r}{nearest(glob, setup.catalogue.models)}"
            errors.append(FieldError(f"models[{position}]", detail))
    programme = setup.config.programmes.get(body.programme)
    expires_at = at
    if programme is None:
        known = setup.config.programmes
        errors.append(FieldError("programme", f"there is no programme {body.programme!r}{nearest(body.programme, known)}"))
    elif body.expires is None:
        expires_at = at + programme.grant
    if body.expires is not None:
        expires_at, trouble = expiry(body.expires, at)
        errors += [FieldError("expires", trouble)] if trouble else []
    if errors:
        raise invalid(errors)
    return Grant(
        id=f"g_{secrets.token_hex(8)}",
        principal=body.principal,
        programme=body.programme,
        models=tuple(sorted(models)),
        issued_at=at,
        expires_at=expires_at,
        reason=body.reason,
    )


def expiry(text: str, at: float) -> tuple[float, str]:
    """The instant that `text` names, and what is wrong with it (empty if nothing is)."""
    try:
        instant = parse_instant(text, at).timestamp()
    except ValueError as error:
        return at, str(error)
    return instant, "" if instant > at else f"{text} is in the past"


async def _principal_troubles(plane: Plane, principal: str) -> list[str]:
    issuer, separator, subject = principal.partition("|")
    if not (separator and issuer and subject):
        return ["write ISSUER|SUBJECT for the bearer of a token, or key|KEY-ID for an API key"]
    return await _key_troubles(plane, subject) if issuer == "key" else _issuer_troubles(plane.setup, issuer)


async def _key_troubles(plane: Plane, id: str) -> list[str]:
    keys = {key.id: key for key in await plane.store.keys()}
    if id not in keys:
        return [f"there is no key {id!r}{nearest(id, keys)}"]
    return [] if keys[id].revoked_at is None else [f"the key {id!r} is revoked"]


def _issuer_troubles(setup: Setup, issuer: str) -> list[str]:
    issuers = [known.issuer for known in setup.config.identity.issuers]
    return [] if issuer in issuers else [f"no issuer {issuer!r} is configured{nearest(issuer, issuers)}"]


async def _existing(plane: Plane, id: str) -> Grant:
    try:
        return await plane.store.grant(id)
    except NotFound:
        raise Problem("not-found", f"there is no grant {id!r}: list them with GET {PATH}") from None
