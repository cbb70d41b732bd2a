"""Bodies: strict, typed JSON in; JSON out, with entity tags (RFC 9110 section 8.8.3)."""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec
from aiohttp import web

from frontiergate.config.load import spelled
from frontiergate.config.shape import problems_of
from frontiergate.control.problems import FieldError, Problem, invalid
from frontiergate.identity.strictjson import parse_object

T = TypeVar("T")
MAX_BODY = 1 << 20
_ENTITY_TAG = re.compile(r'"(0|[1-9][0-9]{0,18})"')


async def read(request: web.Request, shape: type[T]) -> T:
    """The body as `shape`; raises Problem (400, 415, 422) that lists every fault. Its length is bounded by the application (413)."""
    if request.content_type != "application/json" or (request.charset or "utf-8").lower() != "utf-8":
        raise Problem("not-json", "send Content-Type: application/json")
    value = _json(await request.read())
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        faults = [FieldError(spelled(path).removesuffix(": "), what) for path, what in problems_of(value, shape)]
        raise invalid(faults or [FieldError("", str(error))]) from None


def _json(raw: bytes) -> object:
    """One strict JSON object. A name that is there twice is refused: what was reviewed and what takes effect could differ."""
    try:
        msgspec.json.decode(raw)  # what the standard library lets pass and nobody can store: lone surrogates
        return parse_object(raw)
    except (ValueError, RecursionError) as error:
        raise Problem("unreadable", f"the body is not one JSON object: {error}") from None


def reply(document: object, *, status: int = 200, etag: int | None = None, location: str | None = None) -> web.Response:
    """`document` as JSON. `etag` is the epoch that last changed what is shown."""
    headers: dict[str, str] = {}
    if etag is not None:
        headers["ETag"] = f'"{etag}"'
    if location is not None:
        headers["Location"] = location
    return web.Response(status=status, body=msgspec.json.encode(document), content_type="application/json", headers=headers)


def if_match(request: web.Request) -> int | None:
    """The epoch that If-Match names; None for `*`. Raises Problem 428 where it is missing (RFC 6585), 412 where it cannot match."""
    fields = request.headers.getall("If-Match", [])
    if not fields:
        raise Problem("if-match-missing", "send If-Match with the ETag that GET shows, or * to change whatever is there")
    if fields == ["*"]:
        return None
    match = _ENTITY_TAG.fullmatch(fields[0].strip()) if len(fields) == 1 else None
    if match is None:  # weak tags never match (RFC 9110 section 13.1.1), nor does a tag we did not write
        raise Problem("changed", f"If-Match {', '.join(fields)} is not an ETag of this resource: read it again with GET")
    return int(match[1])


def query(request: web.Request, known: Iterable[str]) -> Mapping[str, str]:
    """The query parameters; raises Problem (422) for one that is unknown or there twice."""
    names = sorted(known)
    errors = [FieldError(f"?{name}", "unknown parameter" + nearest(name, names)) for name in request.query if name not in names]
    errors += [FieldError(f"?{name}", "is there twice") for name in names if len(request.query.getall(name, [])) > 1]
    if errors:
        raise invalid(errors)
    return request.query


def number(parameters: Mapping[str, str], name: str, default: int, highest: int) -> int:
    """A whole number from 0 to `highest` among the query parameters; raises Problem (422)."""
    text = parameters.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= highest):
        raise invalid([FieldError(f"?{name}", f"must be a whole number from 0 to {highest}")])
    return int(text)


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean …?` with the nearest of `known`, or nothing."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else ""
