"""Callers with a stream each. Says `ready` on standard output once every one of them has had its first event, then waits.

Where events are expected, ends when all streams have ended and prints JSON: how many events came, and the quantiles of their delays
from written to read, µs. Where none are (`--idle`), holds the streams until standard input ends.

Run as `python -m bench.streams.callers PORT REQUEST-FILE STREAMS [--idle]`.
"""

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from typing import cast

import uvloop

from bench.machine import quantile

_AT_ONCE = 200  # connections made at a time, fewer than any listener's backlog
_PATIENCE = 30.0  # seconds
_MARK = b'"sent":'


class Caller(asyncio.Protocol):
    """One caller. Delays of the first event, which nobody paces, are not noted."""

    def __init__(self, request: bytes, delays: list[int]) -> None:
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request
        self._delays = delays
        self._start = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own class
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        if not self.begun.done():
            self._begin(data)
            return
        for piece in data.split(_MARK)[1:]:
            self._delays.append(now - int(piece[:19]))
        if data.endswith(b"0\r\n\r\n") and not self.ended.done():
            self.ended.set_result(None)

    def _begin(self, data: bytes) -> None:
        """The head and the first event, in one read or more."""
        self._start += data
        if not self._start.startswith(b"HTTP/1.1 200"):
            self.begun.set_exception(ValueError(f"not a 200: {self._start[:200]!r}"))
        elif _MARK in self._start:
            self.begun.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (self.begun, self.ended):
            if not future.done():
                future.set_exception(ConnectionError(f"a stream was cut: {exc}"))
                future.exception()  # told by whoever waits for the first of them


async def call(port: int, request: bytes, count: int, *, idle: bool) -> None:
    """The whole story. Raises ValueError and ConnectionError where a stream is refused or cut."""
    loop = asyncio.get_running_loop()
    delays: list[int] = []
    callers: list[Caller] = []
    for first in range(0, count, _AT_ONCE):
        dials = (loop.create_connection(lambda: Caller(request, delays), "127.0.0.1", port) for _ in range(min(_AT_ONCE, count - first)))
        async with asyncio.timeout(_PATIENCE):
            some = [caller for _, caller in await asyncio.gather(*dials)]
            await asyncio.gather(*(caller.begun for caller in some))
        callers += some
    print("ready", flush=True)
    if idle:
        await loop.run_in_executor(None, sys.stdin.read)
    else:
        async with asyncio.timeout(10 * _PATIENCE):
            await asyncio.gather(*(caller.ended for caller in callers))
        ordered = [delay / 1e3 for delay in sorted(delays)]
        print(json.dumps({"events": len(ordered), "p50_us": quantile(ordered, 0.5), "p99_us": quantile(ordered, 0.99)}), flush=True)
    for caller in callers:
        caller.ended.cancel()
        caller.transport.abort()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.streams.callers")
    parser.add_argument("port", type=int)
    parser.add_argument("request", type=Path)
    parser.add_argument("streams", type=int)
    parser.add_argument("--idle", action="store_true")
    given = parser.parse_args()
    uvloop.run(call(given.port, given.request.read_bytes(), given.streams, idle=given.idle))
