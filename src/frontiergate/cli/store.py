"""`frontiergate store`: keep what the store holds, move it to another, see that it is whole. These need no running gate."""

import argparse
import asyncio
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from frontiergate.cli import accept
from frontiergate.cli.arguments import OUTPUT
from frontiergate.cli.client import CommandError
from frontiergate.cli.table import dump, plain
from frontiergate.errors import GateError

if TYPE_CHECKING:
    from frontiergate.cli.arguments import Commands
    from frontiergate.store.ledger import Holding
    from frontiergate.store.protocol import Position
    from frontiergate.store.snapshot import Head

T = TypeVar("T")
HELD = {"directives": "directive", "pauses": "pause", "grants": "grant", "keys": "key"}


def add(commands: "Commands") -> None:
    config = argparse.ArgumentParser(add_help=False)
    config.add_argument("--config", metavar="FILE", help="the configuration that names the store (default: $FRONTIERGATE_CONFIG)")
    store = commands.add_parser("store", help="all that the store holds").add_subparsers(metavar="COMMAND", required=True)

    out = store.add_parser("export", parents=[config, OUTPUT], help="write all of it to one signed file; gates may go on using it")
    out.add_argument("file", metavar="FILE", type=Path, help="a new file, which only its owner may read")
    _add_key(out, "the private key to sign with, Ed25519 in PEM")
    out.add_argument("--from-log", action="store_true", help="what the log adds up to, even where the store holds something else")
    out.set_defaults(run_local=write_out)

    take = store.add_parser("import", parents=[config, OUTPUT], help="put what such a file holds into an empty store; no gate may use it")
    take.add_argument("file", metavar="FILE", type=Path, help="what `store export` wrote")
    _add_key(take, "the public key of who signed it, Ed25519 in PEM")
    take.add_argument(
        "--replace", type=place, metavar="LINEAGE@EPOCH", help="give up, for ever, the log that the store holds and that stands there"
    )
    take.set_defaults(run_local=take_in)

    store.add_parser(
        "check", parents=[config, OUTPUT], help="whether the log is whole, and the store holds what it adds up to"
    ).set_defaults(run_local=check)
    accept.add(store)


def _add_key(parser: argparse.ArgumentParser, which: str) -> None:
    key = parser.add_mutually_exclusive_group(required=True)
    key.add_argument("--key-file", metavar="FILE", help=f"{which}; this or --key-env")
    key.add_argument("--key-env", metavar="NAME", help="the environment variable that holds it")


def place(text: str) -> tuple[str, int]:
    """The lineage of a log, and the epoch at which it stands."""
    lineage, _, epoch = text.rpartition("@")
    if not (lineage and epoch.isascii() and epoch.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not LINEAGE@EPOCH; without --replace, the command says what to write")
    return lineage, int(epoch)


def write_out(arguments: argparse.Namespace) -> int:
    """0 once the file is whole and on the disk."""
    from frontiergate.store.snapshot_export import existing, export  # these take 100 ms to load: only who needs them pays
    from frontiergate.store.snapshot_keys import signing_key
    from frontiergate.store.survey import users

    async def work() -> "tuple[Head, list[str]]":
        key = signing_key(arguments.key_file, arguments.key_env, os.environ)
        async with existing(_store(arguments), os.environ) as store:
            using = await users(store)
            return await export(store, arguments.file, key, from_log=arguments.from_log), using

    head, using = _run(work())
    if arguments.output == "json":
        print(dump(_document(head) | {"signer": head.signer, "in_use_by": using}))
        return 0
    print(plain(f"{arguments.file} holds {_holding(head)}, signed with key {head.signer}"))
    if using:
        print(plain(f"a gate is using the store ({', '.join(using)}): what is changed from now on is not in the file"), file=sys.stderr)
    return 0


def take_in(arguments: argparse.Namespace) -> int:
    """0 once the store holds all of it, durably."""
    from frontiergate.store import snapshot
    from frontiergate.store.protocol import Position
    from frontiergate.store.snapshot_import import put_into
    from frontiergate.store.snapshot_keys import verifying_key

    async def work() -> "tuple[Head, Position]":
        key = verifying_key(arguments.key_file, arguments.key_env, os.environ)
        with snapshot.opened(arguments.file, key) as found:
            replace = arguments.replace and Position(*arguments.replace)
            return found.head, await put_into(_store(arguments), os.environ, found, replace)

    head, before = _run(work())
    replaced = {"lineage": before.lineage, "epoch": before.epoch} if before.epoch else None
    if arguments.output == "json":
        print(dump(_document(head) | {"signer": head.signer, "replaced": replaced}))
        return 0
    print(plain(f"the store holds {_holding(head)}"))
    if replaced:
        print(plain(f"it gave up epoch {before.epoch} of log {before.lineage}"))
    return 0


def check(arguments: argparse.Namespace) -> int:
    """0 where nothing is wrong, 1 where something is."""
    from frontiergate.errors import StoreError, StoreUnavailable
    from frontiergate.store.ledger import scratch
    from frontiergate.store.snapshot_export import existing
    from frontiergate.store.survey import look_ups, survey, things

    async def work() -> "tuple[Holding | None, tuple[str, ...]]":
        async with existing(_store(arguments), os.environ) as store:
            with scratch() as ledger:
                try:
                    found = await survey(store, ledger, things, look_ups)
                except StoreUnavailable:
                    raise
                except StoreError as error:  # from here on, the log cannot be followed
                    return None, (str(error),)
                return found.holding, found.differences

    holding, problems = _run(work())
    if arguments.output == "json":
        print(dump({"ok": not problems, **({} if holding is None else _document(holding)), "problems": problems}))
    else:
        for problem in problems:
            print(plain(problem))
        if holding and problems:
            print("the log is whole; to make the rest again: store export --from-log, then store import --replace")
        elif holding:
            print(plain(f"the store holds {_holding(holding)}, exactly what its log adds up to"))
    return 1 if problems else 0


def _store(arguments: argparse.Namespace) -> str:
    from frontiergate.config.load import load_config

    return load_config(arguments.config, os.environ).store


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except GateError as error:
        raise CommandError(str(error)) from None


def _document(holding: "Holding") -> dict[str, object]:
    """For scripts."""
    return {field: getattr(holding, field) for field in ("lineage", "epoch", *HELD)}


def _holding(holding: "Holding") -> str:
    """For people."""
    held = ((getattr(holding, field), word) for field, word in HELD.items())
    counted = ", ".join(f"{number} {word}{'' if number == 1 else 's'}" for number, word in held)
    return f"epoch {holding.epoch} of log {holding.lineage}: {counted}"
