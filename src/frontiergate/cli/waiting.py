"""Waiting for enforcement: who enforces an epoch, how soon, and how many streams it ended (P4)."""

import argparse
import sys
import time
from typing import Any

from frontiergate.cli.client import Client, CommandError
from frontiergate.cli.table import dump, plain

STEP = 0.5  # seconds of one long poll: how often progress can show
PARTLY = 3


def conclude(arguments: argparse.Namespace, client: Client, document: dict[str, Any], done: str) -> int:
    """Tell what was `done`; with --wait, whether all replicas enforce it. Returns the exit code."""
    as_json = arguments.output == "json"
    if not as_json:
        print(plain(done))
    if arguments.wait is None:
        if as_json:
            print(dump(document))
        return 0
    try:
        report = _wait(client, document["epoch"], arguments.wait, quiet=as_json)
    except CommandError as error:
        if as_json:
            print(dump({**document, "enforcement": None}))
        message = f"the change is kept (epoch {document['epoch']}), but who enforces it could not be asked: {error}"
        raise CommandError(message, code=PARTLY) from None
    if as_json:
        print(dump({**document, "enforcement": report}))
    else:
        print(describe(report, document["appended_at"]))
        for line in laggards(report):
            print(line, file=sys.stderr)
    return 0 if report["complete"] else PARTLY


def _wait(client: Client, epoch: int, seconds: float, *, quiet: bool) -> dict[str, Any]:
    """The last report on `epoch`: complete, or when the time was over. Silent replicas may come back, so they are waited for."""
    deadline = time.monotonic() + seconds
    shown = ""
    while True:
        left = max(0.0, deadline - time.monotonic())
        step = min(STEP, left)
        report = client.get("/admin/v1/replicas", {"epoch": str(epoch), "wait": f"{step:.3f}"}, wait=step).document
        missing = ", ".join(plain(replica["name"]) for replica in report["replicas"] if replica["state"] != "enforcing")
        progress = f"{_count(report)} · waiting for {missing or 'one to report'} …"
        if report["complete"] or time.monotonic() >= deadline:
            return report
        if progress != shown and not quiet:
            print(progress, file=sys.stderr, flush=True)
            shown = progress
        if report["enforcing"]:  # the gate answers at once where only silent ones are missing
            time.sleep(min(0.2, left))


def describe(report: dict[str, Any], appended_at: float) -> str:
    """`all 6 of 6 enforce epoch 812 after 84 ms · 217 streams severed`: since then new requests are refused, and those streams ended."""
    enforcing = [replica for replica in report["replicas"] if replica["state"] == "enforcing"]
    if not enforcing:
        return _count(report)
    slowest = max(replica["enforced_at"] for replica in enforcing) - appended_at
    severed = sum(replica["severed"] for replica in enforcing)
    return (
        f"{'all ' if report['complete'] else ''}{_count(report)} after {max(0.0, slowest) * 1000:.0f} ms"
        f" · {severed} {'stream' if severed == 1 else 'streams'} severed"
    )


def _count(report: dict[str, Any]) -> str:
    return f"{report['enforcing']} of {report['total']} enforce epoch {report['epoch']}"


def laggards(report: dict[str, Any]) -> list[str]:
    """One line for each replica that does not enforce the epoch, with what to make of it."""
    if not report["replicas"]:
        return ["no replica is known: the change is kept and will be enforced by every worker that starts"]
    lines = []
    for replica in report["replicas"]:
        name = plain(replica["name"])
        if replica["state"] == "behind":
            why = f": {plain(replica['problem'])}" if replica["problem"] else ""
            lines.append(f"{name} is behind, it enforces epoch {replica['epoch']}{why}")
        elif replica["state"] == "silent":
            lines.append(
                f"{name} is silent for {replica['silent_for']:.0f} s, hung or cut off: once its lease is over it admits nobody, "
                "but streams that flow there may go on"
            )
    return lines
