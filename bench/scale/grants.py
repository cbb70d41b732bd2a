"""The look-up of a caller's grants in SQLite, over the number of grants stored: the one thing that a cold decision waits for.

Principals are drawn at random. The file has just been written, so it is in the page cache, as a store in use is.
"""

import asyncio
import random
import sqlite3
import time
from pathlib import Path

from bench.machine import BenchError, median, quantile
from bench.scale.apart import resident
from bench.world import MODEL
from frontiergate.domain.vetting import Grant
from frontiergate.store.rows import encode
from frontiergate.store.sqlite import SqliteStore

_LOOK_UPS = 1000
_CHUNK = 10_000


def point(count: int, directory: str) -> dict[str, float]:
    """One point: µs until the grants are there (p50, p99), µs of the loop's own thread, KiB that a worker grows by, MiB of the file."""
    path = Path(directory) / f"grants-{count}.db"
    found = asyncio.run(_point(count, path))
    return {**found, "file_mib": path.stat().st_size / 2**20}


async def _point(count: int, path: Path) -> dict[str, float]:
    store = SqliteStore(str(path))
    await store.open()
    _fill(path, count)
    chance = random.Random(1)
    principals = [f"https://idp.example|user-{chance.randrange(count)}" for _ in range(_LOOK_UPS)]
    await store.grants_of(principals[0])
    before = resident()
    waited: list[float] = []
    held: list[float] = []
    for principal in principals:
        began, thread = time.perf_counter(), time.thread_time()
        grants = await store.grants_of(principal)
        held.append(time.thread_time() - thread)
        waited.append(time.perf_counter() - began)
        if len(grants) != 1:
            raise BenchError(f"{principal} has {len(grants)} grants")
    grown = resident() - before
    await store.close()
    waited.sort()
    look_up = {"lookup_p50_us": quantile(waited, 0.5) * 1e6, "lookup_p99_us": quantile(waited, 0.99) * 1e6}
    return {**look_up, "loop_us": median(held) * 1e6, "worker_kib": grown}


def _fill(path: Path, count: int) -> None:
    """A grant for each of `count` principals, past the log: a million appends, each synced, would take hours."""
    connection = sqlite3.connect(path, isolation_level=None)
    now = time.time()
    for first in range(0, count, _CHUNK):
        grants = [
            Grant(
                id=f"g-{number:07}",
                principal=f"https://idp.example|user-{number}",
                programme="caisi",
                models=(MODEL,),
                issued_at=now,
                expires_at=now + 1e6,
            )
            for number in range(first, min(first + _CHUNK, count))
        ]
        connection.execute("BEGIN")
        rows = [(grant.id, grant.principal, grant.state, encode(grant)) for grant in grants]
        connection.executemany("INSERT INTO grants VALUES (?, ?, ?, ?)", rows)
        connection.execute("COMMIT")
    connection.close()
