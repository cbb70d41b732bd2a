"""The control plane's application: its table of routes, who may use each, and what wraps every request (DESIGN 7)."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from frontiergate.control import directives, explain, grants, health, keys, models, replicas, store
from frontiergate.control.bodies import MAX_BODY
from frontiergate.control.operators import Operator
from frontiergate.control.plane import Plane
from frontiergate.control.problems import DOCS, Problem, answer
from frontiergate.domain.vetting import GrantState
from frontiergate.errors import NotFound, OutcomeUnknown, StoreError, StoreUnavailable

Handler = Callable[[Plane, web.Request, Operator], Awaitable[web.StreamResponse]]
PLANE = web.AppKey("plane", Plane)

# method, path, role, handler
ROUTES: tuple[tuple[str, str, str, Handler], ...] = (
    ("GET", "/admin/v1/epoch", "viewer", replicas.epoch),
    ("GET", "/admin/v1/replicas", "viewer", replicas.index),
    ("GET", "/admin/v1/store", "viewer", store.show),
    ("POST", "/admin/v1/store/accept", "admin", store.accept),
    ("GET", "/admin/v1/directives", "viewer", directives.index),
    ("POST", "/admin/v1/directives", "operator", directives.create),
    ("GET", "/admin/v1/directives/{id}", "viewer", directives.show),
    ("DELETE", "/admin/v1/directives/{id}", "operator", directives.lift),
    ("GET", "/admin/v1/directives/{id}/history", "viewer", directives.history),
    ("GET", "/admin/v1/models", "viewer", models.index),
    ("POST", "/admin/v1/models/{id:.+}/pause", "operator", models.pause),
    ("POST", "/admin/v1/models/{id:.+}/resume", "operator", models.resume),
    ("GET", "/admin/v1/grants", "viewer", grants.index),
    ("POST", "/admin/v1/grants", "operator", grants.create),
    ("GET", "/admin/v1/grants/{id}", "viewer", grants.show),
    ("POST", "/admin/v1/grants/{id}/revoke", "operator", grants.to(GrantState.REVOKED)),
    ("POST", "/admin/v1/grants/{id}/suspend", "operator", grants.to(GrantState.SUSPENDED)),
    ("POST", "/admin/v1/grants/{id}/resume", "operator", grants.to(GrantState.ACTIVE)),
    ("GET", "/admin/v1/keys", "viewer", keys.index),
    ("POST", "/admin/v1/keys", "operator", keys.create),
    ("DELETE", "/admin/v1/keys/{id}", "operator", keys.revoke),
    ("POST", "/admin/v1/keys/{id}/revoke", "operator", keys.revoke),
    ("POST", "/admin/v1/explain", "viewer", explain.answer),
)
PUBLIC = (("/healthz", health.healthz), ("/readyz", health.readyz), ("/metrics", health.metrics))
SECURITY_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


def build_app(plane: Plane) -> web.Application:
    """The application that serves `plane`."""
    app = web.Application(client_max_size=MAX_BODY, middlewares=[_problems])
    app[PLANE] = plane
    app.on_response_prepare.append(_secure)
    for method, path, role, handler in ROUTES:
        app.router.add_route(method, path, _guarded(plane, role, handler))
    for path, public in PUBLIC:
        app.router.add_get(path, _open(plane, public))  # HEAD too: load balancers ask so
    return app


def _guarded(plane: Plane, role: str, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Identify, authorise, then handle: a body is not read, and the store not asked, for someone who may not."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        operator = plane.setup.operators.identify(request.headers.getall("Authorization", []))
        operator.require(role)
        plane.require_store()
        return await handler(plane, request, operator)

    return guarded


def _open(
    plane: Plane, handler: Callable[[Plane, web.Request], Awaitable[web.StreamResponse]]
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def public(request: web.Request) -> web.StreamResponse:
        return await handler(plane, request)

    return public


@web.middleware
async def _problems(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    """Every error becomes a problem document; aiohttp's own pages never show."""
    try:
        return await handler(request)
    except Problem as problem:
        return answer(problem)
    except OutcomeUnknown as error:  # no Retry-After: it is not to be repeated before somebody has looked
        return answer(Problem("outcome-unknown", str(error)))
    except StoreUnavailable as error:
        done = "" if request.method in ("GET", "HEAD") else "nothing was changed: "
        detail = f"{done}the store cannot be used ({error}); try again when /readyz says ready"
        return answer(Problem("store-unavailable", detail, headers={"Retry-After": "1"}))
    except NotFound as error:
        return answer(Problem("not-found", str(error)))
    except StoreError as error:
        return answer(Problem("conflict", str(error)))
    except web.HTTPRequestEntityTooLarge:
        return answer(Problem("too-large", f"a body may have at most {MAX_BODY} bytes"))
    except web.HTTPMethodNotAllowed as error:
        allow = ", ".join(sorted(error.allowed_methods))
        return answer(Problem("method-not-allowed", f"{request.method} is not offered here, but {allow}", headers={"Allow": allow}))
    except web.HTTPException as error:
        detail = f"there is nothing at {request.path}: see {DOCS}" if error.status == 404 else str(error.reason)
        return answer(Problem("not-found" if error.status == 404 else "unreadable", detail))


async def _secure(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(SECURITY_HEADERS)
    response.headers.pop("Server", None)
