"""`frontiergate serve`: run the gate in the foreground."""

import argparse
from typing import TYPE_CHECKING

from frontiergate.cli.client import CommandError
from frontiergate.errors import ConfigError

if TYPE_CHECKING:
    from frontiergate.cli.arguments import Commands


def add(commands: "Commands") -> None:
    parser = commands.add_parser("serve", help="run the gate: its workers and its control plane")
    parser.add_argument("--config", metavar="FILE", help="the configuration (default: $FRONTIERGATE_CONFIG)")
    parser.set_defaults(run_local=serve)


def serve(arguments: argparse.Namespace) -> int:
    from frontiergate.supervisor import run  # loads what no other command needs

    try:
        return run(arguments.config)
    except ConfigError as error:
        raise CommandError(f"the configuration cannot be used:\n{error}") from None
