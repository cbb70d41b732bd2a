"""The demo's set-up, left running: `make run`. Prints what to paste into another terminal; Ctrl-C stops everything."""

import argparse
import shlex
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.demo.call import Call, chat
from deploy.demo.people import PEOPLE
from deploy.demo.stage import EMBARGOED, Stage, StageError, require_free, set_stage

_MADE_BY_US: Final = "demo.yaml"  # a folder without it is none of ours, and is not replaced

TRY: Final = (
    ("A US person gets an answer", Call(bearer="TOKEN_ALICE", body=chat("gpt-frontier"))),
    ("A foreign national gets 451, with the order's reference", Call(bearer="TOKEN_BRUNO", body=chat("gpt-frontier"))),
    ("From an address in an embargoed country", Call(bearer="TOKEN_ALICE", body=chat("gpt-open"), source=EMBARGOED)),
    ("A person of unknown nationality must be vetted first", Call(bearer="TOKEN_DANA", body=chat("gpt-frontier"))),
)
OPERATE: Final = (
    (
        "… is granted access, and can try again",
        "frontiergate grants create --principal 'https://idp.example|dana' --programme caisi --models openai/gpt-frontier"
        " --reason 'passport seen' --wait",
    ),
    (
        "A stream flows until an order withdraws the model",
        """curl -sN "$GATE/v1/chat/completions" -H "Authorization: Bearer $TOKEN_ALICE" -H 'Content-Type: application/json'"""
        """ -d '{"model": "gpt-frontier", "stream": true, "messages": [{"role": "user", "content": "Hello"}]}' & sleep 2;"""
        " frontiergate withdraw openai/gpt-frontier --authority BIS --reference IS-2026-021 --wait; wait",
    ),
    ("The order is lifted", "frontiergate lift is-2026-021 --wait"),
    ("Why was Bruno refused?", "frontiergate explain --model openai/gpt-frontier --nationality FR --us-person no --location US"),
    ("What is in force, and who enforces it", "frontiergate directives list; frontiergate models list; frontiergate replicas"),
    ("The metrics", """curl -s "$FRONTIERGATE_URL/metrics" | grep ^frontiergate_requests_total"""),
)


def write_environment(stage: Stage) -> Path:
    """A file for a shell to source; it holds tokens, so only its owner can read it."""
    path = stage.folder / "env"
    path.touch(mode=0o600)
    variables = {**stage.variables, "GATE_PID": str(stage.gate.pid)}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    lines.append(f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"')
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def guide(stage: Stage, environment: Path) -> str:
    """What to do with it, to be pasted."""
    lines = [
        f"The gate serves callers at {stage.variables['GATE']} and operators at {stage.variables['FRONTIERGATE_URL']}.",
        f"Its configuration, log and audit are in {stage.folder}/. Ctrl-C stops everything and removes them.",
        "",
        "# First, in another terminal, all tokens and the command frontiergate; or paste the export lines below.",
        f". {shlex.quote(str(environment))}",
        "",
        environment.read_text("utf-8").rstrip(),
        "",
        *(f"# TOKEN_{person.subject.upper()}: {person.who}" for person in PEOPLE),
    ]
    for title, call in TRY:
        lines += ["", f"# {title}", " ".join(call.curl())]
    for title, command in OPERATE:
        lines += ["", f"# {title}", command]
    lines += ["", f"# After a change of {stage.folder}/demo.yaml", "kill -HUP $GATE_PID", ""]
    return "\n".join(lines)


def fresh(folder: Path) -> Path:
    """`folder`, empty. What an earlier run left is removed; anything else is not. Raises StageError."""
    if folder.exists() and any(folder.iterdir()) and not (folder / _MADE_BY_US).exists():
        raise StageError(f"{folder} holds something else: remove it, or name another folder with --folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    return folder


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.demo.run", description=__doc__)
    parser.add_argument("--data-port", type=int, default=8080, help="for callers (default: 8080)")
    parser.add_argument("--control-port", type=int, default=9090, help="for operators (default: 9090)")
    parser.add_argument("--folder", type=Path, default=Path(".demo"), help="for configuration, state and audit (default: .demo)")
    given = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # a closed terminal stops it in good order too
    try:
        require_free(given.data_port)
        require_free(given.control_port)
        folder = fresh(given.folder)
        try:
            with set_stage(folder, given.data_port, given.control_port) as stage:
                print(guide(stage, write_environment(stage)), flush=True)
                status = stage.gate.wait()
                raise StageError(f"the gate ended by itself with status {status}; its log was\n{(folder / 'gate.log').read_text()[-2000:]}")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except StageError as error:
        print(f"run: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nrun: everything is stopped", file=sys.stderr)
        return 0


if __name__ == "__main__":
    sys.exit(main())
