"""What do callers see of a fault, and how long until everything is as before? (P4, P5)

    python -m bench.faults [--rounds 3]

Three gates, each with a host name and a network to one Redis of its own, with the default lease and timeout. A caller calls each of them
all the time, on a new connection each time, and an operator changes something all the time; then something fails. Told is the longest
of all rounds: of a caller's refusals, of the time in which no change was acknowledged, and of the time from the fault's end until all
are served and changes are acknowledged. Figures: docs/figures/faults.json; the table of docs/reliability.md.
"""

import argparse
import contextlib
import http.client
import itertools
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.figures import Figure, description, read, write
from bench.machine import ROOT, BenchError, progress
from bench.report import markdown
from tests.fixtures.changes import Changes
from tests.fixtures.fleet import Machine, fleet
from tests.fixtures.redis import RedisServer, sentinels
from tests.fixtures.upstream import Upstream

PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- generated: faults -->", "<!-- end: faults -->"
OPEN = {"model": "gpt-open", "messages": [{"role": "user", "content": "Hi"}]}
LEASE = 5.0  # seconds; the default
PACE = 0.02  # seconds between two calls
NAMES = ("east", "west", "north")


class Seen(NamedTuple):
    """What a caller got, and when."""

    at: float
    what: str  # "200", the reason of a refusal, or "no connection"


