"""P4, where the policy cannot be confirmed: refused by default, served where the configuration says so, and never by a store that
went back, until an operator accepts it (BYPASSES 63; decisions 0017 and 0018)."""

import contextlib
import os
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.gate import Gate, wait_until
from tests.fixtures.redis import RedisServer
from tests.fixtures.upstream import Upstream

FRONTIER = {"model": "gpt-frontier", "messages": []}
OPEN = {"model": "gpt-open", "messages": []}
SPARE = {"model": "gpt-spare", "messages": []}
MODELS = [
    {"id": "openai/gpt-frontier", "names": ["gpt-frontier"], "dialects": ["openai"], "upstream": "stub", "tags": ["frontier"]},
    *(
        {"id": f"openai/gpt-{name}", "names": [f"gpt-{name}"], "dialects": ["openai"], "upstream": "stub", "on_stale": "serve"}
        for name in ("open", "spare")
    ),
    {"id": "openai/gpt-vetted", "names": ["gpt-vetted"], "dialects": ["openai"], "upstream": "stub"},
]


class Site:
    """A gate of two workers whose store is in a folder that can go away."""

    def __init__(self, folder: Path, upstream: Upstream) -> None:
        self.store = folder / "store"
        self.store.mkdir()
        url = f"sqlite:{self.store}/state.db"
        self.gate = Gate(folder / "gate", upstream, store=url, enforcement={"lease": "1s"}, models=MODELS, workers=2)

    def loses_its_store(self) -> None:
        self.store.rename(self.store.with_name("away"))

    def finds_its_store(self) -> None:
        self.store.with_name("away").rename(self.store)

    def back_up(self) -> Path:
        copy = self.store.with_name("backup.db")
        with contextlib.closing(sqlite3.connect(self.store / "state.db")) as source, contextlib.closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        return copy

    def restores(self, backup: Path) -> None:
        for file in self.store.iterdir():
            file.unlink()
        shutil.copy(backup, self.store / "state.db")

    def answers(self, body: object) -> set[tuple[int, str | None]]:
        """What callers get, of both workers very likely."""
        return {(reply.status, reply.reason) for reply in (self.gate.call(body) for _ in range(8))}

    def wait_answers(self, body: object, status: int, reason: str | None) -> None:
        wait_until(lambda: self.answers(body), lambda seen: seen == {(status, reason)}, 20)


@pytest.fixture
def site(upstream: Upstream, tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path, upstream)
    with site.gate:
        yield site


def test_what_may_be_is_served_by_the_last_policy_through_an_outage_and_a_restart_in_it(site: Site) -> None:
    gate = site.gate
    gate.wait_enforced(gate.put_in_force("wd", "openai/gpt-spare")["epoch"])
    site.loses_its_store()
    site.wait_answers(FRONTIER, 503, "gate_policy_stale")
    assert site.answers(OPEN) == {(200, None)}
    assert site.answers(SPARE) == {(451, "policy_withdrawn")}
    gate.wait_metric(lambda value: value == 2, "frontiergate_stale_replicas")

    gate.kill()
    gate.start(wait=False)
    gate.wait_listening()
    assert site.answers(FRONTIER) == {(503, "gate_policy_stale")}
    assert site.answers(OPEN) == {(200, None)}
    assert site.answers(SPARE) == {(451, "policy_withdrawn")}
    gate.wait_log(lambda lines: any(line["message"] == "control plane serves" for line in lines))
    ready = gate.admin("GET", "/readyz")
    assert (ready.status, "the store cannot be used" in ready.json["reasons"][0]) == (503, True)

    site.finds_its_store()
    gate.wait_serving()
    site.wait_answers(FRONTIER, 200, None)
    assert site.answers(SPARE) == {(451, "policy_withdrawn")}
    wait_until(lambda: gate.admin("GET", "/readyz").status, lambda status: status == 200)


