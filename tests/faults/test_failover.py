"""A store of three Redis servers and three Sentinels: its master dies in mid-change (P4, P5; BYPASSES 63)."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.changes import Changes
from tests.fixtures.gate import Gate, wait_until
from tests.fixtures.redis import RedisServer, eventually, sentinels
from tests.fixtures.upstream import Upstream

OPEN = {"model": "gpt-open", "messages": [{"role": "user", "content": "Hi"}]}
_DOWN_AFTER = 2000  # ms


@contextlib.contextmanager
def gate_on(watching: list[RedisServer], folder: Path, upstream: Upstream, parameters: str, **config: object) -> Iterator[Gate]:
    hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in watching)
    with Gate(folder / "gate", upstream, store=f"redis+sentinel://{hosts}/gate?{parameters}", **config) as gate:
        yield gate


def master_of(data: list[RedisServer], watching: list[RedisServer]) -> RedisServer:
    port = int(watching[0].call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "gate")[1])
    return next(server for server in data if server.port == port)


def start_as_replica(server: RedisServer, master: RedisServer) -> None:
    """Bring a dead server back as one should: not as the master that it was."""
    server._settings["replicaof"] = f"127.0.0.1 {master.port}"
    server.start()
    eventually(lambda: server.call("ROLE")[0] == "slave" and server.call("ROLE")[3] == "connected")


@pytest.mark.parametrize("rounds", [1, pytest.param(10, marks=pytest.mark.soak)])
def test_a_failover_in_mid_change_loses_nothing_acknowledged_and_takes_no_epoch_back(
    upstream: Upstream, tmp_path: Path, rounds: int
) -> None:
    with (
        sentinels(tmp_path, down_after=_DOWN_AFTER) as (data, watching),
        gate_on(watching, tmp_path, upstream, "wait=1&timeout=500ms", workers=2) as gate,
    ):
        with Changes(gate) as changes:
            for _ in range(rounds):
                changes.wait_for_more(10)
                dead = master_of(data, watching)
                dead.kill()
                changes.wait_for_more(10)  # by another master
                assert master_of(data, watching) is not dead
                start_as_replica(dead, master_of(data, watching))
        changes.check()
        gate.wait_enforced(changes.acknowledged[-1].epoch)
        wait_until(lambda: {gate.call(OPEN).status for _ in range(8)}, lambda seen: seen == {200})
        assert not [line for line in gate.log if "went back" in line["message"]]


@pytest.mark.parametrize("wait", ["", "wait=1&"], ids=["nobody is waited for", "one is waited for, and two fail"])
def test_a_failover_that_lost_a_change_is_noticed_and_admits_nobody_until_an_operator_takes_it_as_it_is(
    upstream: Upstream, tmp_path: Path, wait: str
) -> None:
    """Redis can undo what more servers failed to keep than the URL waits for. It is never undone silently."""
    with (
        sentinels(tmp_path, down_after=_DOWN_AFTER) as (data, watching),
        gate_on(watching, tmp_path, upstream, f"{wait}timeout=500ms") as gate,
    ):
        if not wait:
            gate.wait_log(lambda lines: any("a failover can lose acknowledged changes; add ?wait=1" in line["message"] for line in lines))
        master, other, behind = data
        gate.wait_enforced(gate.put_in_force("kept", "openai/gpt-vetted")["epoch"])
        eventually(lambda: behind.call("XLEN", "{frontiergate}:log") == 1)
        behind.kill()
        if not wait:
            other.kill()
        gate.wait_enforced(gate.put_in_force("undone", "openai/gpt-open")["epoch"])
        assert gate.call(OPEN).reason == "policy_withdrawn"
        master.kill()
        if wait:
            other.kill()
        behind.start()
        eventually(lambda: behind.call("ROLE")[0] == "master", 40)
        start_as_replica(other, behind)
        gate.wait_log(lambda lines: any("the store went back" in line["message"] for line in lines))
        assert {gate.call(OPEN).reason for _ in range(8)} == {"gate_policy_stale"}
        assert {gate.call({**OPEN, "model": "gpt-vetted"}).reason for _ in range(4)} == {"gate_policy_stale"}
        assert not upstream.requests

        gate.kill()
        gate.start()
        assert {gate.call(OPEN).reason for _ in range(8)} == {"gate_policy_stale"}
        done = gate.cli("store", "accept", "--reason", "a failover lost it", "--wait", "20")
        assert done.returncode == 0, done
        assert "Not in it: undone." in done.stdout
        wait_until(lambda: gate.call(OPEN).status, lambda status: status == 200)
        assert gate.call({**OPEN, "model": "gpt-vetted"}).reason == "policy_withdrawn"
