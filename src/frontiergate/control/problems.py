"""Problems: every error of the admin API as `application/problem+json` (RFC 9457)."""

from collections.abc import Mapping, Sequence

import msgspec
from aiohttp import web

from frontiergate.errors import GateError

DOCS = "/docs/reference/api"

# slug: (status, title). The slug is the type's last part and never changes once published (RFC 9457 section 3.1.1).
KINDS: dict[str, tuple[int, str]] = {
    "unreadable": (400, "The request cannot be read"),
    "unauthenticated": (401, "A valid bearer token is needed"),
    "forbidden": (403, "Your roles do not allow this"),
    "not-found": (404, "There is no such thing"),
    "method-not-allowed": (405, "This method is not offered here"),
    "conflict": (409, "It is not in a state that allows this"),
    "in-config-file": (409, "It is kept in the config file"),
    "second-person": (409, "A second person must agree"),
    "changed": (412, "It changed in between"),
    "too-large": (413, "The body is too large"),
    "not-json": (415, "The body must be JSON"),
    "invalid": (422, "The request does not say what it must"),
    "if-match-missing": (428, "If-Match is needed"),
    "store-unavailable": (503, "The store cannot be used"),
    "outcome-unknown": (503, "Whether it was changed, or will stay so, is not known"),
}


class FieldError(msgspec.Struct, frozen=True):
    """One thing that is wrong in a request: where (`directive.models[0]`; empty for the whole), what and what to do."""

    field: str
    detail: str


class Problem(GateError):
    """Ends a request. `detail` says what is wrong here and the next step."""

    def __init__(self, slug: str, detail: str, errors: Sequence[FieldError] = (), headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.slug = slug
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})


def invalid(errors: Sequence[FieldError]) -> Problem:
    """The problem `invalid` (422) that lists `errors`; its detail names them all for people who see only that."""
    return Problem("invalid", "; ".join(f"{e.field}: {e.detail}" if e.field else e.detail for e in errors), errors)


def answer(problem: Problem) -> web.Response:
    """The response for `problem`."""
    status, title = KINDS[problem.slug]
    document: dict[str, object] = {"type": f"{DOCS}#{problem.slug}", "title": title, "status": status, "detail": problem.detail}
    if problem.errors:
        document["errors"] = problem.errors
    return web.Response(status=status, body=msgspec.json.encode(document), content_type="application/problem+json", headers=problem.headers)