def refuses(site: Site, *reasons: str) -> None:
    """Nobody is admitted, and whoever looks is told why and what to do."""
    gate = site.gate
    for body in (FRONTIER, OPEN, SPARE):
        site.wait_answers(body, 503, "gate_policy_stale")
    ready = wait_until(lambda: gate.admin("GET", "/readyz"), lambda reply: "store accept" in str(reply.json["reasons"]))
    assert ready.status == 503
    assert all(reason in ready.json["reasons"][0] for reason in reasons), ready.json
    shown = gate.cli("replicas").stdout
    assert "yes" in shown.splitlines()[1]
    assert "`frontiergate store accept`" in shown
    assert "REFUSED BY" in gate.cli("store", "show").stdout


def test_a_backup_from_before_a_withdrawal_is_refused_by_running_and_restarted_workers_until_it_is_accepted(site: Site) -> None:
    gate = site.gate
    backup = site.back_up()
    gate.wait_enforced(gate.put_in_force("wd", "openai/gpt-spare")["epoch"])
    site.restores(backup)
    refuses(site, "the store went back", "Not in it: wd.")
    for pid in gate.worker_pids():
        os.kill(pid, signal.SIGKILL)  # the supervisor starts others, and nobody has decided anything
    gate.wait_log(lambda lines: len([line for line in lines if line["message"] == "serving"]) == 4)
    refuses(site, "the store went back", "Not in it: wd.")
    gate.kill()
    gate.start(wait=False)
    gate.wait_serving()
    refuses(site, "the store went back", "Not in it: wd.")
    waited = gate.cli("pause", "openai/gpt-vetted", "--reason", "r", "--wait", "0.5")
    assert waited.returncode == 3
    assert waited.stderr.count("is behind, it enforces epoch 1: the store") == 2

    done = gate.cli("store", "accept", "--reason", "the disk died", "--wait", "20")
    assert (done.returncode, done.stderr.count("\n")) == (0, done.stderr.count("waiting for"))
    assert done.stdout.splitlines()[-1].startswith("all 2 of 2 enforce epoch 2 after ")
    site.wait_answers(SPARE, 200, None)  # the withdrawal is lost, as somebody decided
    assert gate.admin("GET", "/readyz").status == 200
    gate.kill()
    gate.start()
    assert site.answers(SPARE) == {(200, None)}


def test_the_right_store_that_comes_back_needs_nobody(site: Site) -> None:
    gate = site.gate
    older = site.back_up()
    older.rename(older.with_name("older.db"))
    gate.wait_enforced(gate.put_in_force("wd", "openai/gpt-spare")["epoch"])
    newer = site.back_up()
    site.restores(older.with_name("older.db"))
    refuses(site, "the store went back")
    site.restores(newer)
    site.wait_answers(OPEN, 200, None)
    assert site.answers(SPARE) == {(451, "policy_withdrawn")}


def test_a_redis_that_was_flushed_is_begun_anew_by_accepting_that(upstream: Upstream, tmp_path: Path) -> None:
    with (
        RedisServer(tmp_path / "redis") as server,
        Gate(tmp_path / "gate", upstream, store=f"{server.url}?timeout=1s", enforcement={"lease": "1s"}, workers=2) as gate,
    ):
        gate.wait_enforced(gate.put_in_force("wd", "openai/gpt-open")["epoch"])
        server.call("FLUSHALL")
        wait_until(lambda: {gate.call(OPEN).reason for _ in range(8)}, lambda seen: seen == {"gate_policy_stale"})
        os.kill(gate.worker_pids()[0], signal.SIGKILL)  # one that starts begins a new log, and believes it no more than the others do
        gate.wait_log(lambda lines: len([line for line in lines if line["message"] == "serving"]) == 3)
        assert {gate.call(OPEN).reason for _ in range(8)} == {"gate_policy_stale"}
        wait_until(lambda: gate.admin("GET", "/admin/v1/store").json["refused_by"], lambda refusals: len(refusals) == 2)
        done = gate.cli("store", "accept", "--reason", "flushed by mistake", "--wait", "20")
        assert done.returncode == 0, done
        assert "epoch 1 of log" in done.stdout
        assert {gate.call(OPEN).status for _ in range(8)} == {200}
