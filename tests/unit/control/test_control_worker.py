"""The control process as the supervisor runs it, and its parts that a process cannot show."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from frontiergate import control_worker
from frontiergate.config.load import load_config
from frontiergate.control_worker import ControlProcess, read_config
from frontiergate.errors import ConfigError
from tests.unit.control.control_harness import CONFIG, ENVIRON


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def write(folder: Path, port: int, more: str = "", text: str = CONFIG) -> Path:
    """A configuration file for a control process."""
    file = folder / "gate.yaml"
    file.write_text(f"{text}\nstore: sqlite://{folder}/state/gate.db\nlisten: {{control: {{host: 127.0.0.1, port: {port}}}}}\n{more}")
    return file


def get(port: int, path: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
            raw = response.read()
            return response.status, json.loads(raw) if raw[:1] == b"{" else raw.decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


class Process:
    """A control process and the JSON lines that it logs."""

    def __init__(self, child: "subprocess.Popen[str]", port: int) -> None:
        self.child = child
        self.port = port

    def logged(self, *messages: str) -> dict[str, Any]:
        """The line that completes `messages`, in whatever order they come; every line is JSON."""
        assert self.child.stderr is not None
        missing = set(messages)
        for line in self.child.stderr:
            entry: dict[str, Any] = json.loads(line)
            missing = {message for message in missing if message not in entry["message"]}
            if not missing:
                return entry
        raise AssertionError(f"never logged: {missing}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.child.send_signal(number)
        out, _ = self.child.communicate(timeout=10)
        assert out == ""
        return self.child.returncode


@contextlib.contextmanager
def running(file: Path, port: int, *more: str, pass_fds: tuple[int, ...] = ()) -> Iterator[Process]:
    command = [sys.executable, "-m", "frontiergate.control_worker", "--config", str(file), *more]
    environment = {**os.environ, **ENVIRON}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, pass_fds=pass_fds) as child:
        try:
            yield Process(child, port)
        finally:
            child.kill()


def test_it_serves_reloads_keeps_the_old_configuration_and_stops(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    port = free_port()
    file = write(tmp_path, port)
    with running(file, port) as process:
        process.logged("control plane serves")
        assert get(port, "/healthz") == (200, {"status": "ok"})
        file.write_text("workers: many")
        process.child.send_signal(signal.SIGHUP)
        refused = process.logged("configuration refused; the one in force is kept")
        assert "workers" in refused["problems"][0]
        write(tmp_path, free_port())
        process.child.send_signal(signal.SIGHUP)
        process.logged("listen.control changed: that takes a restart")
        process.logged("configuration reloaded")
        metrics = get(port, "/metrics")[1]
        assert 'frontiergate_config_reloads_total{result="failed"} 1.0' in metrics
        assert 'frontiergate_config_reloads_total{result="ok"} 1.0' in metrics
        assert process.stop() == 0


def test_it_serves_without_its_store_and_takes_it_when_it_comes(tmp_path: Path) -> None:
    port = free_port()
    with running(write(tmp_path, port), port) as process:
        process.logged("the store cannot be opened: trying again", "control plane serves")
        assert get(port, "/healthz")[0] == 200
        status, answer = get(port, "/readyz")
        assert (status, "check that" in answer["reasons"][0]) == (503, True)
        (tmp_path / "state").mkdir()
        process.logged("the store is open")
        assert "no data worker" in get(port, "/readyz")[1]["reasons"][0]
        assert process.stop(signal.SIGINT) == 0


def test_under_a_supervisor_it_reads_the_snapshot_and_ends_with_the_supervisor(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    port = free_port()
    snapshot = tmp_path / "elsewhere" / "snapshot.yaml"
    snapshot.parent.mkdir()
    write(tmp_path, port).rename(snapshot)
    life_read, life_write = os.pipe()
    with running(snapshot, port, "--source", str(tmp_path / "gate.yaml"), "--supervised", str(life_read), pass_fds=(life_read,)) as process:
        os.close(life_read)
        process.logged("control plane serves")
        process.child.send_signal(signal.SIGINT)  # Ctrl-C: the supervisor says when
        process.child.send_signal(signal.SIGUSR1)
        assert wait_for(lambda: 'result="failed"} 1.0' in get(port, "/metrics")[1])
        os.close(life_write)
        assert process.child.wait(10) == 1


def wait_for(condition: Callable[[], bool]) -> bool:
    """Asks until it holds, for ten seconds at most: the process handles a signal when it comes to it."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if condition():
            return True
    return False


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("workers: 0", "workers"),
        ("store: nonsense", "is not a store that this version has"),
        ("control: {operators: [{name: a}]}", "control.operators[0] (a)"),
    ],
)
def test_what_it_cannot_begin_with_is_logged(tmp_path: Path, more: str, problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "gate.yaml"
    file.write_text(more)
    assert control_worker.main(["--config", str(file)]) == 1
    entry = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (entry["level"], entry["message"], problem in entry["problem"]) == ("critical", "cannot serve", True)


def test_a_port_that_is_taken_is_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "state").mkdir()
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        file = write(tmp_path, taken.getsockname()[1])
        assert control_worker.main(["--config", str(file)]) == 1
    assert "address already in use" in capsys.readouterr().err