class Caller:
    """Calls one machine again and again."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.seen: list[Seen] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        token = self.machine.gate.token()
        while not self._stop.wait(PACE):
            try:
                reply = self.machine.gate.call(OPEN, token=token)
                what = "200" if reply.status == 200 else str(reply.reason)
            except (OSError, http.client.HTTPException):
                what = "no connection"
            self.seen.append(Seen(time.monotonic(), what))

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)


class Site(NamedTuple):
    """The machines and what their store is made of."""

    machines: list[Machine]
    data: list[RedisServer]
    watching: list[RedisServer]


class Fault(NamedTuple):
    """One way to fail: done, lasting, undone. `others` are the machines that must not notice."""

    title: str
    begin: Callable[[Site], None]
    lasts: float
    end: Callable[[Site], None]
    others: Sequence[str] = ()


def nothing(_: Site) -> None:
    """It ends by itself."""


def kill_process(kind: str) -> Callable[[Site], None]:
    def kill(site: Site) -> None:
        process = site.machines[0].gate.process
        assert process is not None
        for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            if kind.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(int(pid), signal.SIGKILL)

    return kill


def delay_all(site: Site) -> None:
    for machine in site.machines:
        machine.link.delays(5.0)


def heal_all(site: Site) -> None:
    for machine in site.machines:
        machine.link.heals(late=False)


def master(site: Site) -> RedisServer:
    port = int(site.watching[0].call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "gate")[1])
    return next(server for server in site.data if server.port == port)


def bring_back(site: Site) -> None:
    """The dead server, as a replica of whoever is the master."""
    for server in site.data:
        if server.process is not None and server.process.poll() is not None:
            server._settings["replicaof"] = f"127.0.0.1 {master(site).port}"
            server.start()


FAULTS = {
    "worker_killed": Fault("a worker is killed (-9)", kill_process("frontiergate.worker"), 0, nothing, NAMES[1:]),
    "control_killed": Fault("a control process is killed (-9)", kill_process("control_worker"), 0, nothing, NAMES),
    "gate_killed": Fault(
        "a gate is killed (-9), every process, and started again",
        lambda site: site.machines[0].gate.kill(),
        0,
        lambda site: site.machines[0].gate.start(wait=False) and None,
        NAMES[1:],
    ),
    "store_killed_2s": Fault(
        "the store is killed (-9), for 2 s", lambda site: site.data[0].kill(), 2, lambda site: site.data[0].start() and None, NAMES
    ),
    "store_killed_10s": Fault(
        "the store is killed (-9), for 10 s", lambda site: site.data[0].kill(), 10, lambda site: site.data[0].start() and None
    ),
    "store_hangs_10s": Fault("the store hangs, for 10 s", lambda site: site.data[0].pause(), 10, lambda site: site.data[0].resume()),
    "store_slow_10s": Fault("the store answers 5 s late, for 10 s", delay_all, 10, heal_all),
    "partition_10s": Fault(
        "one machine is cut off from the store, for 10 s",
        lambda site: site.machines[0].link.holds(),
        10,
        lambda site: site.machines[0].link.heals(),
        NAMES[1:],
    ),
}
FAILOVER = Fault("the master is killed (-9); Sentinels replace it after 5 s", lambda site: master(site).kill(), 0, nothing)


@contextlib.contextmanager
def alone(folder: Path, upstream: Upstream) -> Iterator[Site]:
    """Three gates on one server."""
    with (
        RedisServer(folder / "redis") as server,
        fleet(folder, upstream, lambda port: f"redis://127.0.0.1:{port}", server.port, *NAMES) as machines,
    ):
        yield Site(machines, [server], [])


@contextlib.contextmanager
def watched(folder: Path, upstream: Upstream) -> Iterator[Site]:
    """Three gates on a master with two replicas and three Sentinels, set as docs/how-to/share-a-store.md recommends."""
    with sentinels(folder / "watched", down_after=5000) as (data, watching):
        url = f"redis+sentinel://{','.join(f'127.0.0.1:{sentinel.port}' for sentinel in watching)}/gate?wait=1"
        with fleet(folder, upstream, lambda _: url, data[0].port, *(f"{name}-2" for name in NAMES)) as machines:
            yield Site(machines, data, watching)


def suffer(site: Site, fault: Fault) -> dict[str, float]:
    """Seconds; raises BenchError where something acknowledged is gone, or somebody noticed who must not."""
    callers = [Caller(machine) for machine in site.machines]
    try:
        with Changes(site.machines[1].gate) as changes:
            changes.wait_for_more(5)
            began = time.monotonic()
            fault.begin(site)
            time.sleep(fault.lasts)
            fault.end(site)
            ended = time.monotonic() if fault.lasts else began
            changes.wait_for_more(5, 60)
            _wait_well(callers, changes)
    finally:
        for caller in callers:
            caller.stop()
    changes.check()
    refused = {caller.machine.name: _longest(caller.seen, began) for caller in callers}
    noticed = {name: seconds for name, seconds in refused.items() if name in fault.others and seconds}
    if noticed:
        raise BenchError(f"{fault.title}: {noticed} noticed")
    acknowledged = [change.at for change in changes.acknowledged]
    bad = [seen.at for caller in callers for seen in caller.seen if seen.at > began and seen.what != "200"]
    served = max(bad, default=ended)
    again = min((at for at in acknowledged if at > ended), default=ended)
    return {
        "until_refused_s": min(bad, default=began) - began,
        "refused_s": max(refused.values()),
        "no_change_s": max(after - before for before, after in itertools.pairwise(acknowledged)),
        "until_normal_s": max(0.0, served - ended, again - ended),
    }


def _wait_well(callers: list[Caller], changes: Changes) -> None:
    """Until everybody is served again and every replica enforces what was acknowledged."""
    gate = callers[0].machine.gate
    until = time.monotonic() + 60
    while True:
        counts = [len(caller.seen) for caller in callers]
        with contextlib.suppress(OSError, http.client.HTTPException):
            epoch = changes.acknowledged[-1].epoch
            report = gate.admin("GET", f"/admin/v1/replicas?epoch={epoch}&wait=1")
            if report.status == 200 and report.json["complete"] and report.json["total"] == len(callers):
                latest = [caller.seen[count:] for caller, count in zip(callers, counts, strict=True)]
                if all(seen and all(one.what == "200" for one in seen) for seen in latest):
                    return
        if time.monotonic() > until:
            raise BenchError("it does not become normal")


def _longest(seen: Sequence[Seen], began: float) -> float:
    """The longest time between two answers of 200 with something else between them."""
    longest, good, bad = 0.0, began, False
    for one in seen:
        if one.what != "200":
            bad = bad or one.at > began
        else:
            if bad:
                longest = max(longest, one.at - good)
            good, bad = one.at, False
    return longest


def measure(rounds: int) -> Iterator[tuple[str, Mapping[str, float]]]:
    """Each fault with its figures."""
    upstream = Upstream()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        with alone(Path(folder), upstream) as site:
            for name, fault in FAULTS.items():
                yield name, _worst(site, fault, rounds, nothing)
        with watched(Path(folder), upstream) as site:
            yield "failover", _worst(site, FAILOVER, rounds, bring_back)
    upstream.stop()


def _worst(site: Site, fault: Fault, rounds: int, repair: Callable[[Site], None]) -> dict[str, float]:
    progress(fault.title)
    results = []
    for _ in range(rounds):
        results.append(suffer(site, fault))
        repair(site)
    return {key: (min if key == "until_refused_s" else max)(result[key] for result in results) for key in results[0]}


def page(figures: Mapping[str, Figure]) -> None:
    """Write the table of docs/reliability.md."""
    rows = []
    for name, fault in {**FAULTS, "failover": FAILOVER}.items():
        cells = [f"{float(figures[f'{name}_{key}']):.1f} s" for key in ("refused_s", "no_change_s", "until_normal_s")]
        rows.append((fault.title, *cells))
    table = markdown(("fault", "a caller is refused for", "no change is acknowledged for", "normal again, after the fault's end"), rows)
    told = f"{figures['machine']}; {figures['date']}; {figures['rounds']} rounds; load before {figures['load_average_before']}"
    text = PAGE.read_text("utf-8")
    head, _, rest = text.partition(BEGIN)
    tail = rest.partition(END)[2]
    PAGE.write_text(f"{head}{BEGIN}\n{table}\n\nMeasured on {told}.\n{END}{tail}", "utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.faults", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--page-only", action="store_true", help="write the table from the figures that there are")
    given = parser.parse_args()
    if not given.page_only:
        about = description()
        found: dict[str, float] = {}
        try:
            for name, figures in measure(given.rounds):
                found |= {f"{name}_{key}": value for key, value in figures.items()}
        except (BenchError, AssertionError) as error:
            print(f"faults: {error}", file=sys.stderr)
            return 1
        write("faults", {**about, "rounds": given.rounds, "lease_s": LEASE, **found})
    page(read("faults"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
