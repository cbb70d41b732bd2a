"""`frontiergate keys`: make, list and revoke API keys."""

import argparse
from typing import TYPE_CHECKING

from frontiergate.cli.arguments import OUTPUT, REASON, STATEMENTS, WAIT, add_statements, given
from frontiergate.cli.client import Client, segment
from frontiergate.cli.table import dump, table
from frontiergate.cli.waiting import conclude

if TYPE_CHECKING:
    from frontiergate.cli.arguments import Commands

PATH = "/admin/v1/keys"


def add(commands: "Commands") -> None:
    keys = commands.add_parser("keys", help="API keys that the gate issues").add_subparsers(metavar="COMMAND", required=True)
    new = keys.add_parser("create", parents=[REASON, OUTPUT], help="make a key; its secret is shown once")
    new.add_argument("--name", required=True, help="whose key it is, for the list")
    add_statements(new)
    new.add_argument(
        "--assurance",
        choices=("asserted", "attested", "verified"),
        help="their worth (default: attested; verified takes the role admin)",
    )
    new.add_argument("--expires", metavar="INSTANT", help="an instant with zone, or a duration such as 90d (default: never)")
    new.set_defaults(run=create)

    keys.add_parser("list", parents=[OUTPUT], help="all keys, revoked ones too").set_defaults(run=show_all)

    end = keys.add_parser("revoke", parents=[REASON, WAIT, OUTPUT], help="end a key at once")
    end.add_argument("id", metavar="ID")
    end.set_defaults(run=revoke)


def create(arguments: argparse.Namespace, client: Client) -> int:
    body = given(arguments, "name", "assurance", "expires", "reason")
    body["evidence"] = given(arguments, *STATEMENTS)
    document = client.post(PATH, body).document
    if arguments.output == "json":
        print(dump(document))
        return 0
    key = document["key"]
    print(f"{key['id']} is made, epoch {document['epoch']}; as a principal it is {key['principal']}")
    print(f"secret (shown only now): {document['secret']}")
    return 0


def show_all(arguments: argparse.Namespace, client: Client) -> int:
    document = client.get(PATH).document
    if arguments.output == "json":
        print(dump(document))
        return 0
    rows = [
        (k["id"], k["name"], k["state"], k["expires_at"], [f"{e['kind']} {e['value']} ({e['assurance']})" for e in k["evidence"]])
        for k in document["keys"]
    ]
    print(table(("ID", "NAME", "STATE", "EXPIRES", "EVIDENCE"), rows))
    return 0


def revoke(arguments: argparse.Namespace, client: Client) -> int:
    document = client.post(f"{PATH}/{segment(arguments.id)}/revoke", {"reason": arguments.reason}).document
    return conclude(arguments, client, document, f"{arguments.id} is revoked, epoch {document['epoch']}")
