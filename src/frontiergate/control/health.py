"""Health and metrics for machines: no credential, no personal data."""

import contextlib

from aiohttp import web

from frontiergate.control.bodies import reply
from frontiergate.control.plane import HEARTBEAT_LIMIT, Plane
from frontiergate.control.problems import Problem
from frontiergate.control.replicas import state_of
from frontiergate.errors import StoreError


async def healthz(_plane: Plane, _request: web.Request) -> web.Response:
    """The process is alive; nothing more."""
    return reply({"status": "ok"})


async def readyz(plane: Plane, _request: web.Request) -> web.Response:
    """200 where the store answers, the policy compiles and a live worker enforces the log's head and admits; else 503 with reasons."""
    reasons = await _reasons(plane)
    return reply({"status": "unready" if reasons else "ready", "reasons": reasons}, status=503 if reasons else 200)


async def metrics(plane: Plane, _request: web.Request) -> web.Response:
    """Prometheus exposition, summed over all workers."""
    with contextlib.suppress(StoreError):
        plane.require_store()  # this process's own sample must not be below the workers': the metric is the least of all
        plane.metrics.policy_epoch(await plane.store.head())
    body, content_type = plane.metrics.exposition()
    return web.Response(body=body, headers={"Content-Type": content_type})


async def _reasons(plane: Plane) -> list[str]:
    try:
        plane.require_store()
        await plane.policy()
        clock = plane.store_clock()
        position = await clock.ask(plane.store)
        reports = await plane.store.replicas()
    except StoreError as error:
        return [f"the store cannot be used: {error}"]
    except Problem as problem:
        return [problem.detail]
    states = [(state_of(report, position, clock.now()), report) for report in reports]
    live = [(state, report) for state, report in states if state != "silent"]
    if any(state == "enforcing" and not report.stale for state, report in live):
        return []
    if not live:
        return [f"no data worker has been heard of within {HEARTBEAT_LIMIT:g} s: is one running?"]
    stale = sorted({report.problem for _, report in live if report.stale and report.problem})
    return [f"gated traffic is refused: {problem}" for problem in stale] or [f"no data worker enforces epoch {position.epoch} yet"]
