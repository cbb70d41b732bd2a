"""Which dialect and operation a request line means: byte-exact, precomputed, unknown by default (P2; BYPASSES 13 to 15)."""

import re
from collections.abc import Container, Iterable
from urllib.parse import unquote_to_bytes

import msgspec

from frontiergate.dialects.anthropic import ANTHROPIC
from frontiergate.dialects.openai import OPENAI
from frontiergate.dialects.operation import Dialect, Operation

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in (OPENAI, ANTHROPIC)}

_MODEL = b"{model}"
_ENCODED = re.compile(rb"(?:[^%]|%[0-9A-Fa-f]{2})*+")


class Route(msgspec.Struct, frozen=True):
    """What a request line means. `query_problem` says what of the query the operation does not have (CALLER_QUERY_UNEXPECTED)."""

    dialect: Dialect
    operation: Operation
    model_segment: bytes | None  # what stands for {model}, percent-decoded once
    path: bytes
    query: bytes = b""
    query_problem: str | None = None


class Routes:
    """All operations of some dialects. Where two share a path, the request's marks decide, else the first that needs none."""

    __slots__ = ("_dialects", "_exact", "_prefixes")

    def __init__(self, dialects: Iterable[Dialect]) -> None:
        self._dialects = tuple(dialects)
        self._exact: dict[tuple[bytes, bytes], tuple[Route, ...]] = {}
        self._prefixes: dict[tuple[bytes, bytes], tuple[Route, ...]] = {}
        for dialect in self._dialects:
            for operation in dialect.operations:
                path = operation.path.removesuffix(_MODEL)
                table = self._exact if path == operation.path else self._prefixes
                key = (operation.method, path)
                table[key] = (*table.get(key, ()), Route(dialect, operation, None, path))

    def match(self, method: bytes, target: bytes, marks: Container[bytes]) -> Route | None:
        """The route of a request line, or None. `marks`: the names of the request's header fields, lower case.

        But for {model}, nothing is decoded or normalised: a target that is not written as the table has it is unknown.
        """
        routes = self._exact.get((method, target))
        if routes is not None:  # no query, no model in the path: no new object (0.3 µs)
            return routes[0] if len(routes) == 1 else _chosen(routes, marks)
        if b"#" in target or not target.isascii():
            return None
        path, _, query = target.partition(b"?")
        routes, segment = self._exact.get((method, path)), None
        if routes is None:
            routes, segment = self._named(method, path)
        if routes is None:
            return None
        route = _chosen(routes, marks)
        return Route(route.dialect, route.operation, segment, path, query, _query_problem(query, route.operation.query))

    def dialect_for(self, target: bytes, marks: Container[bytes]) -> Dialect:
        """The dialect whose shape fits an answer to a target that matches nothing: by marks, then by path, else the first."""
        for dialect in self._dialects:
            if any(mark in marks for mark in dialect.marks):
                return dialect
        path = target.partition(b"?")[0]
        for routes in self._exact.values():
            if len(routes) == 1 and (path + b"/").startswith(routes[0].path + b"/"):
                return routes[0].dialect
        return self._dialects[0]

    def _named(self, method: bytes, path: bytes) -> tuple[tuple[Route, ...] | None, bytes | None]:
        """The operations whose {model} is the rest of `path`: model ids have slashes, so it may have several segments."""
        for (wanted, prefix), routes in self._prefixes.items():
            if method == wanted and path.startswith(prefix) and len(path) > len(prefix):
                return routes, _decoded(path[len(prefix) :])
        return None, None


def _decoded(segment: bytes) -> bytes:
    """A path segment, percent-decoded once (RFC 3986 section 2.1); as it came where a `%` encodes nothing."""
    return unquote_to_bytes(segment) if _ENCODED.fullmatch(segment) else segment


def _chosen(routes: tuple[Route, ...], marks: Container[bytes]) -> Route:
    for route in routes:
        if any(mark in marks for mark in route.dialect.marks):
            return route
    return next((route for route in routes if not route.dialect.marks), routes[0])


def _query_problem(query: bytes, known: frozenset[bytes]) -> str | None:
    """What is wrong with a query; names are compared as they came, so an encoded one is unknown."""
    if not query:
        return None
    if b";" in query:  # a separator to some servers
        return "the query has a `;`: separate parameters by `&`"
    seen: set[bytes] = set()
    for part in query.split(b"&"):
        name = part.partition(b"=")[0]
        shown = name[:64].decode("ascii")
        if name not in known:
            offered = ", ".join(sorted(key.decode() for key in known)) or "none"
            return f"the query parameter {shown!r} is not one of this operation's ({offered})"
        if name in seen:
            return f"the query parameter {shown!r} occurs more than once"
        seen.add(name)
    return None
