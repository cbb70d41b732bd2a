"""Whole gates on one Redis: an order given to one is obeyed by all; without the store nobody is admitted, and health says why."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.gate import Gate, wait_until
from tests.fixtures.redis import RedisServer
from tests.fixtures.upstream import Upstream

OPEN = {"model": "gpt-open", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as server:
        yield server


def test_an_order_given_to_one_gate_is_obeyed_by_another(new_gate, server: RedisServer) -> None:
    one, other = new_gate(store=server.url), new_gate(store=server.url)
    assert {gate.call(OPEN).status for gate in (one, other)} == {200}
    with other.stream(OPEN | {"stream": True}) as flow:
        assert flow.status == 200
        one.put_in_force("wd", "openai/gpt-open")
        for gate in (one, other):
            wait_until(lambda gate=gate: gate.call(OPEN).reason, lambda reason: reason == "policy_withdrawn", 5)
        assert b"policy_withdrawn" in b"".join(flow.rest())
    other.lift("wd")
    wait_until(lambda: one.call(OPEN).status, lambda status: status == 200, 5)


def test_while_the_store_hangs_nobody_is_admitted_once_the_lease_ends(new_gate, server: RedisServer) -> None:
    gate = new_gate(store=f"{server.url}?timeout=300ms", enforcement={"lease": "1s"})
    assert gate.call(OPEN).status == 200
    server.pause()
    try:
        stale = wait_until(lambda: gate.call(OPEN), lambda reply: reply.status != 200)
        assert (stale.status, stale.reason) == (503, "gate_policy_stale")
        ready = gate.admin("GET", "/readyz")
        assert ready.status == 503
        assert "does not answer in time" in ready.body.decode()
    finally:
        server.resume()
    wait_until(lambda: gate.call(OPEN).status, lambda status: status == 200)


def test_a_gate_whose_password_is_wrong_admits_nobody_and_says_why(upstream: Upstream, server: RedisServer, tmp_path: Path) -> None:
    server.call("ACL", "SETUSER", "gate", "on", ">right", "~*", "&*", "+@all")
    password = tmp_path / "password"
    password.write_text("wrong")
    gate = Gate(tmp_path / "gate", upstream, store=f"redis://gate@127.0.0.1:{server.port}?password_file={password}")
    try:
        gate.start(wait=False)
        gate.wait_listening()
        gate.wait_log(lambda lines: any(line["message"] == "control plane serves" for line in lines))
        assert gate.call(OPEN).reason == "gate_policy_stale"
        said = str(wait_until(lambda: gate.admin("GET", "/readyz").body, lambda text: b"password" in text))
        assert "does not accept the user or the password" in said
        assert "wrong" not in said
        password.write_text("right")
        gate.wait_serving()
        assert gate.call(OPEN).status == 200
    finally:
        gate.__exit__()
