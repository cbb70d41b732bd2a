"""Processes that die, stop, reload or are orphaned: no answer is ended that was not whole, and nobody is admitted by accident."""

import json
import os
import select
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.gate import CUT, Gate, wait_until
from tests.fixtures.upstream import Upstream

OPEN_STREAM = {"model": "gpt-open", "stream": True}


@pytest.fixture
def gate(upstream: Upstream, tmp_path: Path) -> Iterator[Gate]:
    with Gate(tmp_path / "gate", upstream, workers=2) as gate:
        yield gate


def logged(gate: Gate, message: str, times: int = 1) -> list[dict[str, Any]]:
    """The lines with this message, once there are `times` of them."""
    lines = gate.wait_log(lambda lines: len([line for line in lines if message in line["message"]]) >= times)
    return [line for line in lines if message in line["message"]]


def children(gate: Gate) -> list[int]:
    assert gate.process is not None
    return [int(pid) for pid in Path(f"/proc/{gate.process.pid}/task/{gate.process.pid}/children").read_text().split()]


def wait_gone(pids: list[int], timeout: float = 10) -> None:
    """Returns once these processes have ended."""
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            assert select.select([descriptor], [], [], timeout)[0], f"process {pid} lives on"
        finally:
            os.close(descriptor)


def connectable(gate: Gate) -> bool:
    try:
        socket.create_connection(("127.0.0.1", gate.port), timeout=5).close()
    except ConnectionError:
        return False
    return True


def reload(gate: Gate) -> None:
    assert gate.process is not None
    gate.process.send_signal(signal.SIGHUP)


def ends(gate: Gate, request_id: str) -> list[dict[str, Any]]:
    """The records of a request, once it has its end."""
    records = gate.wait_decisions(lambda records: any(r["id"] == request_id and r["kind"] == "end" for r in records))
    return [record for record in records if record["id"] == request_id]


# -- kill -9


def test_a_killed_worker_cuts_its_streams_and_is_replaced_while_the_other_goes_on(gate: Gate, upstream: Upstream) -> None:
    first, second = gate.worker_pids()
    flows = [gate.stream() for _ in range(12)]
    opened = [flow.__enter__() for flow in flows]
    try:
        by_worker = {record["id"]: record["worker"] for record in gate.wait_decisions(lambda records: len(records) == 12)}
        workers = [by_worker[flow.headers["x-gate-request-id"]][-1] for flow in opened]
        assert set(workers) == {"0", "1"}, "both have some"
        os.kill(first, signal.SIGKILL)
        doomed = [flow for flow, worker in zip(opened, workers, strict=True) if worker == "0"]
        for flow in doomed:
            with pytest.raises(CUT):
                flow.rest()
        for index, request in enumerate(upstream.requests):
            if by_worker[request.header("x-gate-request-id")].endswith("0"):
                upstream.wait_for_cancel(index)
        (died,) = logged(gate, "process died")
        assert (died["who"], died["status"]) == ("worker 0", -9)
        logged(gate, "serving", 3)
        assert len(gate.worker_pids()) == 2
        assert first not in gate.worker_pids()
        assert second in gate.worker_pids()
        assert {gate.call().status for _ in range(12)} == {200}
        upstream.going.clear()
        for flow, worker in zip(opened, workers, strict=True):
            if worker == "1":
                assert flow.rest()[-1] == b"data: [DONE]"
    finally:
        for flow in flows:
            flow.__exit__(None, None, None)
    records = gate.wait_decisions(lambda records: len([r for r in records if r["kind"] == "end"]) == 24 - len(doomed))
    unknown = {r["id"] for r in records} - {r["id"] for r in records if r["kind"] == "end"}
    assert unknown == {flow.headers["x-gate-request-id"] for flow in doomed}, "their end is unknown, no other's is"


def test_a_worker_that_dies_again_and_again_is_restarted_each_time(gate: Gate) -> None:
    for turn in range(3):
        os.kill(gate.worker_pids()[-1], signal.SIGKILL)
        logged(gate, "process died", turn + 1)
        logged(gate, "serving", 3 + turn)
    assert {gate.call().status for _ in range(8)} == {200}


