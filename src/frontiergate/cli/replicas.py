"""`frontiergate replicas`: which worker enforces which epoch."""

import argparse
from typing import TYPE_CHECKING

from frontiergate.cli.arguments import OUTPUT
from frontiergate.cli.client import Client
from frontiergate.cli.table import dump, table

if TYPE_CHECKING:
    from frontiergate.cli.arguments import Commands


def add(commands: "Commands") -> None:
    parser = commands.add_parser("replicas", parents=[OUTPUT], help="which worker enforces which epoch")
    parser.set_defaults(run=show)


def show(arguments: argparse.Namespace, client: Client) -> int:
    document = client.get("/admin/v1/replicas").document
    if arguments.output == "json":
        print(dump(document))
        return 0
    rows = [
        (r["name"], r["state"], r["epoch"], r["live_sessions"], f"{r['silent_for']:.1f} s ago", r["version"], r["config"])
        for r in document["replicas"]
    ]
    print(table(("NAME", "STATE", "EPOCH", "LIVE", "HEARD OF", "VERSION", "CONFIG"), rows))
    print(f"{document['enforcing']} of {document['total']} replicas enforce epoch {document['epoch']}")
    return 0
