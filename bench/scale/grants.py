"""The look-up of a caller's grants in SQLite, over the number of grants stored: the one thing that a cold decision waits for.

Principals are drawn at random. The file has just been written, so it is in the page cache, as a store in use is.
"""

import asyncio
import random
import time
from pathlib import Path

from bench.candidates.gate import give_grants
from bench.machine import BenchError, median, quantile
from bench.scale.apart import resident
from bench.world import ISSUER
from frontiergate.store.sqlite import SqliteStore

_LOOK_UPS = 1000


def point(count: int, directory: str) -> dict[str, float]:
    """One point: µs until the grants are there (p50, p99), µs of the loop's own thread, KiB that a worker grows by, MiB of the file."""
    path = Path(directory) / f"grants-{count}.db"
    give_grants(path, (f"{ISSUER}|user-{number}" for number in range(count)))
    found = asyncio.run(_point(count, path))
    return {**found, "file_mib": path.stat().st_size / 2**20}


async def _point(count: int, path: Path) -> dict[str, float]:
    store = SqliteStore(str(path))
    await store.open()
    chance = random.Random(1)
    principals = [f"{ISSUER}|user-{chance.randrange(count)}" for _ in range(_LOOK_UPS)]
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
