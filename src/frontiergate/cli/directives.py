"""`frontiergate withdraw`, `restrict`, `lift` and `directives`: put a restriction in force, end it, look at all."""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frontiergate.cli.arguments import OUTPUT, WAIT, answer, given, instant, selector
from frontiergate.cli.client import Answer, Client, CommandError, segment
from frontiergate.cli.table import dump, plain, table
from frontiergate.cli.waiting import conclude

if TYPE_CHECKING:
    from frontiergate.cli.arguments import Commands

PATH = "/admin/v1/directives"
MODELS_HELP = "a model's id, a glob over ids, or tag:NAME"


def add(commands: "Commands") -> None:
    order = _order_arguments()
    out = commands.add_parser("withdraw", parents=[order, WAIT, OUTPUT], help="take models offline for everyone under an order")
    out.add_argument("models", nargs="+", type=selector, metavar="MODEL", help=MODELS_HELP)
    out.set_defaults(run=withdraw)

    some = commands.add_parser("restrict", parents=[order, WAIT, OUTPUT], help="put a requirement in force under an order")
    some.add_argument("--models", nargs="+", type=selector, required=True, metavar="MODEL", help=MODELS_HELP)
    some.add_argument("--require", required=True, metavar="YAML", help="what callers must satisfy, as YAML or JSON, or @FILE")
    some.add_argument("--otherwise", type=answer, required=True, metavar="ANSWER", help="refuse, withdraw or vet:PROGRAMME")
    some.add_argument("--unknown", type=answer, metavar="ANSWER", help="of whom it cannot be told (default: as --otherwise)")
    some.add_argument("--mode", choices=("enforce", "observe"), help="observe decides and counts but does not act")
    some.add_argument("--allow-presumed", action="store_true", default=None, help="let GeoIP stand in for a nationality that is not known")
    some.set_defaults(run=restrict)

    end = commands.add_parser("lift", parents=[WAIT, OUTPUT], help="end a directive that was put in force at runtime")
    end.add_argument("id", metavar="ID")
    end.add_argument("--reason", default="lifted", help="why; kept in the log under your name")
    end.set_defaults(run=lift)

    directives = commands.add_parser("directives", help="all directives").add_subparsers(metavar="COMMAND", required=True)
    directives.add_parser("list", parents=[OUTPUT], help="those of the config file and of runtime").set_defaults(run=show_all)
    one = directives.add_parser("show", parents=[OUTPUT], help="one directive with its history")
    one.add_argument("id", metavar="ID")
    one.set_defaults(run=show)


def _order_arguments() -> argparse.ArgumentParser:
    """The order that a directive is made under, and when it is in force."""
    order = argparse.ArgumentParser(add_help=False)
    order.add_argument("--authority", required=True, help="who ordered it")
    order.add_argument("--reference", required=True, help="the order's reference, shown to callers")
    order.add_argument("--id", help="the directive's id (default: made from the reference)")
    order.add_argument("--url", help="where the order can be read")
    order.add_argument("--criteria", help="whom the order is about, in its words")
    order.add_argument("--from", dest="from_", type=instant, metavar="INSTANT", help="in force from then on: 2026-11-23T00:00:00Z, +2h")
    order.add_argument("--until", type=instant, metavar="INSTANT", help="not in force from then on")
    order.add_argument("--reason", help="why; kept in the log under your name (default: the order)")
    return order


def withdraw(arguments: argparse.Namespace, client: Client) -> int:
    return _create(arguments, client, {"models": arguments.models, "withdraw": True})


def restrict(arguments: argparse.Namespace, client: Client) -> int:
    directive = {
        "models": arguments.models,
        "require": _requirement(arguments.require),
        **given(arguments, "otherwise", "unknown", "mode", "allow_presumed"),
    }
    return _create(arguments, client, directive)


