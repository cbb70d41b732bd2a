"""`frontiergate store show` and `accept`: which log the store holds, and taking it as it is after it went back."""

import argparse
from typing import TYPE_CHECKING, Any

from frontiergate.cli.arguments import OUTPUT, REASON, WAIT
from frontiergate.cli.client import Client
from frontiergate.cli.table import dump, plain, table
from frontiergate.cli.waiting import conclude

if TYPE_CHECKING:
    from frontiergate.cli.arguments import Commands

PATH = "/admin/v1/store"


def add(store: "Commands") -> None:
    """Among the commands of `frontiergate store`."""
    store.add_parser("show", parents=[OUTPUT], help="which log it is, and which replicas refuse it").set_defaults(run=show)
    take = store.add_parser(
        "accept", parents=[REASON, WAIT, OUTPUT], help="have all replicas take the store as it is, though it lacks what they enforced"
    )
    take.set_defaults(run=accept)


def show(arguments: argparse.Namespace, client: Client) -> int:
    document = client.get(PATH).document
    if arguments.output == "json":
        print(dump(document))
    else:
        print(_described(document))
    return 0


def accept(arguments: argparse.Namespace, client: Client) -> int:
    seen = client.get(PATH)
    if arguments.output != "json":
        print(_described(seen.document))
    document = client.post(f"{PATH}/accept", {"reason": arguments.reason}, if_match=seen.etag).document
    return conclude(arguments, client, document, f"it is taken as it is, as log {document['log']}, epoch {document['epoch']}")


def _described(document: dict[str, Any]) -> str:
    lines = [f"the store holds epoch {document['epoch']} of log {plain(document['log'] or '-')}"]
    if document["refused_by"]:
        rows = [(each["name"], each["epoch"], each["log"]) for each in document["refused_by"]]
        lines.append(table(("REFUSED BY", "ENFORCES", "OF LOG"), rows))
        lines += sorted({plain(each["problem"]) for each in document["refused_by"]})
    return "\n".join(lines)
