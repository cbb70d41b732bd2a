"""The stage: an identity provider, a model provider, a GeoIP database and a gate of two workers, on this machine only."""

import contextlib
import http.client
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from deploy.demo import people, provider
from tests.fixtures import mmdb
from tests.fixtures.idp import IdentityProvider
from tests.fixtures.upstream import Upstream

CONFIG: Final = Path(__file__).parents[2] / "config" / "demo.yaml"
EMBARGOED: Final = "127.0.0.2"  # an address that the database has in North Korea
LOAD_BALANCER: Final = "127.0.0.9"  # the trusted proxy of config/demo.yaml
_COUNTRIES: Final = {"127.0.0.0/8": "US", f"{EMBARGOED}/32": "KP", "203.0.113.0/24": "KP", "198.51.100.0/24": "US"}
_PATIENCE: Final = 30.0  # seconds for the gate to be ready, and to stop


class StageError(Exception):
    """The stage cannot be set. The message says why and what to do."""


class Stage:
    """What runs, where it is, and the tokens of everybody."""

    gate: subprocess.Popen[bytes]  # the supervisor, once it is started

    def __init__(self, folder: Path, data_port: int, control_port: int, upstream: Upstream, idp: IdentityProvider) -> None:
        self.folder = folder
        self.upstream = upstream
        self.data_port = data_port
        self.control_port = control_port
        self.operator_token = secrets.token_hex(32)
        self.provider_key = f"sk-provider-{secrets.token_hex(8)}"
        self.tokens = people.tokens(idp)

    @property
    def variables(self) -> dict[str, str]:
        """What a shell needs: where the gate is, the operator's token for the CLI, and the callers' tokens."""
        return {
            "GATE": f"http://127.0.0.1:{self.data_port}",
            "FRONTIERGATE_URL": f"http://127.0.0.1:{self.control_port}",
            "FRONTIERGATE_TOKEN": self.operator_token,
            **self.tokens,
        }

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`frontiergate …`, as the operator runs it."""
        return subprocess.run(  # noqa: S603 - our own module, no shell
            [sys.executable, "-m", "frontiergate.cli.main", *arguments],
            env={**os.environ, **self.variables},
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )

    def decision_records(self) -> list[bytes]:
        """The audit's lines so far, of all workers."""
        return [line for path in sorted((self.folder / "audit").glob("decisions-*.jsonl")) for line in path.read_bytes().splitlines()]


@contextlib.contextmanager
def set_stage(folder: Path, data_port: int | None = None, control_port: int | None = None) -> Iterator[Stage]:
    """Everything started in `folder`, and stopped at the end. Ports that are not given are free ones. Raises StageError."""
    idp = IdentityProvider()
    idp.add_key(algorithm="EdDSA")  # the shortest signatures: these tokens are pasted
    with idp.serving() as keys, _providing() as upstream:
        stage = Stage(folder, data_port or _free_port(), control_port or _free_port(), upstream, idp)
        _write_files(stage, keys.url)
        with _serving(stage):
            yield stage


def require_free(port: int) -> None:
    """Raises StageError where somebody listens on `port`. The gate itself might not notice: its workers share a port on purpose."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not stopped by connections that have ended
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise StageError(f"port {port} of 127.0.0.1 is taken: stop what listens there, or choose another port") from None


def filled_in(text: str, places: dict[str, str]) -> str:
    """`text` with each of `places` replaced; each must be there exactly once."""
    for placeholder, value in places.items():
        if text.count(placeholder) != 1:
            raise StageError(f"config/demo.yaml must have {placeholder!r} exactly once: put it back")
        text = text.replace(placeholder, value)
    return text


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def _providing() -> Iterator[Upstream]:
    upstream = Upstream(provider.answer)
    try:
        yield upstream
    finally:
        upstream.stop()


def _write_files(stage: Stage, keys_url: str) -> None:
    places = {
        "port: 8080": f"port: {stage.data_port}",
        "port: 9090": f"port: {stage.control_port}",
        "http://127.0.0.1:8081/jwks.json": keys_url,
        "http://127.0.0.1:8082": stage.upstream.url,
    }
    (stage.folder / "demo.yaml").write_text(filled_in(CONFIG.read_text("utf-8"), places), "utf-8")
    for name, secret in (("operator-token", stage.operator_token), ("provider-key", stage.provider_key)):
        path = stage.folder / name
        path.touch(mode=0o600)
        path.write_text(secret, "utf-8")
    mmdb.country(stage.folder / "country.mmdb", _COUNTRIES)


@contextlib.contextmanager
def _serving(stage: Stage) -> Iterator[None]:
    """The gate in a session of its own, so that Ctrl-C reaches this process first, which then stops the gate in good order."""
    log = stage.folder / "gate.log"
    with log.open("wb") as stderr:
        stage.gate = gate = subprocess.Popen(  # noqa: S603 - our own module, no shell
            [sys.executable, "-m", "frontiergate.cli.main", "serve", "--config", str(stage.folder / "demo.yaml")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
    try:
        _wait_until_ready(stage, gate, log)
        yield
    finally:
        _stop(gate)


def _wait_until_ready(stage: Stage, gate: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    workers = re.search(r"^workers: (\d+)", CONFIG.read_text("utf-8"), re.MULTILINE)
    assert workers is not None
    while not (_ready(stage.control_port) and log.read_bytes().count(b'"serving"') >= int(workers[1])):
        if gate.poll() is not None or time.monotonic() > deadline:
            raise StageError(f"the gate did not start; its log ends with\n{log.read_text('utf-8', 'replace')[-2000:]}")
        time.sleep(0.05)


def _ready(control_port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", control_port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False  # not there yet
    finally:
        connection.close()


def _stop(gate: subprocess.Popen[bytes]) -> None:
    gate.send_signal(signal.SIGTERM)
    try:
        gate.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(gate.pid, signal.SIGKILL)
        gate.wait()
