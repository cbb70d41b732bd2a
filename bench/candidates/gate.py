"""Frontier Gate with everything on: the configuration that is measured, and nothing in it switched off to look better."""

import asyncio
import json
import sqlite3
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bench.candidates.candidate import GATED, Candidate, Setup
from bench.compiled import compiled
from bench.machine import BenchError
from bench.processes import Command, free_port
from bench.world import AUDIENCE, ISSUER, MODEL, PRINCIPAL, World
from frontiergate.domain.vetting import Grant
from frontiergate.store.registry import open_store
from frontiergate.store.rows import encode

OTHER = "openai/other"
PROGRAMME = "caisi"
OPERATOR_TOKEN = "operator-token-for-benches"
SERVING = '"message": "serving"'  # what each worker's log says once it has its policy
_FLUSH = 0.6  # seconds; workers write their counters four times a second
_START = 30.0
_ORDER = {"authority": "Bureau of Industry and Security", "reference": "IS-2026-014"}
_REQUIREMENTS: tuple[dict[str, Any], ...] = (
    {"us_person": True},
    {"nationality": {"all_in": ["five_eyes"]}},
    {"location": {"none_in": ["bis_d5"]}},
    {"never": True},  # only a grant lets anybody through
    {"all_of": [{"us_person": True}, {"location": {"none_in": ["bis_d1"]}}]},
)


def directives(count: int, applying: int = 5) -> list[dict[str, Any]]:
    """`count` directives, the first `applying` of them on the model asked for; every fifth demands a vetting approval."""
    return [
        {
            "id": f"d-{number}",
            "order": _ORDER,
            "models": [MODEL if number < applying else OTHER],
            "require": _REQUIREMENTS[number % len(_REQUIREMENTS)],
            "otherwise": {"vet": PROGRAMME} if number % len(_REQUIREMENTS) == 3 else "refuse",
        }
        for number in range(count)
    ]


def configuration(world: World, port: int, control_port: int, workers: int = 1) -> dict[str, Any]:
    """`frontiergate.yaml`: tokens, GeoIP, 50 directives of which 5 apply, a grant that is needed, audit and metrics."""
    claims = {"nationality": "nationalities", "us_person": "us_person"}
    return {
        "listen": {"data": {"host": "127.0.0.1", "port": port}, "control": {"host": "127.0.0.1", "port": control_port}},
        "workers": workers,
        "geoip": {"country": "country.mmdb"},
        "identity": {"issuers": [{"issuer": ISSUER, "jwks": "jwks.json", "audiences": [AUDIENCE], "claims": claims}]},
        # Default bounds but these: thousands of idle streams hold an upstream connection each.
        "upstreams": {"u": {"url": f"http://127.0.0.1:{world.port}", "max_connections": 20_000}},
        "models": [{"id": model, "dialects": ["openai"], "upstream": "u"} for model in (MODEL, OTHER)],
        "programmes": {PROGRAMME: {"title": "CAISI user review"}},
        "directives": directives(50),
        "store": "sqlite:state.db",
        "audit": {"path": "audit/"},
        "control": {"operators": [{"name": "bench", "roles": ["admin"], "token_file": "operator-token"}]},
        "limits": {"drain": "1s"},
    }


def write(world: World, port: int, workers: int = 1) -> tuple[Path, int]:
    """The configuration file and the control plane's port; the grant that callers need is in the store."""
    control_port = free_port()
    (world.directory / "operator-token").write_text(OPERATOR_TOKEN)
    path = world.directory / "frontiergate.yaml"
    path.write_text(json.dumps(configuration(world, port, control_port, workers), indent=1))
    give_grants(world.directory / "state.db", [PRINCIPAL])
    return path, control_port


def give_grants(path: Path, principals: Iterable[str]) -> None:
    """A store at `path` in which each principal has the grant that it needs; what is there stays.

    Past the policy log: appending a million grants, each synced, would take hours.
    """
    asyncio.run(_create(path))
    now = time.time()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN")
    for principal in principals:
        grant = Grant(
            id=f"g-{principal}", principal=principal, programme=PROGRAMME, models=(MODEL,), issued_at=now, expires_at=now + 30 * 86_400
        )
        connection.execute("INSERT OR IGNORE INTO grants VALUES (?, ?, ?, ?)", (grant.id, principal, grant.state, encode(grant)))
    connection.execute("COMMIT")
    connection.close()


async def _create(path: Path) -> None:
    store = open_store(f"sqlite://{path}")
    await store.open()
    await store.close()


def _prepare(workers: int, interpreted: bool) -> Callable[[World, int], Setup]:
    def prepare(world: World, port: int) -> Setup:
        path, control_port = write(world, port, workers)
        environment = {} if interpreted else {"PYTHONPATH": str(compiled())}
        command = Command((sys.executable, "-m", "frontiergate.cli.main", "serve", "--config", str(path)), environment)
        return Setup((command,), world.bearer(), control_port, (SERVING, workers))

    return prepare


def gate(workers: int = 1) -> Candidate:
    """The gate as it is shipped, with so many data workers."""
    return Candidate("gate", "Frontier Gate, everything on", _prepare(workers, interpreted=False), GATED)


INTERPRETED = Candidate("gate_interpreted", "… the same, nothing compiled", _prepare(1, interpreted=True), GATED)


class Admitted:
    """Counts what the gate itself says it admitted, so that a 200 is known to be a 200 through the checks."""

    def __init__(self, control_port: int) -> None:
        self._url = f"http://127.0.0.1:{control_port}/metrics"
        self._before = self._now()

    def check(self, requests: int, under_way: int) -> None:
        """Raises BenchError unless the `requests` answered were admitted one by one, and every one of them is in the audit."""
        admitted = self._now() - self._before
        if not requests <= admitted <= requests + under_way:
            raise BenchError(f"{requests} answers, but the gate admitted {admitted:g}")
        if self._sum("frontiergate_audit_dropped_total"):
            raise BenchError("audit records were dropped")

    def _now(self) -> float:
        time.sleep(_FLUSH)
        return self._sum("frontiergate_requests_total", 'verdict="forward"')

    def _sum(self, name: str, label: str = "") -> float:
        lines = self._metrics().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name) and label in line)

    def _metrics(self) -> str:
        deadline = time.monotonic() + _START
        while True:
            try:
                with urllib.request.urlopen(self._url, timeout=20) as response:
                    text: str = response.read().decode()
                    return text
            except urllib.error.URLError:  # the control process starts after the workers
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