def test_when_the_supervisor_is_killed_its_processes_go_too(gate: Gate) -> None:
    orphans = children(gate)
    assert len(orphans) == 3
    with gate.stream() as flow:
        flow.event()
        assert gate.process is not None
        gate.process.kill()
        gate.process.wait(10)
        wait_gone(orphans)
        with pytest.raises(CUT):
            flow.rest()
    assert not connectable(gate)


# -- SIGTERM


def test_sigterm_lets_a_stream_end_takes_nobody_new_and_exits_with_0(gate: Gate, upstream: Upstream) -> None:
    with gate.stream() as flow:
        flow.event()
        assert gate.process is not None
        gate.process.send_signal(signal.SIGTERM)
        wait_until(lambda: connectable(gate), lambda connected: not connected)
        flow.event()
        upstream.going.clear()
        assert flow.rest()[-1] == b"data: [DONE]"
        request_id = flow.headers["x-gate-request-id"]
    assert gate.process.wait(10) == 0
    assert [record["kind"] for record in ends(gate, request_id)] == ["decision", "end"]
    assert ends(gate, request_id)[-1]["end"] == "complete"


def test_sigterm_cuts_what_does_not_end_in_time_and_says_so(gate: Gate, upstream: Upstream) -> None:
    with gate.stream() as flow:
        flow.event()
        assert gate.stop() == 0
        last = flow.rest()[-1]
        request_id = flow.headers["x-gate-request-id"]
    said = json.loads(last.removeprefix(b"data: "))
    assert said["error"]["code"] == "gate_draining"
    end = ends(gate, request_id)[-1]
    assert (end["end"], end["reason"]) == ("severed", "gate_draining"), "the caller was there: it is the gate that went"
    upstream.wait_for_cancel()


def test_sigterm_closes_idle_connections_at_once(gate: Gate) -> None:
    with socket.create_connection(("127.0.0.1", gate.port), timeout=10) as idle:
        gate.call()
        assert gate.stop() == 0
        assert idle.recv(100) == b""


def test_a_gate_that_stopped_in_good_order_is_waited_for_by_nobody(gate: Gate) -> None:
    assert gate.stop() == 0
    gate.log.clear()
    gate.start()
    assert gate.admin("GET", "/admin/v1/replicas").json["total"] == 2


# -- SIGHUP


def test_a_reload_takes_a_new_model_into_service(gate: Gate) -> None:
    assert gate.call({"model": "gpt-new"}).status == 404
    gate.config["models"].append({"id": "openai/gpt-new", "dialects": ["openai"], "names": ["gpt-new"], "upstream": "stub"})
    gate.write_config()
    reload(gate)
    logged(gate, "configuration taken", 2)
    assert {gate.call({"model": "gpt-new"}).status for _ in range(8)} == {200}
    gate.wait_metric(lambda value: value == 1, "frontiergate_config_reloads_total", result="ok")


def test_a_model_that_a_reload_removes_loses_its_streams(gate: Gate, upstream: Upstream) -> None:
    with gate.stream() as goes_on, gate.stream(OPEN_STREAM) as doomed:
        gate.config["models"] = [model for model in gate.config["models"] if model["id"] != "openai/gpt-open"]
        gate.write_config()
        reload(gate)
        logged(gate, "configuration taken", 2)
        last = json.loads(doomed.rest()[-1].removeprefix(b"data: "))
        assert last["error"]["code"] == "caller_model_unknown"
        goes_on.event()
        upstream.going.clear()
        assert goes_on.rest()[-1] == b"data: [DONE]"
    assert {gate.call({"model": "gpt-open"}).reason for _ in range(8)} == {"caller_model_unknown"}


def test_a_directive_that_a_reload_brings_severs_and_refuses(gate: Gate) -> None:
    with gate.stream(OPEN_STREAM) as doomed:
        order = {"authority": "BIS", "reference": "WD-7"}
        gate.config["directives"].append({"id": "wd-7", "order": order, "models": ["openai/gpt-open"], "withdraw": True})
        gate.write_config()
        reload(gate)
        assert b"WD-7" in doomed.rest()[-1]
    logged(gate, "configuration taken", 2)
    assert {gate.call({"model": "gpt-open"}).reason for _ in range(8)} == {"policy_withdrawn"}


