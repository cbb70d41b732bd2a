"""kill -9 in the middle of an import: the store is as it was, and the same command does it all afterwards."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from frontiergate.store.protocol import GrantIssued
from tests.fixtures.redis import RedisServer, eventually
from tests.unit.store.snapshot_stories import HISTORY, Keys, fill, held, make, stands
from tests.unit.store.store_contract import grant

MANY = 20_000  # so that it lasts for a second or two


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Keys]:
    folder = tmp_path_factory.mktemp("made")
    keys = Keys(folder)
    make(folder / "snapshot", keys, (GrantIssued(grant(f"g{number}", f"i|{number}")) for number in range(MANY)))
    return folder / "snapshot", keys


def importing(tmp_path: Path, url: str, made: tuple[Path, Keys], *words: str) -> "subprocess.Popen[bytes]":
    (tmp_path / "gate.yaml").write_text(f'store: "{url}"\n')
    file, keys = made
    command = [sys.executable, "-m", "frontiergate.cli.main", "store", "import", str(file), "--key-file", str(keys.public), *words]
    return subprocess.Popen(command, env={**os.environ, "FRONTIERGATE_CONFIG": str(tmp_path / "gate.yaml")}, stdout=subprocess.DEVNULL)


def killed_once(condition: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    eventually(condition, 60)
    process.send_signal(signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL, "it was over already: MANY is too few"


def size(path: str) -> int:
    return os.stat(path).st_size if os.path.exists(path) else 0


@pytest.mark.parametrize("before", [(), HISTORY], ids=["empty", "in use"])
def test_a_file_is_as_it_was(tmp_path: Path, made: tuple[Path, Keys], before: tuple[object, ...]) -> None:
    path = str(tmp_path / "state.db")
    fill(f"sqlite://{path}", before)  # type: ignore[arg-type]
    was = held(f"sqlite://{path}")
    replace = ["--replace", f"{was.position.lineage}@{was.position.epoch}"]
    process = importing(tmp_path, f"sqlite://{path}", made, *replace)
    killed_once(lambda: size(f"{path}-wal") > 2 << 20, process)
    assert held(f"sqlite://{path}") == was
    assert importing(tmp_path, f"sqlite://{path}", made, *replace).wait(60) == 0
    assert stands(f"sqlite://{path}").epoch == MANY


@pytest.mark.parametrize("before", [(), HISTORY], ids=["empty", "in use"])
def test_a_servers_keys_are_as_they_were(tmp_path: Path, made: tuple[Path, Keys], before: tuple[object, ...]) -> None:
    with RedisServer(tmp_path / "redis", appendfsync="no") as server:
        fill(server.url, before)  # type: ignore[arg-type]
        was = held(server.url)
        names = set(server.call("KEYS", "*"))
        replace = ["--replace", f"{was.position.lineage}@{was.position.epoch}"]
        process = importing(tmp_path, server.url, made, *replace)
        killed_once(lambda: server.call("XLEN", "{frontiergate}:import:log") > MANY // 10, process)
        assert held(server.url) == was
        assert {name for name in server.call("KEYS", "*") if ":import:" not in name} == names
        assert importing(tmp_path, server.url, made, *replace).wait(60) == 0
        assert stands(server.url).epoch == MANY
        assert not server.call("KEYS", "*:import:*")
