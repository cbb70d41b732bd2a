"""The store itself: which log it holds, who refuses to follow it, and taking it as it is (decision 0018)."""

import msgspec
from aiohttp import web

from frontiergate.control.bodies import if_match, query, read, reply
from frontiergate.control.directives import Why
from frontiergate.control.operators import Operator
from frontiergate.control.plane import Plane
from frontiergate.control.problems import Problem
from frontiergate.errors import Conflict
from frontiergate.store.lineage import accepted, log_of
from frontiergate.store.protocol import ReplicaReport, StoreAccepted


class WhyAccepted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reason: Why


async def show(plane: Plane, request: web.Request, _: Operator) -> web.Response:
    """The log, and the replicas that enforce what is not in it."""
    query(request, ())
    position = await plane.store.position()
    refused = [_refusal(report) for report in await plane.store.replicas() if report.regressed]
    return reply({"log": log_of(position.lineage), "epoch": position.epoch, "refused_by": refused}, etag=position.epoch)


async def accept(plane: Plane, request: web.Request, operator: Operator) -> web.Response:
    """Every replica takes the log as it is, and forgets what was lost. `If-Match` says which epoch was looked at."""
    expect = if_match(request)
    body = await read(request, WhyAccepted)
    plane.refuse_loosening("accepting the store as it is")
    await plane.store.open()  # where nothing is left of the log, one is begun
    reports, state = await plane.store.replicas(), await plane.store.state()
    if not any(report.regressed for report in reports):
        raise Problem("conflict", "no replica refuses the store: there is nothing to accept")
    change = StoreAccepted(accepted(state.lineage, [report.lineage for report in reports]))
    try:
        entry = await plane.store.append(change, actor=operator.name, reason=body.reason, expect=expect)
    except Conflict as error:
        raise Problem("changed", str(error)) from None
    return reply({"epoch": entry.epoch, "appended_at": entry.at, "log": log_of(change.lineage)})


def _refusal(report: ReplicaReport) -> dict[str, object]:
    return {"name": report.name, "log": log_of(report.lineage), "epoch": report.epoch, "problem": report.problem}