def test_a_snapshot_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_config(str(tmp_path / "none"), "gate.yaml", {})


def serve_once(file: Path, use: Callable[[ControlProcess], None]) -> None:
    """Run a control process in this one, and `use` it from a thread once it listens."""

    async def run() -> None:
        process = ControlProcess(lambda: load_config(str(file), {}), ENVIRON, retry=0.01)
        stop = asyncio.Event()
        serving = asyncio.create_task(process.run(stop))
        await process.listening.wait()
        await asyncio.to_thread(use, process)
        stop.set()
        await serving

    asyncio.run(run())


def test_it_listens_on_a_unix_socket(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    file = tmp_path / "gate.yaml"
    file.write_text(f"{CONFIG}\nstore: sqlite://{tmp_path}/state/gate.db\nlisten: {{control: {{unix: control.sock}}}}\n")

    def ask(_: ControlProcess) -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "control.sock"))
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200 OK")

    serve_once(file, ask)


def test_a_reload_takes_a_good_configuration_and_keeps_the_old_one_else(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    port = free_port()
    file = write(tmp_path, port)

    def use(process: ControlProcess) -> None:
        before = process.plane.setup
        file.write_text("models: 5")
        assert process.reload() is False
        assert process.plane.setup is before
        write(tmp_path, port + 1, text=CONFIG.replace("acme/small", "acme/tiny"))
        file.write_text(file.read_text().replace("gate.db", "other.db"))
        assert process.reload() is True
        assert "acme/tiny" in process.plane.setup.catalogue.models
        assert get(port, "/healthz")[0] == 200

    serve_once(file, use)


def test_a_name_for_two_models_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    file = write(tmp_path, free_port(), text=CONFIG.replace("id: acme/small", "id: acme/frontier-5"))
    with pytest.raises(ConfigError, match="is listed twice"):
        ControlProcess(lambda: load_config(str(file), {}), ENVIRON)


class TestTls:
    @pytest.fixture
    def certificate(self, tmp_path: Path) -> tuple[Path, Path]:
        certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        subprocess.run(
            [*command, "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
            check=True,
            capture_output=True,
        )
        return certificate, key

    def config(self, folder: Path, port: int, tls: str) -> Path:
        (folder / "state").mkdir()
        file = folder / "gate.yaml"
        listen = f"listen: {{control: {{host: 127.0.0.1, port: {port}, tls: {tls}}}}}"
        file.write_text(f"{CONFIG}\nstore: sqlite://{folder}/state/gate.db\n{listen}\n")
        return file

    def test_it_serves_tls(self, tmp_path: Path, certificate: tuple[Path, Path]) -> None:
        port = free_port()
        file = self.config(tmp_path, port, "{certificate: cert.pem, key: key.pem}")
        context = ssl.create_default_context(cafile=str(certificate[0]))

        def ask(_: ControlProcess) -> None:
            with urllib.request.urlopen(f"https://127.0.0.1:{port}/healthz", timeout=5, context=context) as response:
                assert response.status == 200

        serve_once(file, ask)

    def test_with_a_client_ca_it_asks_for_a_certificate(self, tmp_path: Path, certificate: tuple[Path, Path]) -> None:
        port = free_port()
        file = self.config(tmp_path, port, "{certificate: cert.pem, key: key.pem, client_ca: cert.pem}")
        context = ssl.create_default_context(cafile=str(certificate[0]))

        def ask(_: ControlProcess) -> None:
            with pytest.raises(OSError), urllib.request.urlopen(f"https://127.0.0.1:{port}/healthz", timeout=5, context=context):
                pass
            context.load_cert_chain(*certificate)
            with urllib.request.urlopen(f"https://127.0.0.1:{port}/healthz", timeout=5, context=context) as response:
                assert response.status == 200

        serve_once(file, ask)

    def test_a_certificate_that_is_missing_is_told(self, tmp_path: Path) -> None:
        file = self.config(tmp_path, free_port(), "{certificate: none.pem, key: none.pem}")
        with pytest.raises(ConfigError, match=r"listen\.control\.tls: .*; check the files certificate, key and client_ca"):
            ControlProcess(lambda: load_config(str(file), {}), ENVIRON)
