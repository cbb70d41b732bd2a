"""Three gates on three machines share one Redis: the network, the store and processes fail in turn (P4, P5; BYPASSES 63-65).

`east`, `west` and `north` reach the store each over a network of its own. What must hold: whoever cannot confirm the log's head
forwards nothing once its lease is over, and the others go on; what was acknowledged is in force wherever anybody is admitted; when the
fault is over, everything is as before without anybody's help.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fixtures.changes import Changes
from tests.fixtures.fleet import Machine, answers, fleet, states
from tests.fixtures.gate import wait_until
from tests.fixtures.partition import Partition
from tests.fixtures.redis import RedisServer
from tests.fixtures.upstream import Answer, Received, Upstream, like_a_model

OPEN = {"model": "gpt-open", "messages": [{"role": "user", "content": "Hi"}]}
SERVED, STALE, WITHDRAWN = (200, None), (503, "gate_policy_stale"), (451, "policy_withdrawn")
LEASE = 1.0
GRACE = 0.5  # seconds: up to 200 ms between two looks at the store, and what a busy machine adds


class Site:
    """All that the tests of this module share."""

    def __init__(self, server: RedisServer, upstream: Upstream, machines: list[Machine]) -> None:
        self.server = server
        self.upstream = upstream
        self.machines = machines
        self.east, self.west, self.north = machines
        self.arrivals: list[float] = []  # when requests came to the upstream, by the monotonic clock
        upstream.answer = self._note

    def _note(self, upstream: Upstream, request: Received) -> Answer:
        self.arrivals.append(time.monotonic())
        return like_a_model(upstream, request)

    def enforced(self, epoch: int) -> None:
        """Returns once every replica enforces it."""
        report = self.west.gate.wait_enforced(epoch)
        assert {replica["name"] for replica in report["replicas"]} == {machine.replica for machine in self.machines}

    def serves(self, *machines: Machine) -> None:
        """Returns once these admit again."""
        for machine in machines or self.machines:
            wait_until(lambda machine=machine: answers(machine, body=OPEN), lambda seen: seen == {SERVED}, 20)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder, upstream = tmp_path_factory.mktemp("site"), Upstream()
    config = {"enforcement": {"lease": f"{LEASE:g}s"}}

    def store(port: int) -> str:
        return f"redis://127.0.0.1:{port}?timeout=300ms"

    with (
        RedisServer(folder / "redis") as server,
        fleet(folder, upstream, store, server.port, "east", "west", "north", **config) as machines,
    ):
        yield Site(server, upstream, machines)
    upstream.stop()


@pytest.fixture
def site(running: Site) -> Iterator[Site]:
    """In good order before each test and after it."""
    running.serves()
    yield running
    for machine in running.machines:
        machine.link.heals(late=False)
    running.upstream.going.set()


FAULTS: dict[str, Callable[[Partition], None]] = {
    "nothing passes": Partition.holds,
    "connections are refused": Partition.cuts,
    "5 s late": lambda link: link.delays(5.0),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_one_that_is_cut_off_forwards_nothing_after_its_lease_and_catches_up_when_it_is_back(
    site: Site, fault: Callable[[Partition], None]
) -> None:
    east, west, north = site.machines
    with east.gate.stream(OPEN | {"stream": True}) as flow:
        flow.event()
        began = time.monotonic()
        fault(east.link)
        refused = wait_until(lambda: east.gate.call(OPEN), lambda reply: reply.status != 200)
        assert (refused.status, refused.reason) == STALE
        assert int(refused.headers["retry-after"]) > 0
        assert max(site.arrivals) - began <= LEASE + GRACE
        forwarded = len(site.arrivals)
        assert answers(east, body=OPEN, times=20) == {STALE}
        assert len(site.arrivals) == forwarded, "nothing is forwarded after the lease"
        assert east.gate.admin("GET", "/readyz").status == 503
        assert answers(west, north, body=OPEN) == {SERVED}

        epoch = west.gate.put_in_force("wd", "openai/gpt-open")["epoch"]
        wanted = {east.replica: "silent", west.replica: "enforcing", north.replica: "enforcing"}
        wait_until(lambda: states(west.gate, epoch), lambda seen: seen == wanted)
        assert answers(west, north, body=OPEN) == {WITHDRAWN}
        assert answers(east, body=OPEN) == {STALE}

        east.link.heals()
        site.enforced(epoch)
        assert answers(*site.machines, body=OPEN) == {WITHDRAWN}
        assert b"policy_withdrawn" in flow.rest()[-1], "what was admitted before ends with the order"
    site.enforced(north.gate.lift("wd")["epoch"])
    assert answers(*site.machines, body=OPEN) == {SERVED}


def test_who_waits_for_all_is_told_who_is_cut_off(site: Site) -> None:
    site.east.link.holds()
    wait_until(lambda: answers(site.east, body=OPEN), lambda seen: seen == {STALE})
    done = site.west.gate.cli("withdraw", "openai/gpt-open", "--id", "wd", "--authority", "BIS", "--reference", "WD-1", "--wait", "1")
    assert done.returncode == 3, done
    assert "2 of 3 enforce epoch" in done.stdout
    assert f"{site.east.replica} is" in done.stderr
    site.east.link.heals()
    lifted = site.west.gate.cli("lift", "wd", "--wait", "20")
    assert lifted.returncode == 0, lifted
    assert "all 3 of 3 enforce epoch" in lifted.stdout


def test_an_operator_at_one_that_is_cut_off_is_told_that_nothing_was_changed(site: Site) -> None:
    site.east.link.holds()
    body = {"directive": {"id": "lost", "order": {"authority": "BIS", "reference": "L"}, "models": ["openai/gpt-open"], "withdraw": True}}
    reply = site.east.gate.admin("POST", "/admin/v1/directives", body | {"reason": "a test"})
    assert reply.status == 503
    assert "nothing was changed" in reply.json["detail"]
    site.east.link.heals()
    site.serves()
    assert site.west.gate.admin("GET", "/admin/v1/directives/lost").status == 404


@pytest.mark.parametrize("kills", [3, pytest.param(100, marks=pytest.mark.soak)])
def test_a_store_that_is_killed_in_mid_change_loses_nothing_acknowledged(site: Site, kills: int) -> None:
    with Changes(site.west.gate) as changes:
        for turn in range(kills):
            changes.wait_for_more(4)
            site.server.kill()
            if turn == 2:  # away for longer than the lease
                wait_until(lambda: answers(*site.machines, body=OPEN), lambda seen: seen == {STALE})
            site.server.start()
        changes.wait_for_more(4)
    changes.check()
    site.enforced(changes.acknowledged[-1].epoch)
    assert answers(*site.machines, body=OPEN) == {SERVED}


def test_a_store_that_is_away_for_less_than_the_lease_is_missed_by_nobody(site: Site) -> None:
    site.server.kill()
    seen = answers(*site.machines, body=OPEN, times=2)
    site.server.start()
    assert seen == {SERVED}
    site.serves()


@pytest.mark.parametrize("fault", ["hangs", "answers after 5 s"])
def test_a_store_that_is_too_slow_admits_nobody_until_it_is_well(site: Site, fault: str) -> None:
    epoch = site.west.gate.put_in_force("us-only", "openai/gpt-open", require={"us_person": True}, otherwise="refuse")["epoch"]
    site.enforced(epoch)
    foreign = site.east.gate.token(sub="bruno", us_person=False, nationalities=["FR"])
    if fault == "hangs":
        site.server.pause()
    else:
        for machine in site.machines:
            machine.link.delays(5.0)
    try:
        wait_until(lambda: answers(*site.machines, body=OPEN), lambda seen: seen == {STALE})
        assert site.north.gate.call(OPEN, token=foreign).reason == "gate_policy_stale"
        forwarded = len(site.arrivals)
        assert answers(*site.machines, body=OPEN) == {STALE}
        assert len(site.arrivals) == forwarded
    finally:
        site.server.resume()
        for machine in site.machines:
            machine.link.heals()
    site.serves()
    assert site.north.gate.call(OPEN, token=foreign).reason == "policy_us_person"
    site.enforced(site.west.gate.lift("us-only")["epoch"])


def test_a_store_that_is_slow_and_answers_in_time_delays_orders_and_nothing_else(site: Site) -> None:
    for machine in site.machines:
        machine.link.delays(0.05)
    site.enforced(site.east.gate.put_in_force("wd", "openai/gpt-open")["epoch"])
    assert answers(*site.machines, body=OPEN) == {WITHDRAWN}
    site.enforced(site.east.gate.lift("wd")["epoch"])
    assert answers(*site.machines, body=OPEN) == {SERVED}


def _control(machine: Machine) -> int:
    process = machine.gate.process
    assert process is not None
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (control,) = [int(pid) for pid in children if b"control_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return control


def _logged(machine: Machine, message: str) -> int:
    return len([line for line in machine.gate.log if line["message"] == message])


@pytest.mark.parametrize("which", ["worker", "control process", "supervisor and all"])
def test_a_process_that_is_killed_loses_nothing_and_holds_up_no_other_machine(site: Site, which: str) -> None:
    east, west, north = site.machines
    epoch = east.gate.put_in_force("wd", "openai/gpt-open")["epoch"]
    if which == "worker":
        before = _logged(east, "serving")
        os.kill(east.gate.worker_pids()[0], signal.SIGKILL)
        assert answers(west, north, body=OPEN) <= {SERVED, WITHDRAWN}
        east.gate.wait_log(lambda _: _logged(east, "serving") > before)
    elif which == "control process":
        messages = ("the store is open", "control plane serves")  # in whatever order its successor comes to them
        before = [_logged(east, message) for message in messages]
        os.kill(_control(east), signal.SIGKILL)
        east.gate.wait_log(lambda _: all(_logged(east, message) > count for message, count in zip(messages, before, strict=True)))
    else:
        east.gate.kill()
        east.gate.start()
    site.enforced(epoch)
    assert answers(*site.machines, body=OPEN) == {WITHDRAWN}
    site.enforced(west.gate.lift("wd")["epoch"])
    site.serves()


def test_a_gate_that_starts_while_the_store_is_away_enforces_what_it_saw_and_serves_when_it_is_back(site: Site) -> None:
    site.enforced(site.west.gate.put_in_force("wd", "openai/gpt-open")["epoch"])
    east = site.east
    east.gate.kill()
    east.link.cuts()
    east.gate.start(wait=False)
    east.gate.wait_listening()
    assert answers(east, body=OPEN) == {STALE}
    east.gate.wait_log(lambda lines: any("seen before, refusing until it is confirmed" in line["message"] for line in lines))
    east.link.heals()
    east.gate.wait_serving()
    site.enforced(site.west.gate.lift("wd")["epoch"])
    site.serves()


def test_a_store_that_was_flushed_is_believed_by_nobody_restarted_or_not_until_an_operator_accepts_it(site: Site) -> None:
    """Last in this module: the log begins anew."""
    site.enforced(site.west.gate.put_in_force("wd", "openai/gpt-open")["epoch"])
    site.server.call("FLUSHALL")
    wait_until(lambda: answers(*site.machines, body=OPEN), lambda seen: seen == {STALE})
    for machine in site.machines:
        machine.gate.wait_log(lambda lines: any("the store went back" in line["message"] for line in lines))
    site.east.gate.kill()
    site.east.gate.start()
    assert answers(*site.machines, body=OPEN) == {STALE}
    wait_until(lambda: site.west.gate.admin("GET", "/admin/v1/store").json["refused_by"], lambda refusals: len(refusals) == 3)
    done = site.west.gate.cli("store", "accept", "--reason", "flushed by mistake", "--wait", "20")
    assert done.returncode == 0, done
    assert "all 3 of 3 enforce epoch 1 after" in done.stdout
    site.serves()
