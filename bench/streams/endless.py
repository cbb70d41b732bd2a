"""An upstream of streams that nobody but the gate ends: a head and an event at once, then one each `--pace` ms while it is connected.

Streams keep the phase at which they were asked for, as those of many callers do. Ends when standard input does.

Run as `python -m bench.streams.endless PORT PLAIN-FILE --pace MS`.
"""

import argparse
import asyncio
import contextlib
import sys
from pathlib import Path

import uvloop

from bench.streams.upstream import Connection, event

_TURNS = 100  # in a pace; streams of one turn get their events together


class Endless:
    """The streams, by the turn in which each gets its events."""

    def __init__(self, pace: float) -> None:
        self._pace = pace
        self._turn = 0
        self._slots: list[set[asyncio.Transport]] = [set() for _ in range(_TURNS)]
        self._slot_of: dict[asyncio.Transport, set[asyncio.Transport]] = {}

    def begun(self, transport: asyncio.Transport) -> None:
        slot = self._slot_of[transport] = self._slots[self._turn]
        slot.add(transport)

    def ended(self, transport: asyncio.Transport) -> None:
        self._slot_of.pop(transport, set()).discard(transport)

    async def flow(self) -> None:
        """For ever."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += self._pace / _TURNS
            await asyncio.sleep(max(0.0, due - loop.time()))
            self._turn = (self._turn + 1) % _TURNS
            for transport in self._slots[self._turn]:
                transport.write(event())


async def serve(port: int, plain: bytes, pace: float) -> None:
    """Until standard input ends."""
    loop = asyncio.get_running_loop()
    streams = Endless(pace)
    server = await loop.create_server(lambda: Connection(streams, plain), "127.0.0.1", port, backlog=4096)
    flowing = loop.create_task(streams.flow())
    await loop.run_in_executor(None, sys.stdin.read)
    flowing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await flowing
    server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.streams.endless")
    parser.add_argument("port", type=int)
    parser.add_argument("plain", type=Path, help="the answer to who asks for no stream")
    parser.add_argument("--pace", type=int, default=1000, help="ms")
    given = parser.parse_args()
    uvloop.run(serve(given.port, given.plain.read_bytes(), given.pace / 1000))
