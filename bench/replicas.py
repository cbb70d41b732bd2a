"""Replicas that share one policy: the workers of one gate on a SQLite file, or gates on a Redis, each on a host of its own.

A host of its own is a UTS namespace (unshare(1)): a replica is called after its host, as it is where there are many machines.
"""

import asyncio
import contextlib
import http.client
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.candidates.gate import OPERATOR_TOKEN, PROGRAMME, SERVING, configuration
from bench.compiled import compiled
from bench.machine import CORES, BenchError
from bench.processes import Command, Processes, free_port, wait_answering, wait_told
from bench.streams.severed import Ports
from bench.world import MODEL, World
from frontiergate.domain.vetting import Grant
from frontiergate.store.protocol import GrantIssued, ReplicaReport, Store
from frontiergate.store.registry import open_store

_PATIENCE = 30.0  # seconds
_LOOK = 0.01  # seconds between looks at what the replicas report
_TOLD = "control plane serves"
_ORDER = {"authority": "Bureau of Industry and Security", "reference": "IS-2026-015"}


class Replicas:
    """They run. `ports` are those of their gates, `count` how many replicas there are."""

    def __init__(self, ports: Sequence[int], control_ports: Sequence[int], count: int, store: Store, processes: Processes) -> None:
        self.ports = ports
        self.count = count
        self.processes = processes
        self._control_ports = control_ports
        self._store = store
        self._workers = processes.workers("frontiergate.worker")
        self._given = 0

    async def withdraw(self) -> dict[str, Any]:
        """The model, by the next gate's admin API; what it answered."""
        directive = {"id": f"wd-{self._given}", "order": _ORDER, "models": [MODEL], "withdraw": True}
        return await self._order("POST", "/admin/v1/directives", {"directive": directive, "reason": "bench"})

    async def lift(self) -> dict[str, Any]:
        """What `withdraw` ordered last."""
        return await self._order("DELETE", f"/admin/v1/directives/wd-{self._given - 1}", None)

    async def _order(self, method: str, path: str, body: object) -> dict[str, Any]:
        port = self._control_ports[self._given % len(self._control_ports)]
        self._given += method == "POST"
        return await asyncio.to_thread(_admin, port, method, path, body)

    async def enforced(self, epoch: int) -> list[ReplicaReport]:
        """What all replicas report once each enforces `epoch`. Raises BenchError where one does not."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            reports = await self._store.replicas()
            if len(reports) == self.count and all(report.epoch >= epoch for report in reports):
                return list(reports)
            if time.monotonic() > deadline:
                raise BenchError(f"epoch {epoch} is not enforced by {self.count} replicas: {reports}")
            await asyncio.sleep(_LOOK)

    def holders(self) -> dict[Ports, int]:
        """Which worker (its pid) holds which connection."""
        inodes: dict[str, int] = {}
        for pid in self._workers:
            with os.scandir(f"/proc/{pid}/fd") as entries:
                for entry in entries:
                    with contextlib.suppress(OSError):
                        inodes[os.readlink(entry.path)] = pid
        ports = set(self.ports)
        found: dict[Ports, int] = {}
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, here, there, _, _, _, _, _, _, inode, *_ = line.split()
            port, caller = (int(address.rpartition(":")[2], 16) for address in (here, there))
            holder = inodes.get(f"socket:[{inode}]")
            if port in ports and holder is not None:
                found[port, caller] = holder
        return found


def _admin(port: int, method: str, path: str, body: object) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    try:
        headers = {"authorization": f"Bearer {OPERATOR_TOKEN}", "content-type": "application/json", "if-match": "*"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    if response.status not in (200, 201):
        raise BenchError(f"{method} {path} gave {response.status} {content[:500]!r}")
    answer: dict[str, Any] = json.loads(content)
    return answer


@contextlib.contextmanager
def replicas(world: World, principals: Sequence[str], store: str, gates: int, workers: int) -> Iterator[Replicas]:
    """`gates` of so many `workers` on the store whose URL is `store`, all serving; stopped in the end."""
    (world.directory / "operator-token").write_text(OPERATOR_TOKEN)
    with asyncio.Runner() as runner:
        runner.run(_give_grants(store, principals))
    ports = [(free_port(), free_port()) for _ in range(gates)]
    commands = [_gate(world, store, number, *both, workers) for number, both in enumerate(ports)]
    log = world.directory / "gates.log"
    with Processes(commands, CORES, log) as processes:
        wait_told(processes, log, SERVING, gates * workers)
        wait_told(processes, log, _TOLD, gates)
        for port, _ in ports:
            wait_answering(processes, port, world.request, world.bearer())
        yield Replicas([port for port, _ in ports], [port for _, port in ports], gates * workers, open_store(store), processes)


def _gate(world: World, store: str, number: int, port: int, control_port: int, workers: int) -> Command:
    """A gate with a host's name, a configuration and an audit of its own."""
    host = f"gate-{number}"
    path = world.directory / f"{host}.yaml"
    own = {"store": store, "audit": {"path": f"{host}/"}}
    path.write_text(json.dumps(configuration(world, port, control_port, workers) | own, indent=1))
    unshare = ("unshare", "--uts") if os.geteuid() == 0 else ("unshare", "--uts", "--map-root-user")
    on_host = (*unshare, "sh", "-c", 'hostname "$0" && exec "$@"', host)
    gate = (sys.executable, "-m", "frontiergate.cli.main", "serve", "--config", str(path))
    return Command((*on_host, *gate), {"PYTHONPATH": str(compiled())})


async def _give_grants(url: str, principals: Sequence[str]) -> None:
    store, now = open_store(url), time.time()
    await store.open()
    for principal in principals:
        grant = Grant(
            id=f"g-{principal}", principal=principal, programme=PROGRAMME, models=(MODEL,), issued_at=now, expires_at=now + 30 * 86_400
        )
        await store.append(GrantIssued(grant), actor="bench", reason="bench")
    await store.close()
