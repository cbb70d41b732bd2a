"""A Redis that holds very many grants: memory for each, its look-up, what a fork and a restart take.

Grants are written past the policy log's script but with the commands that it would run, entry of the log included: to append each as
an operator does would take an hour. All have names of one length, so that one set of commands serves as the form for all of them.
"""

import asyncio
import random
import re
import time
from pathlib import Path

import msgspec

from bench.machine import PROXY_CORE, BenchError
from bench.redisserver import Redis, command, redis_server
from bench.scale.decisions import grant_of
from bench.sharing import crowd
from bench.sharing.costs import Cost, cost_of, redis_store
from frontiergate.store import redis_things
from frontiergate.store.protocol import Entry, GrantIssued
from frontiergate.store.redis_layout import Keys
from frontiergate.store.rows import encode

_FIRST = 10_000_000  # epochs and names of eight digits
_MARK = b"%d" % _FIRST
_CHUNK = 2_000
_QUESTIONS = 5_000  # different ones
_PATIENCE = 120.0  # seconds
_LOADED = re.compile(r"DB loaded from disk: ([\d.]+) seconds")


class Stored(msgspec.Struct, frozen=True):
    """With so many grants: bytes of memory for each, and of them in the log; the look-up; seconds of a fork, and of loading at a start."""

    grants: int
    bytes_each: float
    log_bytes_each: float
    look_up: Cost
    fork: float
    load: float

    def figures(self) -> dict[str, float]:
        name = f"grants_{self.grants}"
        return {
            f"{name}_bytes_each": self.bytes_each,
            f"{name}_log_bytes_each": self.log_bytes_each,
            f"{name}_fork_ms": self.fork * 1e3,
            f"{name}_load_s": self.load,
            **self.look_up.figures(f"{name}_look_up"),
        }


def measured(counts: tuple[int, ...], directory: Path, times: int) -> list[Stored]:
    """One server for all counts, which grow; each is saved, and a second server started on what was saved."""
    found: list[Stored] = []
    with redis_server(directory, PROXY_CORE, durable=False) as server:
        asyncio.run(_begin(server))
        empty, there = server.memory(), 0
        for count in counts:
            _fill(server, there, count)
            there = count
            each = (server.memory() - empty) / count
            look_up = asyncio.run(_look_up(server, count, times))
            fork = _save(server)
            found.append(Stored(count, each, _log_bytes(server) / count, look_up, fork, _load(directory)))
    return found


async def _begin(server: Redis) -> None:
    store = redis_store(server)
    await store.open()
    await store.close()


def _form(keys: Keys) -> bytes:
    """What the server is sent for the grant of the first name."""
    grant = grant_of(_principal(_FIRST), time.time())
    entry = Entry(epoch=_FIRST, at=time.time(), actor="operator", reason="approved", change=GrantIssued(grant))
    said = ("at", repr(entry.at), "actor", entry.actor, "reason", entry.reason, "change", encode(entry.change))
    logged = command("XADD", keys.log, f"{_FIRST}-0", "mark", "0123456789abcdef", *said)
    return logged + b"".join(command(*words) for words in redis_things.commands(keys, entry, grant))


def _fill(server: Redis, there: int, count: int) -> None:
    """Raises BenchError unless all were taken."""
    keys = Keys("frontiergate")
    form = _form(keys)
    server.send(command("CLIENT", "REPLY", "OFF"))
    for first in range(there, count, _CHUNK):
        numbers = range(_FIRST + first, _FIRST + min(first + _CHUNK, count))
        server.send(b"".join([form.replace(_MARK, b"%d" % number) for number in numbers]))
    server.send(command("CLIENT", "REPLY", "ON"))
    server.expect(1)
    taken = server.call("HLEN", keys.grants), server.call("XLEN", keys.log)
    if taken != (str(count), str(count)):
        raise BenchError(f"of {count} grants the server took {taken}")


def _log_bytes(server: Redis) -> int:
    return int(server.call("MEMORY", "USAGE", Keys("frontiergate").log, "SAMPLES", "0"))


async def _look_up(server: Redis, count: int, times: int) -> Cost:
    """Of principals drawn at random."""
    store = redis_store(server)
    await store.open()
    chance = random.Random(1)

    async def look(_: int) -> None:
        if len(await store.grants_of(_principal(_FIRST + chance.randrange(count)))) != 1:
            raise BenchError("a principal has not its one grant")

    alone = await cost_of(server, times, look)
    await store.close()
    question = await crowd.recorded(server, lambda store: store.grants_of(_principal(_FIRST)))
    questions = [question.replace(_MARK, b"%d" % (_FIRST + chance.randrange(count))) for _ in range(_QUESTIONS)]
    together = await asyncio.to_thread(crowd.busy, server, questions, max(times // 50, 1))
    return msgspec.structs.replace(alone, server=together)


def _principal(number: int) -> str:
    return f"https://idp.example|user-{number}"


def _save(server: Redis) -> float:
    """Seconds for which the fork held the server."""
    server.call("BGSAVE")
    deadline = time.monotonic() + _PATIENCE
    while server.told("persistence")["rdb_bgsave_in_progress"] != "0":
        if time.monotonic() > deadline:
            raise BenchError("the server does not end saving")
        time.sleep(0.05)
    return int(server.told("stats")["latest_fork_usec"]) / 1e6


def _load(directory: Path) -> float:
    """Seconds in which a server reads what was saved."""
    with redis_server(directory, PROXY_CORE, durable=False) as server:
        found = _LOADED.search((directory / f"redis-{server.port}.log").read_text())
        if found is None:
            raise BenchError("the server does not say how long it loaded")
        return float(found[1])
