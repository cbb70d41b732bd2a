"""How long from an order's append until every replica enforces it: idle, and with a thousand flowing streams on each (P4).

Two set-ups share the two cores with the upstream and the callers: four workers of one gate on one SQLite file, and four gates, each on a
host of its own, on one redis-server with an append-only file that is synced each second. The model is withdrawn and lifted in turn, through
each gate's admin API in turn. Measured on the machine's one clock, from the instant that the log gave the entry:

  enforced   a replica's own report of when it enforced the epoch: new requests are refused, and all live streams decided again
  refused    the first refusal of a new request that a caller of the replica has in hand; one asks every 5 ms
  severed    the last byte of the replica's last stream, which tells why and is ended by its framing, as its caller has it
  everywhere the latest of the three on the last replica
  lifted     as *enforced*, of the lift

Streams have an event a second each, in the phases of their beginnings, and belong to a hundred callers. Between two flips is a random rest,
so that no replica is met at the same point of its rounds. A stream that ends in another way, or a request that is admitted after all
replicas reported, ends the bench with nothing written.

usage: python -m bench.enforce [--rounds 50] [--streams 1000] [--replicas 4] [--only sqlite redis]
"""

import argparse
import asyncio
import contextlib
import gc
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import uvloop

from bench.figures import Figure, measured, read
from bench.machine import CORES, BenchError, progress, quantile
from bench.redisserver import redis_server
from bench.replicas import Replicas, replicas
from bench.streams.lines import EndlessUpstream
from bench.streams.severed import Probe, Severed, opened
from bench.world import ISSUER, World

STORES = ("sqlite", "redis")
_CALLERS = 100
_PACE = 1000  # ms between two events of a stream
_ASK = 0.005  # seconds between a probe's requests
_REST = 0.1  # seconds between flips, at most
_PATIENCE = 60.0
_WITHDRAWN = b"policy_withdrawn"


class Flips(msgspec.Struct):
    """What was seen, in seconds: one value for each replica and flip, but *everywhere* one for each flip."""

    enforced: list[float] = []
    refused: list[float] = []
    severed: list[float] = []
    everywhere: list[float] = []
    lifted: list[float] = []

    def figures(self, prefix: str) -> dict[str, Figure]:
        """Quantiles in ms, those of `enforced` under the shortest name."""
        found: dict[str, Figure] = {}
        for name in self.__struct_fields__:
            values = sorted(getattr(self, name))
            named = prefix if name == "enforced" else f"{prefix}{name}_"
            if values:
                found |= {f"{named}p50_ms": quantile(values, 0.5) * 1e3, f"{named}p99_ms": quantile(values, 0.99) * 1e3}
                found[f"{named}max_ms"] = values[-1] * 1e3
        return found


class Bench:
    """Replicas, and the callers that they are to refuse."""

    def __init__(self, world: World, tokens: list[str], running: Replicas) -> None:
        self._running = running
        self._chance = random.Random(1)
        self._streams = [_message(world.request_of(90, stream=True), token) for token in tokens]
        self._plain = _message(world.request, tokens[0])
        self._probes: dict[int, Probe] = {}  # by the worker that holds it
        self.cpu = 0.0  # seconds that the gates used on withdrawals

    async def flips(self, rounds: int, streams: int) -> Flips:
        """`rounds` withdrawals, each lifted again."""
        seen = Flips()
        for number in range(rounds):
            crowd = await self._crowd(streams)
            await self._connect()
            await self._rest()
            await self._withdrawn(crowd, seen)
            if not crowd:
                await self._rest()
            await self._lifted(seen)
            if crowd:
                progress(f"round {number + 1}: everywhere after {seen.everywhere[-1] * 1e3:.1f} ms")
        return seen

    async def _withdrawn(self, crowd: list[Severed], seen: Flips) -> None:
        holders = self._running.holders()
        gc.collect()
        refusing = {pid: asyncio.create_task(probe.refused(_ASK)) for pid, probe in self._probes.items()}
        used = self._running.processes.cpu().total
        done = await self._running.withdraw()
        at: float = done["appended_at"]
        reports = await self._running.enforced(done["epoch"])
        async with asyncio.timeout(_PATIENCE):
            refused = {pid: await task - at for pid, task in refusing.items()}
            await asyncio.gather(*(caller.ended for caller in crowd))
        self.cpu += self._running.processes.cpu().total - used
        for probe in self._probes.values():
            if _WITHDRAWN not in await probe.ask():
                raise BenchError("a request was admitted after all replicas enforced the withdrawal")
        severed: dict[int, float] = {}
        for caller in crowd:
            if not caller.severed_for(_WITHDRAWN):
                raise BenchError(f"a stream ended with {caller.end[-300:]!r}")
            pid = holders[caller.ports]
            severed[pid] = max(severed.get(pid, 0.0), caller.ended_at - at)
        enforced = [report.reached(done["epoch"]).at - at for report in reports]
        seen.enforced += enforced
        seen.refused += refused.values()
        seen.severed += severed.values()
        seen.everywhere.append(max(*enforced, *refused.values(), *severed.values()))

    async def _lifted(self, seen: Flips) -> None:
        done = await self._running.lift()
        reports = await self._running.enforced(done["epoch"])
        seen.lifted += [report.reached(done["epoch"]).at - done["appended_at"] for report in reports]
        for probe in self._probes.values():
            if not (await probe.ask()).startswith(b"HTTP/1.1 200"):
                raise BenchError("a request was refused after all replicas lifted the withdrawal")

    async def _crowd(self, streams: int) -> list[Severed]:
        """Streams that flow, `streams` for each replica; the kernel spreads those of one gate over its workers."""
        count = streams * self._running.count // len(self._running.ports)
        crowds = await asyncio.gather(*(opened(port, self._streams, count) for port in self._running.ports))
        return [caller for crowd in crowds for caller in crowd]

    async def _connect(self) -> None:
        """A probe for each worker that has none."""
        kept = {pid: probe for pid, probe in self._probes.items() if not probe.closed}
        loop = asyncio.get_running_loop()
        for port in (*self._running.ports,) * 8:
            if len(kept) == self._running.count:
                break
            tried = [(await loop.create_connection(lambda: Probe(self._plain), "127.0.0.1", port))[1] for _ in range(self._running.count)]
            for probe in tried:
                if not (await probe.ask()).startswith(b"HTTP/1.1 200"):
                    raise BenchError("a good request is refused")
            holders = self._running.holders()
            for probe in tried:
                if kept.setdefault(holders[probe.ports], probe) is not probe:
                    probe.transport.close()
        else:
            raise BenchError(f"only {len(kept)} of {self._running.count} workers are reached")
        self._probes = kept

    async def _rest(self) -> None:
        await asyncio.sleep(self._chance.uniform(0.0, _REST))


