"""The demo: its story ends as it should, and everything it starts is gone afterwards."""

import io
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from deploy.demo import run
from deploy.demo.call import Call, chat
from deploy.demo.stage import CONFIG, StageError, filled_in, require_free
from deploy.demo.telling import Teller
from frontiergate.config.load import parse_config
from tests.fixtures.gate import coverage_environment, free_port

ROOT = Path(__file__).parents[3]


def started(module: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "-m", module, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": "/usr/bin:/bin", **coverage_environment(), **environment},
        # A shell lets its background jobs ignore Ctrl-C, and this process's children with it, however the tests were started.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - nothing else happens in the child before exec
    )


def nobody_listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_every_step_of_the_story_is_as_expected() -> None:
    with started("deploy.demo.story") as story:
        told, complaints = story.communicate(timeout=120)
    last = told.rstrip().splitlines()[-1]
    found = re.fullmatch(r"(\d+) of (\d+) steps as expected", last)
    assert found, told + complaints
    assert story.returncode == 0, told
    assert found[1] == found[2]
    assert int(found[1]) >= 15
    assert "✗" not in told
    assert "\x1b" not in told, "colours are for terminals"
    assert not re.search(r"eyJ[\w-]{20}", told), "tokens are shown by name"


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_story_leaves_nothing_behind(ending: signal.Signals, tmp_path: Path) -> None:
    with started("deploy.demo.story", TMPDIR=str(tmp_path)) as story:
        assert story.stdout is not None
        address = re.search(r"http://127\.0\.0\.1:(\d+)", story.stdout.readline())
        assert address
        story.send_signal(ending)
        _, complaints = story.communicate(timeout=60)
    assert story.returncode == 130, complaints
    assert "everything is stopped" in complaints
    assert nobody_listens(int(address[1]))
    assert [path for path in tmp_path.iterdir() if "demo" in path.name] == []


def test_what_is_printed_to_be_pasted_works_in_a_shell(running: "Running") -> None:
    lines = [line for line in running.guide if line.startswith("curl -si")]
    statuses = [re.match(r"HTTP/1.1 (\d+)", running.shell(line)) for line in lines]
    assert [status and int(status[1]) for status in statuses] == [200, 451, 451, 403]


def test_the_export_lines_are_those_of_the_file(running: "Running") -> None:
    exported = [line for line in running.guide if line.startswith("export ")]
    assert exported == (running.folder / "env").read_text().splitlines()
    assert (running.folder / "env").stat().st_mode & 0o077 == 0, "it holds tokens"


def test_ctrl_c_stops_everything_and_removes_the_folder(running: "Running") -> None:
    running.process.send_signal(signal.SIGINT)
    _, complaints = running.process.communicate(timeout=60)
    assert running.process.returncode == 0, complaints
    assert not running.folder.exists()
    assert nobody_listens(running.port)


class Running:
    """`python -m deploy.demo.run` on free ports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process = started("deploy.demo.run", f"--data-port={self.port}", f"--control-port={free_port()}", f"--folder={folder}")
        self.guide: list[str] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.guide.append(line.rstrip())
            if line.startswith("kill -HUP"):
                return
        raise AssertionError(self.process.communicate()[1])

    def shell(self, script: str) -> str:
        """What bash prints of `script`, with the variables set."""
        script = f". {shlex.quote(str(self.folder / 'env'))}\n{script}"
        return subprocess.run(["bash", "-euc", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=60)


@pytest.fixture
def running(tmp_path: Path):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed: the lines to paste cannot be tried")
    with tempfile.TemporaryDirectory() as directory:
        run = Running(Path(directory) / "run")
        yield run
        run.stop()


def test_a_port_that_is_taken_is_told_at_once(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StageError, match=f"port {port} of 127.0.0.1 is taken: stop what listens there"):
            require_free(port)
        with started("deploy.demo.run", f"--data-port={port}", f"--folder={tmp_path / 'run'}") as refused:
            _, complaints = refused.communicate(timeout=60)
    assert refused.returncode == 1
    assert complaints.startswith(f"run: port {port}")


def test_a_folder_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(StageError, match="holds something else"):
        run.fresh(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_what_an_earlier_run_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "demo.yaml").write_text("")
    (tmp_path / "state.db").write_text("")
    assert list(run.fresh(tmp_path).iterdir()) == []


def test_the_demos_configuration_can_be_read_as_it_is() -> None:
    config = parse_config(CONFIG.read_text(), "demo.yaml")
    assert config.workers == 2


def test_a_place_to_fill_in_that_is_gone_is_told() -> None:
    with pytest.raises(StageError, match="exactly once"):
        filled_in("port: 80", {"port: 8080": "port: 1"})


def test_a_curl_line_can_be_pasted_whatever_is_in_it() -> None:
    call = Call(bearer="TOKEN_ALICE", body='{"it": "isn\'t"}', headers={"X-Forwarded-For": "1.2.3.4"}, source="127.0.0.2")
    words = shlex.split(" ".join(call.curl()))
    assert words[words.index("-d") + 1] == call.body
    assert words[words.index("--interface") + 1] == "127.0.0.2"
    assert "X-Forwarded-For: 1.2.3.4" in words


def told(width: int = 100) -> tuple[Teller, io.StringIO]:
    out = io.StringIO()
    return Teller(out), out


def test_a_step_that_fails_shows_expected_and_got_and_the_story_goes_on() -> None:
    teller, out = told()
    teller.step("one")
    teller.expect("answered", 451, 200)
    teller.expect("named", "x", "x")
    teller.step("two")
    teller.expect("answered", 200, 200)
    assert teller.end() == 1
    assert "✗ answered: expected 200, got 451" in out.getvalue()
    assert out.getvalue().endswith("1 of 2 steps as expected\n")


def test_a_command_is_broken_between_its_words_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    teller, out = told()
    words = Call(bearer="TOKEN_ALICE", body=chat("gpt-frontier")).curl()
    teller.command(words)
    pasted = out.getvalue().replace("   $ ", "", 1)
    assert len(pasted.splitlines()) > 1
    assert shlex.split(pasted.replace("\\\n", "")) == shlex.split(" ".join(words))


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured, plain = Terminal(), Terminal()
    Teller(coloured).step("one")
    monkeypatch.setenv("NO_COLOR", "1")
    Teller(plain).step("one")
    assert "\x1b[" in coloured.getvalue()
    assert "\x1b[" not in plain.getvalue()
