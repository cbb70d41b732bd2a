"""Health and metrics for machines: no credential, no personal data."""

import contextlib

from aiohttp import web

from frontiergate.control.bodies import reply
from frontiergate.control.plane import Plane
from frontiergate.control.problems import Problem
from frontiergate.control.replicas import state_of
from frontiergate.errors import StoreUnavailable


async def healthz(_plane: Plane, _request: web.Request) -> web.Response:
    """The process is alive; nothing more."""
    return reply({"status": "ok"})


async def readyz(plane: Plane, _request: web.Request) -> web.Response:
    """200 where the store answers, the policy compiles and a live worker enforces the log's head; else 503 with reasons."""
    reasons = await _reasons(plane)
    return reply({"status": "unready" if reasons else "ready", "reasons": reasons}, status=503 if reasons else 200)


async def metrics(plane: Plane, _request: web.Request) -> web.Response:
    """Prometheus exposition, summed over all workers."""
    with contextlib.suppress(StoreUnavailable):
        plane.require_store()  # this process's own sample must not be below the workers': the metric is the least of all
        plane.metrics.policy_epoch(await plane.store.head())
    body, content_type = plane.metrics.exposition()
    return web.Response(body=body, headers={"Content-Type": content_type})


async def _reasons(plane: Plane) -> list[str]:
    try:
        plane.require_store()
        epoch = (await plane.policy()).epoch
        reports, at = await plane.store.replicas(), plane.clock()
    except StoreUnavailable as error:
        return [f"the store cannot be reached: {error}"]
    except Problem as problem:
        return [problem.detail]
    states = [state_of(report, epoch, at) for report in reports]
    if "enforcing" in states:
        return []
    if "behind" in states:
        return [f"no data worker enforces epoch {epoch} yet"]
    return ["no data worker has been heard of within 3 s: is one running?"]
