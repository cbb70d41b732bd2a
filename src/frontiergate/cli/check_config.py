"""`frontiergate check-config`: everything wrong with a configuration, before it is used."""

import argparse
import os
import time
from typing import TYPE_CHECKING

from frontiergate.cli.arguments import OUTPUT
from frontiergate.cli.table import dump, plain

if TYPE_CHECKING:
    from frontiergate.cli.arguments import Commands


def add(commands: "Commands") -> None:
    parser = commands.add_parser("check-config", parents=[OUTPUT], help="everything wrong with a configuration")
    parser.add_argument("--config", metavar="FILE", help="the configuration (default: $FRONTIERGATE_CONFIG)")
    parser.set_defaults(run_local=check)


def check(arguments: argparse.Namespace) -> int:
    """0 where the configuration can be used, warnings or not; 1 where it cannot."""
    from frontiergate.config.check import check_config  # these take 100 ms to load: only who needs them pays
    from frontiergate.config.load import load_config, placed, read_text
    from frontiergate.config.problem import Problem
    from frontiergate.dialects.registry import DIALECTS
    from frontiergate.errors import ConfigError

    try:
        config = load_config(arguments.config, os.environ)
    except ConfigError as error:
        found = [("", Problem("error", "", line)) for line in error.problems]
    else:
        path = arguments.config or os.environ["FRONTIERGATE_CONFIG"]
        problems = check_config(config, DIALECTS, time.time(), os.environ)
        place = placed(read_text(path) if problems else "", path)
        found = [(place(problem.path), problem) for problem in problems]
    errors = sum(problem.level == "error" for _, problem in found)
    if arguments.output == "json":
        told = [{"level": problem.level, "place": where, "path": problem.path, "message": problem.message} for where, problem in found]
        print(dump({"ok": not errors, "problems": told}))
    else:
        for where, problem in found:
            print(plain(": ".join(filter(None, (problem.level, where, problem.path, problem.message)))))
        print(f"{'cannot be used' if errors else 'can be used'}: {_count(errors, 'error')}, {_count(len(found) - errors, 'warning')}")
    return 1 if errors else 0


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
