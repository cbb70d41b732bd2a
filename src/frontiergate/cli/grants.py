"""`frontiergate grants`: give, list, suspend, resume and revoke what vetting gives."""

import argparse
from functools import partial
from typing import TYPE_CHECKING, Any

from frontiergate.cli.arguments import OUTPUT, REASON, WAIT, given
from frontiergate.cli.client import Client, segment
from frontiergate.cli.table import dump, table
from frontiergate.cli.waiting import conclude

if TYPE_CHECKING:
    from frontiergate.cli.arguments import Commands

PATH = "/admin/v1/grants"
MOVES = {
    "revoke": ("revoked", "end a grant for good"),
    "suspend": ("suspended", "halt a grant"),
    "resume": ("active again", "end a suspension"),
}


def add(commands: "Commands") -> None:
    grants = commands.add_parser("grants", help="what vetting gives").add_subparsers(metavar="COMMAND", required=True)
    new = grants.add_parser("create", parents=[REASON, WAIT, OUTPUT], help="give a grant at once, without a case")
    new.add_argument("--principal", required=True, help="ISSUER|SUBJECT for a token's bearer, key|KEY-ID for an API key")
    new.add_argument("--programme", required=True)
    new.add_argument("--models", nargs="+", required=True, metavar="MODEL", help="ids, or globs that are read once, now")
    new.add_argument("--expires", metavar="INSTANT", help="an instant with zone, or a duration such as 30d (default: the programme's)")
    new.set_defaults(run=create)

    listing = grants.add_parser("list", parents=[OUTPUT], help="all grants, or those of one principal")
    listing.add_argument("--principal")
    listing.set_defaults(run=show_all)

    for verb, (state, text) in MOVES.items():
        move = grants.add_parser(verb, parents=[REASON, WAIT, OUTPUT], help=text)
        move.add_argument("id", metavar="ID")
        move.set_defaults(run=partial(change, verb, state))


def create(arguments: argparse.Namespace, client: Client) -> int:
    document = client.post(PATH, given(arguments, "principal", "programme", "models", "expires", "reason")).document
    grant = document["grant"]
    done = f"{grant['id']} gives {grant['principal']} {', '.join(grant['models'])} until {grant['expires_at']}, epoch {document['epoch']}"
    return conclude(arguments, client, document, done)


def show_all(arguments: argparse.Namespace, client: Client) -> int:
    grants: list[dict[str, Any]] = []
    query: dict[str, str] = {} if arguments.principal is None else {"principal": arguments.principal}
    while True:
        page = client.get(PATH, query).document
        grants += page["grants"]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    if arguments.output == "json":
        print(dump({"grants": grants}))
        return 0
    rows = [(g["id"], g["principal"], g["programme"], g["state"], g["in_force"], g["expires_at"], g["models"]) for g in grants]
    print(table(("ID", "PRINCIPAL", "PROGRAMME", "STATE", "IN FORCE", "EXPIRES", "MODELS"), rows))
    return 0


def change(verb: str, state: str, arguments: argparse.Namespace, client: Client) -> int:
    document = client.post(f"{PATH}/{segment(arguments.id)}/{verb}", {"reason": arguments.reason}).document
    return conclude(arguments, client, document, f"{arguments.id} is {state}, epoch {document['epoch']}")
