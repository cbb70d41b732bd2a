"""The command `frontiergate`: 0 done, 1 refused or failed, 2 usage, 3 enforced on some replicas only."""

import argparse
import os
import sys
from collections.abc import Sequence

from frontiergate import __version__
from frontiergate.cli import check_config, directives, explain, grants, keys, models, replicas, serve, store
from frontiergate.cli.client import Client, CommandError
from frontiergate.cli.table import plain

INTERRUPTED = 130  # 128 + SIGINT, as shells have it
EPILOG = (
    "FRONTIERGATE_URL names the control listener (default http://127.0.0.1:9090), FRONTIERGATE_TOKEN holds an operator's token."
    " Exit codes: 0 done, 1 refused or failed, 2 usage, 3 enforced on some replicas only."
)


def build_parser() -> argparse.ArgumentParser:
    """All commands, each from the file of its noun."""
    parser = argparse.ArgumentParser(
        prog="frontiergate", description="The checkpoint between callers and frontier AI models.", epilog=EPILOG, allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"frontiergate {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for noun in (serve, check_config, directives, models, explain, grants, keys, replicas, store):
        noun.add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Each failure is one plain sentence on stderr."""
    try:
        arguments = build_parser().parse_args(argv)
    except SystemExit as stop:  # argparse has told what is wrong, or shown the help
        return stop.code if isinstance(stop.code, int) else 0
    try:
        code: int = arguments.run_local(arguments) if "run_local" in arguments else arguments.run(arguments, Client())
        sys.stdout.flush()
    except CommandError as error:
        print("\n".join(f"frontiergate: {plain(line)}" for line in str(error).splitlines()), file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print("frontiergate: interrupted; what was already acknowledged stays in force", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `… | head`: nobody reads on; keep the interpreter from complaining at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
