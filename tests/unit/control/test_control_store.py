"""Which log the store holds, and accepting it after it went back (decision 0018)."""

import pytest

from frontiergate.store.protocol import StoreAccepted
from tests.unit.control.control_harness import Desk

PATH = "/admin/v1/store"
PROBLEM = "the store went back: epoch 9 of log lost is enforced here, it holds epoch 1 of log this"


def regressed(desk: Desk) -> str:
    """The store at epoch 1, which two replicas refuse; its lineage."""
    desk.ask("POST", "/admin/v1/keys", {"name": "k", "reason": "r"})
    desk.report("host/0", 9, lineage="lost older", regressed=True, stale=True, problem=PROBLEM)
    desk.report("host/1", 9, lineage="lost older", regressed=True, stale=True, problem=PROBLEM)
    desk.report("host/2", 1)
    return desk.run(desk.plane.store.position()).lineage


def test_the_store_is_shown_with_who_refuses_it(desk: Desk) -> None:
    log = regressed(desk)
    answer = desk.ask("GET", PATH, who="viewer")
    refusal = {"log": "lost", "epoch": 9, "problem": PROBLEM}
    assert answer.json == {"log": log, "epoch": 1, "refused_by": [{"name": "host/0", **refusal}, {"name": "host/1", **refusal}]}
    assert answer.headers["ETag"] == '"1"'


def test_accepting_it_makes_it_another_log_in_the_place_of_all_that_replicas_follow(desk: Desk) -> None:
    log = regressed(desk)
    answer = desk.ask("POST", f"{PATH}/accept", {"reason": "the disk died"}, who="admin", headers={"If-Match": '"1"'})
    assert (answer.status, answer.json["epoch"]) == (200, 2)
    (entry,) = desk.run(desk.plane.store.entries(1))
    assert (entry.actor, entry.reason) == ("ada", "the disk died")
    assert isinstance(entry.change, StoreAccepted)
    assert entry.change.lineage.split() == [answer.json["log"], log, "lost", "older"]
    assert desk.run(desk.plane.store.position()).lineage == entry.change.lineage
    states = {replica["name"]: replica["state"] for replica in desk.ask("GET", "/admin/v1/replicas").json["replicas"]}
    assert set(states.values()) == {"behind"}, "none follows the new log yet"


@pytest.mark.parametrize(("headers", "kind"), [({}, "if-match-missing"), ({"If-Match": '"0"'}, "changed")])
def test_only_what_was_looked_at_is_accepted(desk: Desk, headers: dict[str, str], kind: str) -> None:
    log = regressed(desk)
    assert desk.ask("POST", f"{PATH}/accept", {"reason": "r"}, who="admin", headers=headers).kind == kind
    assert desk.run(desk.plane.store.position()).lineage == log


def test_it_takes_an_admin_a_reason_and_a_replica_that_refuses(desk: Desk) -> None:
    any_epoch = {"If-Match": "*"}
    answer = desk.ask("POST", f"{PATH}/accept", {"reason": "r"}, who="admin", headers=any_epoch)
    assert (answer.kind, answer.json["detail"]) == ("conflict", "no replica refuses the store: there is nothing to accept")
    regressed(desk)
    assert desk.ask("POST", f"{PATH}/accept", {"reason": "r"}, who="operator", headers=any_epoch).kind == "forbidden"
    assert desk.ask("POST", f"{PATH}/accept", {}, who="admin", headers=any_epoch).kind == "invalid"


def test_it_loosens_so_a_second_person_must_agree_where_that_is_configured(desk: Desk) -> None:
    regressed(desk)
    desk.reconfigure(lambda text: text + "enforcement: {loosening: second_person}\n")
    assert desk.ask("POST", f"{PATH}/accept", {"reason": "r"}, who="admin", headers={"If-Match": "*"}).kind == "second-person"
