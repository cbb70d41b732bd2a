"""A worker's data plane without its sockets: the real Worker, driven with the bytes that a caller and an upstream would send.

What is left out is the kernel and the event loop; what is left in is every line of ours between two reads.
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench.candidates.gate import write
from bench.machine import BenchError
from bench.world import World
from frontiergate.config.load import read_snapshot
from frontiergate.gate.connections import Connections
from frontiergate.gate.gatekeeper import Gatekeeper
from frontiergate.gate.listener import ClientConnection
from frontiergate.gate.upstream import UpstreamConnection
from frontiergate.worker import Worker


class Wire(asyncio.Transport):
    """A transport that keeps the last thing written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.wrote = asyncio.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written = bytes(data)
        self.wrote.set()

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """Nothing comes unasked."""

    def resume_reading(self) -> None:
        """Nothing waits."""

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("127.0.0.1", 1) if name == "peername" else default

    def abort(self) -> None:
        raise BenchError("the gate aborted a connection")

    def close(self) -> None:
        raise BenchError("the gate closed a connection")


class Inside:
    """One caller's connection and one upstream's. `exchange` runs one request through all of it."""

    def __init__(self, world: World, worker: Worker) -> None:
        self.world = world
        self.worker = worker
        self.keeper: Gatekeeper = worker._keeper
        self.request = _message(
            "POST /v1/chat/completions HTTP/1.1", world.request, "host: 127.0.0.1:8080", f"authorization: Bearer {world.token}"
        )
        self.answer = _message(
            "HTTP/1.1 200 OK", world.answer, "server: nginx/1.22.1", "date: Mon, 23 Nov 2026 15:42:51 GMT", "connection: keep-alive"
        )
        self.to_caller, self.to_upstream = Wire(), Wire()
        self.caller = ClientConnection(Connections(self.keeper))
        self.caller.connection_made(self.to_caller)
        upstream = self.keeper.ground.upstreams["u"]
        self.upstream = UpstreamConnection(upstream)
        self.upstream.connection_made(self.to_upstream)
        upstream.put_back(self.upstream)

    def exchange(self) -> None:
        """One request and its answer."""
        self.caller.data_received(self.request)
        self.upstream.data_received(self.answer)

    def forget_records(self) -> None:
        """Drop what waits for the audit's thread, whose work is measured apart."""
        self.worker._audit._pending.clear()

    async def warm(self) -> None:
        """The first request waits for the token's verification and for the grant. Raises BenchError where it is not admitted."""
        self.caller.data_received(self.request)
        async with asyncio.timeout(10):
            await self.to_upstream.wrote.wait()
        self.upstream.data_received(self.answer)
        if not self.to_caller.written.startswith(b"HTTP/1.1 200"):
            raise BenchError(f"not admitted: {self.to_caller.written[:200]!r}")
        for _ in range(1000):
            self.exchange()


def _message(start: str, body: bytes, *fields: str) -> bytes:
    lines = (start, *fields, "content-type: application/json", f"content-length: {len(body)}")
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body


@asynccontextmanager
async def inside() -> AsyncIterator[Inside]:
    """A worker with the benches' configuration, warm, whose lease does not end while the loop stands still."""
    with tempfile.TemporaryDirectory(prefix="frontiergate-bench-") as directory:
        world = World(Path(directory))
        path, _ = await asyncio.to_thread(write, world, 0)  # it runs a loop of its own
        worker = Worker(read_snapshot(str(path), str(path)), os.environ, 0)
        await worker._callers.start()
        await worker._feed.start()
        worker._feed.lease.until = float("inf")
        driven = Inside(world, worker)
        await driven.warm()
        yield driven
        await worker._feed.stop()
        await worker._callers.stop()
        await worker._store.close()
        worker._audit.close()
