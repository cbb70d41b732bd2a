"""Replicas: which worker enforces which epoch; and waiting until all do (P4)."""

import asyncio
import re
from collections.abc import Sequence

from aiohttp import web

from frontiergate.control.bodies import number, query, reply
from frontiergate.control.instants import iso
from frontiergate.control.operators import Operator
from frontiergate.control.plane import HEARTBEAT_LIMIT, Plane
from frontiergate.control.problems import FieldError, invalid
from frontiergate.store.lineage import log_of
from frontiergate.store.protocol import Position, ReplicaReport

LONGEST_WAIT = 60
_SECONDS = re.compile(r"[0-9]{1,2}(\.[0-9]{1,6})?")


async def epoch(plane: Plane, request: web.Request, _: Operator) -> web.Response:
    """The log's last epoch."""
    query(request, ())
    head = await plane.store.head()
    return reply({"epoch": head}, etag=head)


async def index(plane: Plane, request: web.Request, _: Operator) -> web.Response:
    """All replicas. With `?epoch=N&wait=SECONDS`: once every live one enforces N, or when the time is over.

    Silent replicas are listed, counted in `total` and never waited for: a hung worker must show (BYPASSES 64).
    """
    parameters = query(request, ("epoch", "wait"))
    clock = plane.store_clock()
    position = await clock.ask(plane.store)
    wanted = number(parameters, "epoch", position.epoch, 2**62)
    deadline = asyncio.get_running_loop().time() + _seconds(parameters.get("wait", "0"))
    while True:
        turn = plane.watch.turn
        reports, at = await plane.store.replicas(), clock.now()
        states = [state_of(report, Position(position.lineage, wanted), at) for report in reports]
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0 or ("enforcing" in states and "behind" not in states):
            break
        await plane.watch.after(turn, min(left, _until_silent(reports, at)))
    enforcing = states.count("enforcing")
    return reply(
        {
            "epoch": wanted,
            "head": await plane.store.head(),
            "total": len(reports),
            "enforcing": enforcing,
            "complete": enforcing == len(reports) > 0,
            "replicas": [_view(report, state, wanted, at) for report, state in zip(reports, states, strict=True)],
        }
    )


def state_of(report: ReplicaReport, wanted: Position, at: float) -> str:
    """`silent` (no heartbeat for too long, whatever it last said), `enforcing` or `behind`.

    One that follows another log, or does not believe this one, is behind, whatever epoch it is at. A heartbeat from the future tells
    of a clock that was set, and not that anybody is alive.
    """
    if abs(at - report.heartbeat) > HEARTBEAT_LIMIT:
        return "silent"
    follows = log_of(report.lineage) == log_of(wanted.lineage) and not report.regressed
    return "enforcing" if follows and report.epoch >= wanted.epoch else "behind"


def _seconds(text: str) -> float:
    """The value of `?wait=`; raises Problem (422)."""
    if not _SECONDS.fullmatch(text) or float(text) > LONGEST_WAIT:
        raise invalid([FieldError("?wait", f"must be a number of seconds from 0 to {LONGEST_WAIT}")])
    return float(text)


def _until_silent(reports: Sequence[ReplicaReport], at: float) -> float:
    """Seconds until the passing of time alone can change a state."""
    return min((left for report in reports if (left := report.heartbeat + HEARTBEAT_LIMIT - at) >= 0), default=HEARTBEAT_LIMIT) + 0.01


def _view(report: ReplicaReport, state: str, wanted: int, at: float) -> dict[str, object]:
    host, _, worker = report.name.rpartition("/")
    reached = report.reached(wanted)
    return {
        "name": report.name,
        "host": host,
        "worker": worker,
        "state": state,
        "epoch": report.epoch,
        "enforced_at": reached.at,
        "severed": reached.severed,
        "heartbeat": iso(report.heartbeat),
        "silent_for": round(max(0.0, at - report.heartbeat), 3),
        "live_sessions": report.live_sessions,
        "stale": report.stale,
        "problem": report.problem or None,
        "clock_offset": round(report.clock_offset, 3),
        "version": report.version,
        "config": report.config,
        "instance": report.instance,
    }