def _message(body: bytes, token: str) -> bytes:
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


@contextlib.contextmanager
def set_up(world: World, subjects: list[str], store: str, count: int) -> Iterator[Replicas]:
    """As many replicas on a store of that kind."""
    principals = [f"{ISSUER}|{subject}" for subject in subjects]
    if store == "sqlite":
        with replicas(world, principals, f"sqlite://{world.directory}/state.db", 1, count) as running:
            yield running
    else:
        with (
            redis_server(world.directory / "redis", CORES) as server,
            replicas(world, principals, server.url, count, 1) as running,
        ):
            yield running


def of_store(store: str, rounds: int, streams: int, count: int) -> dict[str, Figure]:
    """Idle first, then under load."""
    with tempfile.TemporaryDirectory(prefix="frontiergate-bench-") as directory:
        world = World(Path(directory))
        subjects = ["user-1", *(f"caller-{number}" for number in range(_CALLERS - 1))]
        tokens = [world.token_of(subject, ["US"], us_person=True) for subject in subjects]
        with EndlessUpstream(world, pace=_PACE) as upstream:
            upstream.wait_listening(world)
            with set_up(world, subjects, store, count) as running:
                return uvloop.run(_measured(Bench(world, tokens, running), store, rounds, streams, count))


async def _measured(bench: Bench, store: str, rounds: int, streams: int, count: int) -> dict[str, Figure]:
    gc.disable()  # thousands of connections are no garbage, and looking at them would pass for the gate's delay
    found = (await bench.flips(rounds, 0)).figures(f"{store}_idle_")
    progress(f"{store}, idle: " + _told(found, f"{store}_idle_"))
    bench.cpu, began = 0.0, time.monotonic()
    found |= (await bench.flips(rounds, streams)).figures(f"{store}_")
    found[f"{store}_cpu_us_per_stream"] = bench.cpu / (rounds * streams * count) * 1e6
    progress(f"{store}, {streams} streams each: {_told(found, f'{store}_')}; {time.monotonic() - began:.0f} s")
    return found


def _told(found: dict[str, Figure], prefix: str) -> str:
    return ", ".join(f"{name} {found[f'{prefix}{name}_ms']:.4g} ms" for name in ("p50", "p99", "max", "everywhere_p99"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.enforce", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50, help="withdrawals, each of them lifted again")
    parser.add_argument("--streams", type=int, default=1000, help="on each replica")
    parser.add_argument("--replicas", type=int, default=4)
    parser.add_argument("--only", nargs="+", choices=STORES, default=list(STORES))
    given = parser.parse_args()

    def measure() -> dict[str, Figure]:
        kept = read("enforce") if given.only != list(STORES) else {}
        for store in given.only:
            kept |= of_store(store, given.rounds, given.streams, given.replicas)
        return kept

    settings: dict[str, Figure] = {"flips": 2 * given.rounds, "streams": given.streams, "replicas": given.replicas}
    return measured("enforce", measure, settings | {"events_per_second_and_stream": 1000 / _PACE})


if __name__ == "__main__":
    sys.exit(main())
