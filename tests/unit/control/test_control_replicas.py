"""Replicas, waiting for them, health and metrics."""

import threading
import time
from pathlib import Path

import pytest

from tests.unit.control.control_harness import Answer, Desk, running_desk

PATH = "/admin/v1/replicas"


def change(desk: Desk) -> int:
    """One epoch on."""
    desk.ask("POST", "/admin/v1/keys", {"name": "k", "reason": "r"})
    return int(desk.ask("GET", "/admin/v1/epoch").json["epoch"])


def test_a_replica_enforces_is_behind_or_is_silent(desk: Desk) -> None:
    epoch = change(desk)
    desk.report("host/0", epoch, severed=7)
    desk.report("host/1", epoch - 1)
    desk.report("host/2", epoch, at=time.time() - 60)
    listing = desk.ask("GET", PATH, who="viewer").json
    assert {replica["name"]: replica["state"] for replica in listing["replicas"]} == {
        "host/0": "enforcing",
        "host/1": "behind",
        "host/2": "silent",
    }
    assert (listing["epoch"], listing["total"], listing["enforcing"], listing["complete"]) == (1, 3, 1, False)
    assert listing["replicas"][0]["severed"] == 7
    assert listing["replicas"][2]["silent_for"] == pytest.approx(60, abs=5)


def test_the_control_process_is_no_replica(desk: Desk) -> None:
    assert desk.ask("GET", PATH).json["replicas"] == []
    assert desk.ask("GET", PATH).json["complete"] is False


def waiting(desk: Desk, path: str) -> tuple[threading.Thread, list[Answer]]:
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(desk.ask("GET", path)))
    thread.start()
    return thread, answers


def test_waiting_ends_as_soon_as_the_last_live_replica_enforces_the_epoch(desk: Desk) -> None:
    desk.report("host/0", 0)
    desk.report("host/1", 0)
    desk.report("host/2", 0, at=time.time() - 60)
    epoch = change(desk)
    threads = [waiting(desk, f"{PATH}?epoch={epoch}&wait=15") for _ in range(3)]
    desk.report("host/0", epoch)
    began = time.monotonic()
    desk.report("host/1", epoch)
    for thread, answers in threads:
        thread.join(10)
        assert (answers[0].json["enforcing"], answers[0].json["total"], answers[0].json["complete"]) == (2, 3, False)
    assert time.monotonic() - began < 3


def test_waiting_ends_with_its_time_and_tells_how_far_it_came(desk: Desk) -> None:
    desk.report("host/0", 0)
    answer = desk.ask("GET", f"{PATH}?epoch=5&wait=0.2")
    assert (answer.json["replicas"][0]["state"], answer.json["complete"], answer.json["head"]) == ("behind", False, 0)


def test_waiting_notices_that_a_replica_fell_silent(desk: Desk) -> None:
    desk.report("host/0", 9)
    desk.report("host/1", 0, at=time.time() - 2.8)
    answer = desk.ask("GET", f"{PATH}?epoch=1&wait=15")
    assert {replica["name"]: replica["state"] for replica in answer.json["replicas"]} == {"host/0": "enforcing", "host/1": "silent"}


@pytest.mark.parametrize("wait", ["61", "-1", "x", "1e9", ""])
def test_a_wait_is_bounded(desk: Desk, wait: str) -> None:
    assert desk.ask("GET", f"{PATH}?wait={wait}").json["errors"] == [
        {"field": "?wait", "detail": "must be a number of seconds from 0 to 60"}
    ]


def test_the_epoch_is_its_own_etag(desk: Desk) -> None:
    change(desk)
    assert desk.ask("GET", "/admin/v1/epoch").headers["ETag"] == '"1"'


def test_health_and_metrics_need_no_token(desk: Desk) -> None:
    assert desk.ask("GET", "/healthz", who=None).json == {"status": "ok"}
    assert desk.ask("HEAD", "/healthz", who=None).status == 200
    change(desk)
    metrics = desk.ask("GET", "/metrics", who=None)
    assert metrics.headers["Content-Type"].startswith("text/plain")
    assert b"frontiergate_policy_epoch 1.0" in metrics.raw


def test_the_gate_is_ready_once_a_live_worker_enforces_the_head(desk: Desk) -> None:
    def readiness() -> tuple[int, list[str]]:
        answer = desk.ask("GET", "/readyz", who=None)
        return answer.status, answer.json["reasons"]

    assert readiness() == (503, ["no data worker has been heard of within 3 s: is one running?"])
    desk.report("host/0", 0)
    assert readiness() == (200, [])
    change(desk)
    assert readiness() == (503, ["no data worker enforces epoch 1 yet"])


def test_without_a_store_it_lives_but_is_not_ready(tmp_path: Path) -> None:
    with running_desk(tmp_path, opened=False) as desk:
        assert desk.ask("GET", "/healthz", who=None).status == 200
        answer = desk.ask("GET", "/readyz", who=None)
        assert (answer.status, answer.json["reasons"]) == (503, ["the store cannot be reached: it has not been opened yet"])
        assert desk.ask("GET", "/metrics", who=None).status == 200
