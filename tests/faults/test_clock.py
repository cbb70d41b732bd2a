"""A machine's wall clock steps (BYPASSES 61)."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.fleet import Machine, fleet
from tests.fixtures.gate import wait_until
from tests.fixtures.redis import RedisServer
from tests.fixtures.upstream import Upstream

OPEN = {"model": "gpt-open", "messages": [{"role": "user", "content": "Hi"}]}
HOUR = 3600.0
LEASE = 1.0
GRACE = 0.5


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Machine], str]]:
    """`east` and `west`, and a key, which unlike a token does not end when a clock steps."""
    folder, upstream = tmp_path_factory.mktemp("clock"), Upstream()

    def store(port: int) -> str:
        return f"redis://127.0.0.1:{port}?timeout=300ms"

    with (
        RedisServer(folder / "redis") as server,
        fleet(Path(folder), upstream, store, server.port, "east", "west", enforcement={"lease": "1s"}) as running,
    ):
        yield running, running[1].gate.new_key()[1]
    upstream.stop()


@pytest.fixture
def east(machines: tuple[list[Machine], str]) -> Iterator[Machine]:
    east = machines[0][0]
    assert east.gate.call(OPEN, token=machines[1]).status == 200, "the key is known there from now on"
    yield east
    east.steps_its_clock(0)
    east.link.heals(late=False)
    wait_until(lambda: east.gate.call(OPEN, token=machines[1]).status, lambda status: status == 200)


@pytest.mark.parametrize("step", [-HOUR, HOUR])
def test_a_step_of_the_clock_prolongs_no_lease(machines: tuple[list[Machine], str], east: Machine, step: float) -> None:
    key = machines[1]
    east.link.holds()
    began = time.monotonic()
    east.steps_its_clock(step)
    wait_until(lambda: east.gate.call(OPEN, token=key).reason, lambda reason: reason == "gate_policy_stale")
    assert time.monotonic() - began <= LEASE + GRACE + 1.0, "with the time that the last answer took"
    assert {east.gate.call(OPEN, token=key).reason for _ in range(10)} == {"gate_policy_stale"}


@pytest.mark.parametrize("step", [-HOUR, HOUR])
def test_an_order_holds_on_a_machine_whose_clock_stepped(machines: tuple[list[Machine], str], east: Machine, step: float) -> None:
    (_, west), key = machines
    east.steps_its_clock(step)
    west.gate.put_in_force("wd", "openai/gpt-open")
    wait_until(lambda: east.gate.call(OPEN, token=key).status, lambda status: status in {451, 503})
    assert {east.gate.call(OPEN, token=key).status for _ in range(10)} <= {451, 503}
    west.gate.lift("wd")


@pytest.mark.parametrize("step", [-HOUR, HOUR])
def test_a_machine_whose_clock_is_off_says_so_and_admits_nobody(machines: tuple[list[Machine], str], east: Machine, step: float) -> None:
    east.steps_its_clock(step)
    wait_until(lambda: east.gate.call(OPEN, token=machines[1]).status, lambda status: status == 503, 5)
    assert any("this host's clock is 3600 s" in line["message"] for line in east.gate.log)
    (west,) = [machine for machine in machines[0] if machine is not east]
    told = wait_until(
        lambda: {replica["host"].partition(":")[0]: replica for replica in west.gate.admin("GET", "/admin/v1/replicas").json["replicas"]},
        lambda told: told["east"]["stale"],
    )
    assert told["east"]["clock_offset"] == pytest.approx(step, abs=1)
    assert told["east"]["silent_for"] < 3, "it lives, whatever its clock says"
    assert (told["west"]["stale"], told["west"]["clock_offset"]) == (False, pytest.approx(0, abs=1))
    east.steps_its_clock(0)
    wait_until(lambda: east.gate.call(OPEN, token=machines[1]).status, lambda status: status == 200)
