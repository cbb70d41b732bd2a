"""Errors that are nobody's noun: no gate, another server, no token, Ctrl-C; and the commands that need no gate."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from frontiergate import __version__, supervisor
from frontiergate.cli import table
from frontiergate.cli.client import Client
from frontiergate.errors import ConfigError
from tests.unit.cli.test_cli_directives import Run
from tests.unit.control.control_harness import CONFIG, ENVIRON, Desk


@contextlib.contextmanager
def answering(raw: bytes) -> Iterator[str]:
    """A server that answers `raw` to one connection, whatever it is asked."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(raw)

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10)


def test_no_gate_is_told_with_the_next_step(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    monkeypatch.setenv("FRONTIERGATE_URL", url)
    done = run("replicas")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"frontiergate: no gate answers at {url}: is it running? start one with frontiergate serve --config FILE,"
        " or set FRONTIERGATE_URL to its control listener\n"
    )


def test_a_host_that_does_not_exist_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRONTIERGATE_URL", "http://no-such-host.invalid")
    assert run("replicas").err.startswith("frontiergate: no gate answers at http://no-such-host.invalid (")


@pytest.mark.parametrize("url", ["localhost:9090", "ftp://x", "http://", "http://x:port", "http://x?y"])
def test_a_url_that_is_none_is_a_usage_error(run: Run, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("FRONTIERGATE_URL", url)
    done = run("replicas")
    assert (done.code, done.err) == (2, f"frontiergate: FRONTIERGATE_URL is not a URL: {url!r}; write for example http://127.0.0.1:9090\n")


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b'HTTP/1.1 404 Not Found\r\nContent-Length: 12\r\n\r\n{"error": 1}',
        b"SSH-2.0-OpenSSH_9.0\r\n",
        b"",
    ],
)
def test_another_server_is_told_from_a_gate(run: Run, monkeypatch: pytest.MonkeyPatch, raw: bytes) -> None:
    with answering(raw) as url:
        monkeypatch.setenv("FRONTIERGATE_URL", url)
        done = run("replicas")
    assert done.code == 1
    assert (
        "does not answer like a gate's control listener: check FRONTIERGATE_URL (is it the data port?)" in done.err
        or "no gate answers" in done.err
    )


def test_a_server_without_tls_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as url:
        monkeypatch.setenv("FRONTIERGATE_URL", url.replace("http:", "https:"))
        assert run("replicas").err.startswith(f"frontiergate: TLS to {url.replace('http:', 'https:')} failed (")


def test_a_gate_that_does_not_answer_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontiergate.cli.client.TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("FRONTIERGATE_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")
        assert "did not answer in 0 s: is it overloaded? look at /readyz" in run("replicas").err


def test_a_token_is_asked_for(desk: Desk, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FRONTIERGATE_TOKEN")
    assert run("replicas").err == f"frontiergate: the gate at {desk.url} asks for a token: set FRONTIERGATE_TOKEN to an operator's token\n"
    monkeypatch.setenv("FRONTIERGATE_TOKEN", "wrong")
    assert run("replicas").err == "frontiergate: no operator has this token: check FRONTIERGATE_TOKEN and control.operators\n"
    monkeypatch.setenv("FRONTIERGATE_TOKEN", "a\nb")
    done = run("replicas")
    assert (done.code, done.err) == (2, "frontiergate: FRONTIERGATE_TOKEN has characters that a token cannot have: set it again\n")
    monkeypatch.setenv("FRONTIERGATE_TOKEN", "viewer-token")
    assert "vera has the role viewer; this needs the role operator (or admin)" in run("pause", "acme/small", "--reason", "r").err


def test_ctrl_c_ends_quietly(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "get", interrupted)
    done = run("replicas")
    assert (done.code, done.err) == (130, "frontiergate: interrupted; what was already acknowledged stays in force\n")


def test_a_reader_that_goes_away_is_no_error(desk: Desk) -> None:
    command = f"{sys.executable} -m frontiergate.cli.main models list --output json; echo $? >&2"
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as nobody:
        done = subprocess.run(["sh", "-c", command], stdout=nobody, stderr=subprocess.PIPE, text=True, timeout=30, check=True)
    assert done.stderr == "1\n"


def test_the_version_and_the_help_are_shown(run: Run) -> None:
    assert run("--version").out == f"frontiergate {__version__}\n"
    shown = run("--help")
    assert shown.code == 0
    assert "3 enforced on some" in " ".join(shown.out.split())


class TestServe:
    def test_it_runs_the_supervisor(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[str | None] = []

        def fake(path: str | None) -> int:
            seen.append(path)
            return 0

        monkeypatch.setattr(supervisor, "run", fake)
        assert run("serve", "--config", "gate.yaml").code == 0
        assert seen == ["gate.yaml"]

    def test_a_configuration_that_cannot_be_used_is_told(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        def fake(path: str | None) -> int:
            raise ConfigError([f"{path}:1: first", f"{path}:2: second"])

        monkeypatch.setattr(supervisor, "run", fake)
        done = run("serve", "--config", "g.yaml")
        assert (done.code, done.err.splitlines()) == (
            1,
            ["frontiergate: the configuration cannot be used:", "frontiergate: g.yaml:1: first", "frontiergate: g.yaml:2: second"],
        )


class TestCheckConfig:
    @pytest.fixture(autouse=True)
    def tokens(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in ENVIRON.items():
            monkeypatch.setenv(name, value)

    def test_a_good_one_is_told_with_its_warnings(self, run: Run, tmp_path: Path) -> None:
        file = tmp_path / "gate.yaml"
        file.write_text(CONFIG)
        done = run("check-config", "--config", str(file))
        assert done.code == 0
        assert done.out.splitlines()[-1].startswith("can be used: 0 errors, ")
        report = run("check-config", "--config", str(file), "--output", "json").json
        assert report["ok"] is True
        assert all(problem["level"] == "warning" for problem in report["problems"])

    def test_a_bad_one_is_told_line_by_line(self, run: Run, tmp_path: Path) -> None:
        file = tmp_path / "gate.yaml"
        file.write_text("workers: none\nmodles: []\n")
        done = run("check-config", "--config", str(file))
        assert done.code == 1
        first, second, total = done.out.splitlines()
        assert first.startswith(f"error: {file}:1: workers: ")
        assert "did you mean 'models'?" in second
        assert total == "cannot be used: 2 errors, 0 warnings"
        assert run("check-config", "--config", str(file), "--output", "json").json["ok"] is False

    def test_what_only_the_whole_shows_is_told_too(self, run: Run, tmp_path: Path) -> None:
        file = tmp_path / "gate.yaml"
        file.write_text(CONFIG.replace("upstream: up, tags: [cyber]}", "upstream: down, tags: [cyber]}"))
        done = run("check-config", "--config", str(file))
        assert done.code == 1
        assert f"error: {file}:4: models[0].upstream: there is no upstream 'down'" in done.out

    def test_without_a_file_it_says_how_to_name_one(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("FRONTIERGATE_CONFIG", raising=False)
        assert "pass --config FILE or set FRONTIERGATE_CONFIG" in run("check-config").out


def test_cells_are_as_people_read_them() -> None:
    assert [table.cell(value) for value in (None, [], "", True, False, ["a", "b"], 3)] == ["-", "-", "-", "yes", "no", "a, b", "3"]
    assert table.table(("A", "B"), [("long cell", "x")]) == "A          B\nlong cell  x"
