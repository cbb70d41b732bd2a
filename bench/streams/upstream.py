"""An upstream of streams. Each request gets a head and a first event at once; after a line on standard input all streams flow.

Every stream gets `--events` events, one each `--pace` ms, streams spread evenly over the ms of the pace. An event carries the instant
at which it was written (monotonic clock, ns), and is of the size and form that model APIs send. Ends when standard input does.

Run as `python -m bench.streams.upstream PORT PLAIN-FILE --events N --pace MS`.
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path
from typing import Protocol, cast

import httptools
import uvloop

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
_END = b"0\r\n\r\n"
_TAIL = 64  # bytes of a request's end, where ours say whether they want a stream
_EVENT = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"openai/gpt-frontier","sent":%019d,'
    b'"choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}\n\n'
)


def event() -> bytes:
    """One event, written now, as a chunk."""
    data = _EVENT % time.monotonic_ns()
    return b"%x\r\n%b\r\n" % (len(data), data)


class Kept(Protocol):
    """Where the streams that were asked for are kept."""

    def begun(self, transport: asyncio.Transport) -> None: ...
    def ended(self, transport: asyncio.Transport) -> None: ...


class Streams:
    """All streams, in the order in which they were asked for."""

    def __init__(self, events: int, pace: int) -> None:
        self.open: list[asyncio.Transport] = []
        self._events = events
        self._pace = pace

    def begun(self, transport: asyncio.Transport) -> None:
        self.open.append(transport)

    def ended(self, transport: asyncio.Transport) -> None:
        """Whoever has it still learns by writing to it."""

    async def flow(self) -> None:
        """Send every stream its events, then its end."""
        loop = asyncio.get_running_loop()
        slots = [self.open[first :: self._pace] for first in range(self._pace)]
        start = loop.time()
        for turn in range(self._events):
            for ms, slot in enumerate(slots):
                wait = start + (turn * self._pace + ms) / 1000 - loop.time()
                if wait > 0:
                    await asyncio.sleep(wait)
                for transport in slot:
                    transport.write(event())
        for transport in self.open:
            transport.write(_END)
        self.open.clear()


class Connection(asyncio.Protocol):
    """Answers each whole request with a stream, or with `plain` where it asks for none."""

    def __init__(self, streams: Kept, plain: bytes) -> None:
        self._streams = streams
        self._plain = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(plain), plain)
        self._parser = httptools.HttpRequestParser(self)
        self._end = b""  # of the body

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class

    def connection_lost(self, exc: Exception | None) -> None:
        self._streams.ended(self._transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._end = (self._end + body[-_TAIL:])[-_TAIL:]

    def on_message_complete(self) -> None:
        end, self._end = self._end, b""
        if b'"stream":true' in end:
            self._transport.write(_HEAD + event())
            self._streams.begun(self._transport)
        else:
            self._transport.write(self._plain)


async def serve(port: int, plain: bytes, events: int, pace: int) -> None:
    """Until standard input ends."""
    loop = asyncio.get_running_loop()
    streams = Streams(events, pace)
    server = await loop.create_server(lambda: Connection(streams, plain), "127.0.0.1", port, backlog=4096)
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while await commands.readline():
        await streams.flow()
    server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.streams.upstream")
    parser.add_argument("port", type=int)
    parser.add_argument("plain", type=Path, help="the answer to who asks for no stream")
    parser.add_argument("--events", type=int, default=200)
    parser.add_argument("--pace", type=int, default=20, help="ms")
    given = parser.parse_args()
    uvloop.run(serve(given.port, given.plain.read_bytes(), given.events, given.pace))
