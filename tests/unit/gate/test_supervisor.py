"""The supervisor's own corners; its ordinary life is in tests/faults/test_processes.py."""

import os
import signal

import pytest

from frontiergate.errors import ConfigError
from frontiergate.supervisor import Supervisor
from tests.fixtures.gate import Gate
from tests.fixtures.upstream import Upstream


def test_without_a_configuration_nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FRONTIERGATE_CONFIG", raising=False)
    with pytest.raises(ConfigError, match="FRONTIERGATE_CONFIG"):
        Supervisor(None)


def test_a_worker_that_does_not_stop_is_killed_and_a_change_that_takes_a_restart_is_told(new_gate, upstream: Upstream) -> None:
    gate: Gate = new_gate(limits={"drain": "100ms"}, identity={"token_cache": 1})
    gate.config["workers"] = 2
    gate.write_config()
    assert gate.process is not None
    gate.process.send_signal(signal.SIGHUP)
    gate.wait_log(lambda lines: any("takes a restart" in line["message"] and line.get("key") == "workers" for line in lines))
    (worker,) = gate.worker_pids()
    os.kill(worker, signal.SIGSTOP)
    assert gate.stop() == 0
    assert any(line["message"] == "process did not stop in time; killed" and line["who"] == "worker 0" for line in gate.log)