def test_a_worker_that_starts_after_a_reload_runs_what_the_others_run(gate: Gate) -> None:
    gate.config["models"].append({"id": "openai/gpt-new", "dialects": ["openai"], "names": ["gpt-new"], "upstream": "stub"})
    gate.write_config()
    reload(gate)
    logged(gate, "configuration taken", 2)
    gate.path.write_text("models: [")  # not reloaded: a worker that starts now must not read it
    os.kill(gate.worker_pids()[0], signal.SIGKILL)
    logged(gate, "serving", 3)
    assert {gate.call({"model": "gpt-new"}).status for _ in range(8)} == {200}
    digests = {replica["config"] for replica in gate.admin("GET", "/admin/v1/replicas").json["replicas"]}
    assert len(digests) == 1


BAD = {
    "half written": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "an unknown key": lambda text: text.replace('"upstreams"', '"upstrems"'),
    "a model without an upstream": lambda text: text.replace('"upstream": "stub"', '"upstream": "nowhere"'),
    "two models of one name": lambda text: text.replace('"gpt-open"', '"gpt-frontier"'),
    "an unknown programme": lambda text: text.replace('"caisi": {', '"other": {'),
    "not UTF-8": lambda text: b"\xff\xfe" + text.encode(),
}


@pytest.mark.parametrize("spoil", BAD.values(), ids=BAD.keys())
def test_a_bad_configuration_changes_nothing_and_is_told(upstream: Upstream, tmp_path: Path, spoil) -> None:
    with Gate(tmp_path / "gate", upstream) as gate, gate.stream() as flow:
        spoilt = spoil(gate.path.read_text())
        gate.path.write_bytes(spoilt if isinstance(spoilt, bytes) else spoilt.encode())
        reload(gate)
        (refused,) = logged(gate, "configuration refused")
        assert "frontiergate.yaml" in json.dumps(refused), "it says which file"
        gate.wait_metric(lambda value: value == 1, "frontiergate_config_reloads_total", result="failed")
        assert gate.call().status == 200
        assert gate.call({"model": "gpt-vetted"}).reason == "vetting_required"
        flow.event()
        gate.write_config()
        reload(gate)
        logged(gate, "configuration taken")
        upstream.going.clear()
        assert flow.rest()[-1] == b"data: [DONE]"


def test_a_reload_that_a_directive_in_the_store_forbids_changes_nothing(gate: Gate) -> None:
    """A group that a runtime directive names is gone from the file: an order is never silently left out, and nothing is mixed."""
    gate.config["country_groups"] = {"partners": ["US", "GB"]}
    gate.write_config()
    reload(gate)
    logged(gate, "configuration taken", 2)
    rule = {"require": {"nationality": {"all_in": ["partners"]}}, "otherwise": "refuse"}
    gate.wait_enforced(gate.put_in_force("partners-only", "openai/gpt-open", **rule)["epoch"])
    assert gate.call({"model": "gpt-open"}).status == 200
    del gate.config["country_groups"]
    gate.config["models"].append({"id": "openai/gpt-new", "dialects": ["openai"], "names": ["gpt-new"], "upstream": "stub"})
    gate.write_config()
    reload(gate)
    logged(gate, "configuration refused", 2)
    assert {gate.call({"model": "gpt-open"}).status for _ in range(8)} == {200}
    assert gate.call({"model": "gpt-open"}, token=gate.token(sub="cn", nationalities=["CN"])).reason == "policy_nationality"
    assert {gate.call({"model": "gpt-new"}).reason for _ in range(8)} == {"caller_model_unknown"}, "the old catalogue is in force too"
    gate.wait_enforced(gate.put_in_force("wd", "openai/gpt-frontier")["epoch"])
    assert {gate.call().reason for _ in range(8)} == {"policy_withdrawn"}, "orders go on being enforced"


# -- the start


@pytest.mark.parametrize("spoil", BAD.values(), ids=BAD.keys())
def test_a_gate_does_not_start_on_a_bad_configuration(upstream: Upstream, tmp_path: Path, spoil) -> None:
    gate = Gate(tmp_path / "gate", upstream)
    spoilt = spoil(gate.path.read_text())
    gate.path.write_bytes(spoilt if isinstance(spoilt, bytes) else spoilt.encode())
    gate.start(wait=False)
    assert gate.process is not None
    assert gate.process.wait(20) != 0
    gate.__exit__()
    said = json.dumps(gate.log)
    assert "frontiergate.yaml" in said
    assert "Traceback" not in said
