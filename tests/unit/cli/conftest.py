from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from frontiergate.cli.main import main
from tests.unit.cli.cli_harness import Shell
from tests.unit.control.control_harness import Desk, running_desk


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A control plane that the CLI's environment points to, as an operator."""
    with running_desk(tmp_path) as running:
        monkeypatch.setenv("FRONTIERGATE_URL", running.url)
        monkeypatch.setenv("FRONTIERGATE_TOKEN", "operator-token")
        yield running


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Shell]:
    def command(*argv: str) -> Shell:
        code = main(argv)
        out, err = capsys.readouterr()
        return Shell(code, out, err)

    return command
