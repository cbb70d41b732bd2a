"""Arguments that several commands share: how each is written, and what a wrong one is told."""

import argparse
import time
from typing import TYPE_CHECKING

from frontiergate.control.instants import parse_instant

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

OUTPUT = argparse.ArgumentParser(add_help=False)
OUTPUT.add_argument("--output", choices=("table", "json"), default="table", help="for people or for scripts (default: table)")

WAIT = argparse.ArgumentParser(add_help=False)


def seconds(text: str) -> float:
    """A number of seconds for --wait."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds: write models and ids before --wait") from None
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 3600 seconds")
    return value


WAIT.add_argument(
    "--wait",
    nargs="?",
    const=10.0,
    type=seconds,
    metavar="SECONDS",
    help="wait until all replicas enforce the change, 10 s by default; exit code 3 if some do not",
)

REASON = argparse.ArgumentParser(add_help=False)
REASON.add_argument("--reason", required=True, help="why; kept in the log under your name")


def instant(text: str) -> str:
    """An instant, ISO 8601 with a zone or a duration from now, as the API wants it."""
    try:
        return parse_instant(text, time.time()).isoformat()
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def yes_no(text: str) -> bool:
    """`yes` or `no`."""
    answers = {"yes": True, "true": True, "no": False, "false": False}
    if text.lower() not in answers:
        raise argparse.ArgumentTypeError(f"{text!r} is neither yes nor no")
    return answers[text.lower()]


def answer(text: str) -> str | dict[str, str]:
    """What who does not satisfy a directive gets: `refuse`, `withdraw` or `vet:PROGRAMME`."""
    if text in ("refuse", "withdraw"):
        return text
    kind, separator, programme = text.partition(":")
    if kind == "vet" and separator and programme:
        return {"vet": programme}
    raise argparse.ArgumentTypeError(f"{text!r} is none of refuse, withdraw and vet:PROGRAMME")


def selector(text: str) -> str | dict[str, str]:
    """A model's id, a glob over ids, or `tag:NAME`."""
    return {"tag": text[4:]} if text.startswith("tag:") else text


def add_statements(parser: argparse.ArgumentParser) -> None:
    """What is said of a caller."""
    parser.add_argument("--nationality", nargs="+", metavar="COUNTRY", help="every citizenship held, e.g. US or US FR")
    parser.add_argument("--us-person", type=yes_no, metavar="yes|no", help="a US person in the sense of 22 CFR 120.62")
    parser.add_argument("--residence", metavar="COUNTRY", help="country of permanent residence")
    parser.add_argument("--organisation", metavar="NAME", help="who employs the caller")
    parser.add_argument(
        "--organisation-country", nargs="+", metavar="COUNTRY", help="where the organisation is organised, headquartered and owned"
    )
    parser.add_argument("--cohort", nargs="+", metavar="NAME", dest="cohorts", help="groups that the caller is in")


STATEMENTS = ("nationality", "us_person", "residence", "organisation", "organisation_country", "cohorts")


def given(arguments: argparse.Namespace, *names: str) -> dict[str, object]:
    """Those of the named arguments that were given."""
    return {name: value for name in names if (value := getattr(arguments, name)) is not None}