def lift(arguments: argparse.Namespace, client: Client) -> int:
    path = f"{PATH}/{segment(arguments.id)}"
    seen = client.get(path)
    document = client.delete(path, {"reason": arguments.reason}, seen.etag or "*").document
    return conclude(arguments, client, document, f"{arguments.id} is lifted, epoch {document['epoch']}")


def show_all(arguments: argparse.Namespace, client: Client) -> int:
    document = client.get(PATH).document
    if arguments.output == "json":
        print(dump(document))
        return 0
    rows = [(d["id"], d["source"], d["state"], d["mode"], d["sentence"]) for d in document["directives"]]
    print(table(("ID", "SOURCE", "STATE", "MODE", "MEANING"), rows))
    return 0


def show(arguments: argparse.Namespace, client: Client) -> int:
    path = f"{PATH}/{segment(arguments.id)}"
    document = client.get(path).document
    entries = client.get(f"{path}/history").document["history"] if document["source"] == "runtime" else []
    if arguments.output == "json":
        print(dump({**document, "history": entries}))
        return 0
    print(plain(document["sentence"]))
    print(f"{document['id']} · {document['source']} · {document['state']} · {document['mode']}")
    print(dump(document["directive"]))
    if entries:
        print(table(("EPOCH", "AT", "WHO", "WHAT", "WHY"), [(e["epoch"], e["at"], e["actor"], e["change"], e["reason"]) for e in entries]))
    return 0


def _create(arguments: argparse.Namespace, client: Client, directive: dict[str, object]) -> int:
    reason = arguments.reason or f"{arguments.authority}, {arguments.reference}"
    whole = {
        **directive,
        "order": given(arguments, "authority", "reference", "criteria", "url"),
        **({} if arguments.from_ is None else {"from": arguments.from_}),
        **given(arguments, "until"),
    }
    if arguments.id is not None:
        document = client.post(PATH, {"directive": {**whole, "id": arguments.id}, "reason": reason}).document
    else:
        document = _with_free_id(client, whole, reason, slug(arguments.reference)).document
    made: dict[str, Any] = document["directive"]
    return conclude(arguments, client, document, f"{made['id']} {_STATES[made['state']]}, epoch {document['epoch']}: {made['sentence']}")


_STATES = {"in_force": "is in force", "scheduled": "is scheduled", "ended": "is over already"}


def _with_free_id(client: Client, directive: dict[str, object], reason: str, wanted: str) -> Answer:
    """Post with the id `wanted`, or the first of `wanted-2`, `wanted-3` … that is not taken; the gate says which are."""
    for attempt in range(1, 100):
        name = wanted if attempt == 1 else f"{wanted}-{attempt}"
        try:
            return client.post(PATH, {"directive": {**directive, "id": name}, "reason": reason})
        except CommandError as error:
            if error.problem not in ("conflict", "in-config-file"):
                raise
    raise CommandError(f"the ids {wanted} to {wanted}-99 are all taken: choose one with --id")


def slug(reference: str) -> str:
    """A directive's id from an order's reference: `IS-2026/014` gives `is-2026-014`."""
    return re.sub(r"[^a-z0-9]+", "-", reference.lower()).strip("-")[:60].rstrip("-") or "directive"


def _requirement(text: str) -> object:
    """The requirement in `text` or, after an @, in the file named. Its meaning is for the gate to judge."""
    from frontiergate.config.document import read_document  # YAML takes 20 ms to load: only who needs it pays
    from frontiergate.errors import ConfigError

    source = "--require"
    if text.startswith("@"):
        source = text[1:]
        try:
            text = Path(source).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{source} cannot be read: {error}", code=2) from None
    try:
        read = read_document(text, source)
    except ConfigError as error:
        raise CommandError(str(error), code=2) from None
    if read.faults:
        raise CommandError("; ".join(f"{source}:{fault.line}: {fault.message}" for fault in read.faults), code=2)
    if not isinstance(read.value, dict):
        raise CommandError(f"{source} is not a requirement: write for example '{{us_person: true}}'", code=2)
    return read.value
