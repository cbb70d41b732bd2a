"""`frontiergate models`, `pause` and `resume`: what stands in the way of each model, and the operational stop."""

import argparse
from typing import TYPE_CHECKING

from frontiergate.cli.arguments import OUTPUT, REASON, WAIT
from frontiergate.cli.client import Client, segment
from frontiergate.cli.table import dump, table
from frontiergate.cli.waiting import conclude

if TYPE_CHECKING:
    from frontiergate.cli.arguments import Commands

PATH = "/admin/v1/models"


def add(commands: "Commands") -> None:
    models = commands.add_parser("models", help="the models of the catalogue").add_subparsers(metavar="COMMAND", required=True)
    listing = models.add_parser("list", parents=[OUTPUT], help="every model with its state")
    listing.set_defaults(run=show_all)

    stop = commands.add_parser("pause", parents=[REASON, WAIT, OUTPUT], help="stop a model for operational reasons (503)")
    stop.add_argument("model", metavar="MODEL")
    stop.set_defaults(run=pause)

    go = commands.add_parser("resume", parents=[WAIT, OUTPUT], help="end a pause")
    go.add_argument("model", metavar="MODEL")
    go.add_argument("--reason", default="resumed", help="why; kept in the log under your name")
    go.set_defaults(run=resume)


def show_all(arguments: argparse.Namespace, client: Client) -> int:
    document = client.get(PATH).document
    if arguments.output == "json":
        print(dump(document))
        return 0
    rows = [(m["id"], m["state"], m["live_sessions"], m["tags"], m["directives"]) for m in document["models"]]
    print(table(("MODEL", "STATE", "LIVE", "TAGS", "DIRECTIVES"), rows))
    return 0


def pause(arguments: argparse.Namespace, client: Client) -> int:
    document = client.post(f"{PATH}/{segment(arguments.model)}/pause", {"reason": arguments.reason}).document
    return conclude(arguments, client, document, f"{arguments.model} is paused, epoch {document['epoch']}")


def resume(arguments: argparse.Namespace, client: Client) -> int:
    document = client.post(f"{PATH}/{segment(arguments.model)}/resume", {"reason": arguments.reason}).document
    return conclude(arguments, client, document, f"{arguments.model} is resumed, epoch {document['epoch']}")
