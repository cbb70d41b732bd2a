"""P5: what was acknowledged survives kill -9 of any process: withdrawals, grants, keys, and their ends; the audit record too."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.gate import CUT, Gate, wait_until
from tests.fixtures.upstream import Answer, Received, Upstream, like_a_model

OPEN, VETTED = {"model": "gpt-open"}, {"model": "gpt-vetted"}
WHO = "https://idp.example|alice"


@pytest.fixture
def gate(upstream: Upstream, tmp_path: Path) -> Iterator[Gate]:
    with Gate(tmp_path / "gate", upstream, workers=2) as gate:
        yield gate


def acknowledged(gate: Gate, method: str, path: str, body: Any) -> None:
    """A change that was answered with success."""
    assert gate.admin(method, path, body).status in {200, 201}


def kill_whole_gate(gate: Gate) -> None:
    """kill -9 of every process at once, and a start from what is on the disk."""
    gate.kill()
    gate.start()


def kill_all_workers(gate: Gate) -> None:
    """kill -9 of the data workers; the supervisor starts others."""
    doomed = gate.worker_pids()
    for pid in doomed:
        os.kill(pid, signal.SIGKILL)
    gate.wait_log(lambda lines: len([line for line in lines if line["message"] == "serving"]) == 4)
    assert not set(doomed) & set(gate.worker_pids())


def kill_control_process(gate: Gate) -> None:
    """kill -9 of the process that acknowledged."""
    assert gate.process is not None
    children = Path(f"/proc/{gate.process.pid}/task/{gate.process.pid}/children").read_text().split()
    (control,) = [int(pid) for pid in children if b"control_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(control, signal.SIGKILL)
    for message in ("the store is open", "control plane serves"):  # in whatever order its successor comes to them
        gate.wait_log(lambda lines, message=message: [line["message"] for line in lines].count(message) == 2)


KILLS = pytest.mark.parametrize("kill", [kill_whole_gate, kill_all_workers, kill_control_process])


def always(gate: Gate, body: Any, reason: str | None, token: str = "", count: int = 8) -> None:
    """Every worker says so: connections are spread over them."""
    assert {gate.call(body, token=token).reason for _ in range(count)} == {reason}


@KILLS
def test_a_withdrawal_holds(gate: Gate, kill) -> None:
    assert gate.call(OPEN).status == 200
    epoch = gate.put_in_force("wd", "openai/gpt-open")["epoch"]
    kill(gate)
    gate.wait_enforced(epoch)
    always(gate, OPEN, "policy_withdrawn")
    listed = gate.admin("GET", "/admin/v1/directives").json
    assert listed["epoch"] == epoch
    assert "wd" in {directive["id"] for directive in listed["directives"]}


@KILLS
def test_the_end_of_a_grant_holds(gate: Gate, kill) -> None:
    grant = gate.new_grant(WHO, "openai/gpt-vetted")
    wait_until(lambda: {gate.call(VETTED).status for _ in range(8)}, lambda seen: seen == {200})
    reply = gate.admin("POST", f"/admin/v1/grants/{grant}/revoke", {"reason": "ended"})
    assert reply.status == 200
    kill(gate)
    gate.wait_enforced(reply.json["epoch"])
    always(gate, VETTED, "vetting_required")
    assert gate.admin("GET", f"/admin/v1/grants/{grant}").json["state"] == "revoked"


@KILLS
def test_the_end_of_a_key_holds(gate: Gate, kill) -> None:
    key, secret = gate.new_key()
    assert gate.call(OPEN, token=secret).status == 200
    reply = gate.admin("POST", f"/admin/v1/keys/{key}/revoke", {"reason": "lost"})
    assert reply.status == 200
    kill(gate)
    gate.wait_enforced(reply.json["epoch"])
    always(gate, OPEN, "caller_credential_invalid", secret)


def test_what_was_given_holds_too(gate: Gate) -> None:
    """A grant, a key and a lifted directive are not forgotten either: nobody is cut off more than the order demands."""
    gate.put_in_force("wd", "openai/gpt-open")
    gate.lift("wd")
    _, secret = gate.new_key()
    gate.new_grant(WHO, "openai/gpt-vetted")
    kill_whole_gate(gate)
    always(gate, OPEN, None, secret)
    always(gate, VETTED, None)


def test_a_pause_holds(gate: Gate) -> None:
    reply = gate.admin("POST", "/admin/v1/models/openai/gpt-open/pause", {"reason": "maintenance"})
    kill_whole_gate(gate)
    gate.wait_enforced(reply.json["epoch"])
    always(gate, OPEN, "operator_paused")


def test_the_log_goes_on_without_a_gap_after_many_kills(gate: Gate) -> None:
    epochs = []
    for turn in range(3):
        epochs.append(gate.put_in_force(f"wd-{turn}", "openai/gpt-open")["epoch"])
        kill_whole_gate(gate)
    assert epochs == [1, 2, 3]
    for turn in range(3):
        history = gate.admin("GET", f"/admin/v1/directives/wd-{turn}/history").json["history"]
        assert [(entry["epoch"], entry["actor"], entry["reason"]) for entry in history] == [(turn + 1, "olga", "a test")]


def test_a_strict_audit_record_is_on_disk_before_the_upstream_is_asked(upstream: Upstream, tmp_path: Path) -> None:
    on_disk: list[list[str]] = []

    def look(upstream: Upstream, request: Received) -> Answer:
        on_disk.append([record["id"] for record in gate.decisions()])
        return like_a_model(upstream, request)

    upstream.answer = look
    with Gate(tmp_path / "gate", upstream, audit={"durability": "strict"}) as gate:
        ids = []
        for _ in range(5):
            reply = gate.call(OPEN)
            assert reply.status == 200
            ids.append(reply.headers["x-gate-request-id"])
        gate.kill()
        for request_id, seen in zip(ids, on_disk, strict=True):
            assert request_id in seen
        kept = [record["id"] for record in gate.decisions() if record["kind"] == "decision"]
        assert kept == ids


def test_a_request_cut_by_kill_9_keeps_its_decision_without_an_end(upstream: Upstream, tmp_path: Path) -> None:
    with Gate(tmp_path / "gate", upstream, audit={"durability": "strict"}) as gate, gate.stream() as flow:
        request_id = flow.headers["x-gate-request-id"]
        flow.event()
        gate.kill()
        with pytest.raises(CUT):
            flow.rest()
        kinds = [record["kind"] for record in gate.decisions() if record["id"] == request_id]
        assert kinds == ["decision"], "the audit says: end unknown"
        gate.start()
        assert [record["kind"] for record in gate.decisions() if record["id"] == request_id] == ["decision"]
