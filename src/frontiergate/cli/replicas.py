"""`frontiergate replicas`: which worker enforces which epoch, whether it refuses, and how far off its clock is."""

import argparse
from typing import TYPE_CHECKING

from frontiergate.cli.arguments import OUTPUT
from frontiergate.cli.client import Client
from frontiergate.cli.table import dump, plain, table

if TYPE_CHECKING:
    from frontiergate.cli.arguments import Commands

HEAD = ("HOST", "WORKER", "STATE", "EPOCH", "LIVE", "HEARD OF", "STALE", "CLOCK", "VERSION", "CONFIG")


def add(commands: "Commands") -> None:
    parser = commands.add_parser("replicas", parents=[OUTPUT], help="which worker enforces which epoch")
    parser.set_defaults(run=show)


def show(arguments: argparse.Namespace, client: Client) -> int:
    document = client.get("/admin/v1/replicas").document
    if arguments.output == "json":
        print(dump(document))
        return 0
    rows = [
        (
            r["host"],
            r["worker"],
            r["state"],
            r["epoch"],
            r["live_sessions"],
            f"{r['silent_for']:.1f} s ago",
            r["stale"],
            f"{r['clock_offset']:+.3f} s",
            r["version"],
            r["config"],
        )
        for r in document["replicas"]
    ]
    print(table(HEAD, rows))
    for replica in document["replicas"]:
        if replica["problem"]:
            print(f"{plain(replica['name'])}: {plain(replica['problem'])}")
    print(f"{document['enforcing']} of {document['total']} replicas enforce epoch {document['epoch']}")
    return 0
