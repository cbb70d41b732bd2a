"""`store show` and `store accept`, against a real control plane (decision 0018)."""

import pytest

from tests.unit.cli.test_cli_directives import Run
from tests.unit.control.control_harness import Desk

PROBLEM = "the store went back"


@pytest.fixture(autouse=True)
def admin(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRONTIERGATE_TOKEN", "admin-token")


def test_the_store_is_shown(desk: Desk, run: Run) -> None:
    log = desk.run(desk.plane.store.position()).lineage
    assert run("store", "show").out == f"the store holds epoch 0 of log {log}\n"
    desk.report("host/0", 9, lineage="lost", regressed=True, stale=True, problem=PROBLEM)
    lines = run("store", "show").out.splitlines()
    assert lines[1:] == ["REFUSED BY  ENFORCES  OF LOG", "host/0      9         lost", PROBLEM]
    assert run("store", "show", "--output", "json").json["refused_by"][0]["name"] == "host/0"


def test_it_is_accepted_after_telling_what_is(desk: Desk, run: Run) -> None:
    desk.report("host/0", 9, lineage="lost", regressed=True, stale=True, problem=PROBLEM)
    done = run("store", "accept", "--reason", "the disk died", "--wait", "0.1")
    lineage = desk.run(desk.plane.store.position()).lineage
    assert done.code == 3, "the replica has not taken it yet"
    assert PROBLEM in done.out
    assert f"it is taken as it is, as log {lineage.split()[0]}, epoch 1\n" in done.out
    assert done.out.splitlines()[-1] == "0 of 1 enforce epoch 1"
    again = run("store", "accept", "--reason", "r", "--output", "json")
    assert again.json["epoch"] == 2, "the replica has not said yet that it is content"


def test_there_is_nothing_to_accept_where_nobody_refuses(desk: Desk, run: Run) -> None:
    done = run("store", "accept", "--reason", "r", "--output", "json")
    assert (done.code, done.err) == (1, "frontiergate: no replica refuses the store: there is nothing to accept\n")
