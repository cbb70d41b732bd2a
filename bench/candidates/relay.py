"""The least that a proxy in Python can do: bytes from one socket to another, nothing read, in the variants that were tried for the gate.

Run as `python -m bench.candidates.relay PORT UPSTREAM_PORT VARIANT`. One upstream connection for each of a client.
"""

import asyncio
import sys
from typing import cast

import uvloop

from bench.candidates.candidate import Candidate, Setup
from bench.processes import Command
from bench.world import World

_SIZE = 1 << 16


class Side(asyncio.Protocol):
    """One side of a relay; what it reads goes to `other`."""

    def __init__(self, variant: str) -> None:
        self.variant = variant
        self.transport: asyncio.Transport
        self.other: Side
        self.waiting: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if not hasattr(self, "other"):
            self.waiting.append(data)
        elif self.variant in {"two_writes", "writelines"}:
            head, _, body = data.partition(b"\r\n\r\n")
            if self.variant == "writelines":
                self.other.transport.writelines([head, b"\r\n\r\n", body])
            else:
                self.other.transport.write(head + b"\r\n\r\n")
                self.other.transport.write(body)
        else:
            self.other.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if hasattr(self, "other"):
            self.other.transport.abort()


class BufferedSide(asyncio.BufferedProtocol, Side):
    """The same, reading into a buffer of its own."""

    def __init__(self, variant: str) -> None:
        super().__init__(variant)
        self._buffer = bytearray(_SIZE)
        self._view = memoryview(self._buffer)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(self._view[:nbytes]))


def side(variant: str) -> Side:
    """One side of the kind that `variant` names."""
    return BufferedSide(variant) if variant == "buffered" else Side(variant)


async def serve(port: int, upstream: int, variant: str) -> None:
    """Relay until killed."""
    loop = asyncio.get_running_loop()
    dialling: set[asyncio.Task[None]] = set()

    async def dial(client: Side) -> None:
        _, server = await loop.create_connection(lambda: side(variant), "127.0.0.1", upstream)
        client.other, server.other = server, client
        for data in client.waiting:
            client.data_received(data)

    def accept() -> Side:
        client = side(variant)
        task = loop.create_task(dial(client))
        dialling.add(task)
        task.add_done_callback(dialling.discard)
        return client

    async with await loop.create_server(accept, "127.0.0.1", port):
        await asyncio.Event().wait()


def _candidate(variant: str, title: str) -> Candidate:
    def prepare(world: World, port: int) -> Setup:
        argv = (sys.executable, "-m", "bench.candidates.relay", str(port), str(world.port), variant)
        return Setup((Command(argv),), world.bearer())

    return Candidate(f"relay_{variant}", title, prepare)


RELAYS = (
    _candidate("write", "asyncio.Protocol, one write of head and body together"),
    _candidate("two_writes", "… two writes"),
    _candidate("writelines", "… writelines (writev)"),
    _candidate("buffered", "asyncio.BufferedProtocol"),
    _candidate("asyncio", "asyncio's own event loop in the place of uvloop"),
)


if __name__ == "__main__":
    run = asyncio.run if sys.argv[3] == "asyncio" else uvloop.run
    run(serve(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
