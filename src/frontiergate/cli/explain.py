"""`frontiergate explain`: what the gate would decide of a caller, and why."""

import argparse
from typing import TYPE_CHECKING, Any

from frontiergate.cli.arguments import OUTPUT, STATEMENTS, add_statements, given, instant
from frontiergate.cli.client import Client
from frontiergate.cli.table import dump, plain, table

if TYPE_CHECKING:
    from frontiergate.cli.arguments import Commands


def add(commands: "Commands") -> None:
    parser = commands.add_parser("explain", parents=[OUTPUT], help="what would be decided of a caller, and why")
    parser.add_argument("--model", nargs="+", required=True, dest="models", metavar="MODEL", help="the ids of the models asked for")
    parser.add_argument("--principal", help="ISSUER|SUBJECT, or key|KEY-ID: its grants, and a key's evidence, are looked up")
    add_statements(parser)
    parser.add_argument(
        "--assurance", choices=("presumed", "asserted", "attested", "verified"), help="what these statements are worth (default: attested)"
    )
    parser.add_argument("--address", help="the client's address, to be located by the gate's databases")
    parser.add_argument("--location", metavar="COUNTRY", help="instead of --address")
    parser.add_argument("--network", nargs="+", metavar="KIND", help="e.g. tor_exit or hosting")
    parser.add_argument("--at", type=instant, metavar="INSTANT", help="decide as of then (default: now)")
    parser.set_defaults(run=explain)


def explain(arguments: argparse.Namespace, client: Client) -> int:
    question = given(arguments, "models", "principal", "assurance", "address", "location", "network", "at", *STATEMENTS)
    document = client.post("/admin/v1/explain", question).document
    if arguments.output == "json":
        print(dump(document))
        return 0
    print(plain(document["summary"]))
    for note in document["notes"]:
        print(f"note: {plain(note)}")
    if document["facts"]:
        print()
        print(table(("FACT", "VALUE", "ASSURANCE", "SOURCE", "EXPIRES"), [_fact(piece) for piece in document["facts"]]))
    rows = [_directive(model, directive) for model in document["models"] for directive in model["directives"]]
    if rows:
        print()
        print(table(("MODEL", "DIRECTIVE", "JUDGED", "ANSWER", "MEANING"), rows))
    if document["grants"]:
        print()
        grants = [(g["id"], g["programme"], g["state"], g["counts"], g["models"]) for g in document["grants"]]
        print(table(("GRANT", "PROGRAMME", "STATE", "COUNTS", "MODELS"), grants))
    return 0


def _fact(piece: dict[str, Any]) -> tuple[object, ...]:
    value = piece["value"] if piece["readable"] else f"{piece['value']} (unreadable)"
    return piece["kind"], value, piece["assurance"], piece["source"], piece["expires_at"]


def _directive(model: dict[str, Any], directive: dict[str, Any]) -> tuple[object, ...]:
    result = directive.get("outcome", "forward")
    if directive.get("waived_by"):
        result = f"forward by {', '.join(directive['waived_by'])}"
    elif directive["mode"] == "observe":
        result = f"{result} (observed only)"
    return model["id"], directive["id"], directive["truth"], result, directive["sentence"]
