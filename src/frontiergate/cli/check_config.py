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
    from frontiergate.config.load import load_config
    from frontiergate.config.problem import Problem
    from frontiergate.dialects.registry import DIALECTS
    from frontiergate.errors import ConfigError

    try:
        config = load_config(arguments.config, os.environ)
    except ConfigError as error:
        problems = [Problem("error", "", line) for line in error.problems]
    else:
        problems = check_config(config, DIALECTS, time.time(), os.environ)
    errors = sum(problem.level == "error" for problem in problems)
    if arguments.output == "json":
        found = [{"level": problem.level, "path": problem.path, "message": problem.message} for problem in problems]
        print(dump({"ok": not errors, "problems": found}))
    else:
        for problem in problems:
            print(plain(f"{problem.level}: {problem.path}{': ' if problem.path else ''}{problem.message}"))
        print(f"{'cannot be used' if errors else 'can be used'}: {_count(errors, 'error')}, {_count(len(problems) - errors, 'warning')}")
    return 1 if errors else 0


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
