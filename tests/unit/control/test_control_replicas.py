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


def test_a_replica_is_shown_with_its_host_its_worker_its_clock_and_why_it_refuses(desk: Desk) -> None:
    desk.report("node-7:8080/3", 0, stale=True, problem="this host's clock is 9 s ahead", clock_offset=9.0004)
    (replica,) = desk.ask("GET", PATH).json["replicas"]
    shown = {key: replica[key] for key in ("host", "worker", "stale", "problem", "clock_offset", "version", "live_sessions")}
    assert shown == {
        "host": "node-7:8080",
        "worker": "3",
        "stale": True,
        "problem": "this host's clock is 9 s ahead",
        "clock_offset": 9.0,
        "version": "0.1.0",
        "live_sessions": 3,
    }


def test_who_waits_for_an_epoch_is_told_of_that_one_though_others_came_since(desk: Desk) -> None:
    change(desk)
    change(desk)
    desk.report("host/0", 2, severed=5, before=217)
    (first,) = desk.ask("GET", f"{PATH}?epoch=1").json["replicas"]
    (second,) = desk.ask("GET", f"{PATH}?epoch=2").json["replicas"]
    assert (first["severed"], second["severed"]) == (217, 5)
    assert second["enforced_at"] - first["enforced_at"] == pytest.approx(1)


def test_a_replica_of_another_log_is_behind_whatever_its_epoch(desk: Desk) -> None:
    change(desk)
    desk.report("host/0", 9, lineage="another")
    desk.report("host/1", 9, regressed=True)  # of this log, but further on than it is
    desk.report("host/2", 1)
    listing = desk.ask("GET", f"{PATH}?epoch=1").json
    assert [replica["state"] for replica in listing["replicas"]] == ["behind", "behind", "enforcing"]
    assert listing["complete"] is False


def test_a_heartbeat_from_the_future_is_no_sign_of_life(desk: Desk) -> None:
    desk.report("host/0", 0, at=time.time() + 60)
    assert desk.ask("GET", PATH).json["replicas"][0]["state"] == "silent"


def test_silence_is_told_by_the_stores_clock(desk: Desk) -> None:
    """The control process's own may be wrong."""
    desk.plane.clock = lambda: time.time() + 3600
    desk.report("host/0", 0)
    (replica,) = desk.ask("GET", PATH).json["replicas"]
    assert replica["state"] == "enforcing"
    assert replica["silent_for"] < 5


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
    desk.report("host/0", 1, stale=True, problem="this host's clock is 9 s ahead")
    assert readiness() == (503, ["gated traffic is refused: this host's clock is 9 s ahead"])
    desk.report("host/1", 5, lineage="another", regressed=True, stale=True, problem="the store went back")
    assert len(readiness()[1]) == 2
    desk.report("host/2", 1)
    assert readiness() == (200, [])


def test_without_a_store_it_lives_but_is_not_ready(tmp_path: Path) -> None:
    with running_desk(tmp_path, opened=False) as desk:
        assert desk.ask("GET", "/healthz", who=None).status == 200
        answer = desk.ask("GET", "/readyz", who=None)
        assert (answer.status, answer.json["reasons"]) == (503, ["the store cannot be used: it has not been opened yet"])
        assert desk.ask("GET", "/metrics", who=None).status == 200
