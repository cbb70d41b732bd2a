"""Callers whose streams the gate is to cut off, and probes that ask again and again: when was the last byte, when the first refusal?

Instants are POSIX seconds, the clock of the policy log's entries.
"""

import asyncio
import functools
import re
import time
from collections.abc import Sequence
from typing import cast

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_END = b"\r\n0\r\n\r\n"
_KEPT = 2048  # bytes of a stream's end
_AT_ONCE = 200  # connections made at a time, fewer than any listener's backlog
_PATIENCE = 30.0  # seconds

Ports = tuple[int, int]  # of a connection: the gate's, and the caller's


def ports_of(transport: asyncio.BaseTransport) -> Ports:
    return transport.get_extra_info("peername")[1], transport.get_extra_info("sockname")[1]


class Severed(asyncio.Protocol):
    """One caller with a stream."""

    def __init__(self, request: bytes) -> None:
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended_at = 0.0
        self.end = b""
        self.events = 0
        self._request = request

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own class
        self.ports = ports_of(transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.end = (self.end + data)[-_KEPT:] if len(data) < _KEPT else data[-_KEPT:]
        self.events += 1
        if not self.begun.done() and b"\ndata:" in self.end:
            if self.end.startswith(b"HTTP/1.1 200"):
                self.begun.set_result(None)
            else:
                self.begun.set_exception(ValueError(f"not a 200: {self.end[:300]!r}"))
        if data.endswith(_END):
            self.ended_at = time.time()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.begun.done():
            self.begun.set_exception(ConnectionError(f"no stream: {exc} {self.end[:300]!r}"))
        self.ended.set_result(None)

    def severed_for(self, reason: bytes) -> bool:
        """Whether the answer told why in an event of its own, and was ended by its framing."""
        return self.end.endswith(_END) and reason in self.end


async def opened(port: int, requests: Sequence[bytes], count: int) -> list[Severed]:
    """`count` streams that flow, the requests in turn. Raises ValueError and ConnectionError where one is refused or cut."""
    loop = asyncio.get_running_loop()
    found: list[Severed] = []
    for first in range(0, count, _AT_ONCE):
        turn = [requests[number % len(requests)] for number in range(first, min(first + _AT_ONCE, count))]
        dials = (loop.create_connection(functools.partial(Severed, request), "127.0.0.1", port) for request in turn)
        async with asyncio.timeout(_PATIENCE):
            some = [caller for _, caller in await asyncio.gather(*dials)]
            await asyncio.gather(*(caller.begun for caller in some))
        found += some
    return found


class Probe(asyncio.Protocol):
    """One keep-alive connection on which new requests are made, one after the other."""

    def __init__(self, request: bytes) -> None:
        self.closed = False
        self._request = request
        self._answer: asyncio.Future[bytes] | None = None
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.ports = ports_of(transport)

    async def ask(self) -> bytes:
        """The whole answer to one request. Raises ConnectionError."""
        if self.closed:
            raise ConnectionError("the probe's connection was closed")
        self._read = b""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(self._request)
        return await self._answer

    async def refused(self, pause: float) -> float:
        """When the first refusal was there; `pause` is between two requests."""
        while True:
            if not (await self.ask()).startswith(b"HTTP/1.1 200"):
                return time.time()
            await asyncio.sleep(pause)

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, found, body = self._read.partition(b"\r\n\r\n")
        length = _LENGTH.search(head + b"\r\n") if found else None
        if length is not None and len(body) >= int(length[1]) and self._answer is not None and not self._answer.done():
            self._answer.set_result(self._read)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(f"the probe's connection was closed: {exc}"))
