"""Directives: list, put in force, lift, look back. The config file's are shown but changed only there (DESIGN 4.2)."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from frontiergate.control.bodies import if_match, nearest, query, read, reply
from frontiergate.control.instants import iso
from frontiergate.control.operators import Operator
from frontiergate.control.plane import Plane, Setup
from frontiergate.control.problems import FieldError, Problem, invalid
from frontiergate.domain.directive import Directive, Tag
from frontiergate.domain.directive import validate as problems_of
from frontiergate.domain.policy import describe
from frontiergate.domain.scope import ModelIndex
from frontiergate.errors import Conflict
from frontiergate.store.protocol import DirectiveAdded, DirectiveLifted, Entry, StoredDirective

Why = Annotated[str, Meta(min_length=1, max_length=1000)]
PATH = "/admin/v1/directives"


class NewDirective(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    directive: Directive
    reason: Why


async def index(plane: Plane, request: web.Request, _: Operator) -> web.Response:
    """All directives of both sources; the ETag is the epoch."""
    query(request, ())
    at, state = plane.clock(), await plane.store.state()
    views = [_view(directive, None, at) for directive in plane.setup.directives.values()]
    views += [_view(stored.directive, stored, at) for stored in state.directives]
    return reply({"epoch": state.epoch, "directives": views}, etag=state.epoch)


async def show(plane: Plane, request: web.Request, _: Operator) -> web.Response:
    """One directive; the ETag of a runtime directive is what lifting it needs."""
    name = request.match_info["id"]
    at = plane.clock()
    if (configured := plane.setup.directives.get(name)) is not None:
        return reply(_view(configured, None, at))
    stored = await _stored(plane, name)
    return reply(_view(stored.directive, stored, at), etag=stored.epoch)


async def create(plane: Plane, request: web.Request, operator: Operator) -> web.Response:
    """Put a directive in force. One that selects no model is refused: it would look like a restriction and be none."""
    body = await read(request, NewDirective)
    directive, setup = body.directive, plane.setup
    _check(directive, setup)
    if directive.id in setup.directives:
        raise Problem("in-config-file", f"the config file has a directive {directive.id!r}: choose another id, or edit the file")
    try:
        entry = await plane.store.append(DirectiveAdded(directive), actor=operator.name, reason=body.reason)
    except Conflict:
        raise Problem("conflict", f"there is a directive {directive.id!r} already: choose another id, or lift that one first") from None
    view = _view(directive, StoredDirective(directive, entry.epoch, entry.actor, entry.at), entry.at)
    document = {"epoch": entry.epoch, "appended_at": entry.at, "directive": view}
    return reply(document, status=201, etag=entry.epoch, location=f"{PATH}/{directive.id}")


async def lift(plane: Plane, request: web.Request, operator: Operator) -> web.Response:
    """End a runtime directive, if it is still the one that If-Match names."""
    name = request.match_info["id"]
    reason = query(request, ("reason",)).get("reason", "lifted")[:1000]
    if name in plane.setup.directives:
        raise Problem("in-config-file", f"{name} is kept in the config file: remove it there and reload (SIGHUP)")
    expect = if_match(request)
    await _stored(plane, name)
    plane.refuse_loosening(f"lifting {name}")
    try:
        entry = await plane.store.append(DirectiveLifted(name), actor=operator.name, reason=reason, expect=expect)
    except Conflict:
        raise Problem("changed", f"{name} is not what If-Match names any more: read it again, then lift it") from None
    return reply({"epoch": entry.epoch, "appended_at": entry.at, "lifted": name})


async def history(plane: Plane, request: web.Request, _: Operator) -> web.Response:
    """Every entry of the log about one runtime directive, oldest first; also after it was lifted."""
    name = request.match_info["id"]
    entries = await plane.store.directive_history(name)
    if not entries:
        await _stored(plane, name)
    return reply({"id": name, "history": [_entry(entry) for entry in entries]})


def _check(directive: Directive, setup: Setup) -> None:
    """Raises Problem (422) that lists all that is wrong with `directive`."""
    errors = [_field_error(line) for line in problems_of(directive, setup.groups, setup.config.programmes)]
    models = setup.catalogue.models
    index = ModelIndex(models)
    for position, selector in enumerate(directive.models):
        if index.select((selector,)):
            continue
        field = f"directive.models[{position}]"
        if isinstance(selector, Tag):
            tags = {tag for model in models.values() for tag in model.tags}
            errors.append(FieldError(field, f"no model has the tag {selector.tag!r}{nearest(selector.tag, tags)}"))
        else:
            errors.append(FieldError(field, f"no model of the catalogue is {selector!r}{nearest(selector, models)}"))
    if errors:
        raise invalid(errors)


def _field_error(line: str) -> FieldError:
    """`validate`'s line (`path: what to do`) with the path inside the body."""
    path, separator, detail = line.partition(": ")
    return FieldError(f"directive.{path}", detail) if separator else FieldError("directive", line)


async def _stored(plane: Plane, id: str) -> StoredDirective:
    directives: Sequence[StoredDirective] = (await plane.store.state()).directives
    for stored in directives:
        if stored.directive.id == id:
            return stored
    known = [*plane.setup.directives, *(stored.directive.id for stored in directives)]
    raise Problem("not-found", f"there is no directive {id!r}{nearest(id, known)}")


def phase(directive: Directive, at: float) -> str:
    """Whether it is `scheduled`, `in_force` or `ended` at this instant."""
    if directive.from_ is not None and at < directive.from_.timestamp():
        return "scheduled"
    return "ended" if directive.until is not None and at >= directive.until.timestamp() else "in_force"


def _view(directive: Directive, stored: StoredDirective | None, at: float) -> dict[str, object]:
    return {
        "id": directive.id,
        "source": "config" if stored is None else "runtime",
        "state": phase(directive, at),
        "mode": directive.mode,
        "sentence": describe(directive),
        "epoch": None if stored is None else stored.epoch,
        "by": None if stored is None else stored.actor,
        "since": None if stored is None else iso(stored.at),
        "directive": directive,
    }


def _entry(entry: Entry) -> dict[str, object]:
    added = entry.change.directive if isinstance(entry.change, DirectiveAdded) else None
    return {
        "epoch": entry.epoch,
        "at": iso(entry.at),
        "actor": entry.actor,
        "reason": entry.reason,
        "change": "lifted" if added is None else "put in force",
        "directive": added,
    }
