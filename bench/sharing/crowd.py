"""What a question costs a busy server: many connections ask it at once, as it comes from the real store.

A server with one question at hand wakes up, polls, reads, writes and polls again for it; with many at hand it polls once for all of
them. Its capacity is told by the second. What the store sends is recorded by a relay on its way, then sent again and again as it is.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from bench.machine import BenchError
from bench.redisserver import Redis
from frontiergate.store.protocol import Store
from frontiergate.store.registry import open_store

_CONNECTIONS = 200
_PATIENCE = 30.0  # seconds
_PING, _PONG = b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"


class _Relay:
    """Passes bytes on and keeps them."""

    def __init__(self, port: int) -> None:
        self.asked = b""
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        """Its port."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            await asyncio.gather(*self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, on = await asyncio.open_connection("127.0.0.1", self._port)
        self._tasks |= {asyncio.create_task(self._pass(reader, on, True)), asyncio.create_task(self._pass(back, writer, False))}

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, asking: bool) -> None:
        while data := await source.read(1 << 16):
            if asking:
                self.asked += data
            target.write(data)
        target.close()


async def recorded(server: Redis, ask: Callable[[Store], Awaitable[object]]) -> bytes:
    """What the store sends for one question, once it is warm."""
    relay = _Relay(server.port)
    async with relay.running() as port:
        store = open_store(f"redis://127.0.0.1:{port}")
        await store.open()
        await ask(store)
        relay.asked = b""
        await ask(store)
        await store.close()
    return relay.asked


def busy(server: Redis, questions: Sequence[bytes], rounds: int) -> float:
    """Seconds of the server's CPU for one of `questions`, asked in turn by all connections at once."""
    with contextlib.ExitStack() as stack:
        asking = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port), _PATIENCE)) for _ in range(_CONNECTIONS)]
        _ask(asking, questions)
        before = server.usage()
        for _ in range(rounds):
            _ask(asking, questions)
        return (server.usage() - before).cpu / (rounds * _CONNECTIONS)


def _ask(asking: Sequence[socket.socket], questions: Sequence[bytes]) -> None:
    """A PING after each tells where its answer ends: a server's time, say, is not always as long."""
    for number, connection in enumerate(asking):
        connection.sendall(questions[number % len(questions)] + _PING)
    for connection in asking:
        answer = b""
        while not answer.endswith(_PONG):
            data = connection.recv(1 << 16)
            answer += data
            if not data or answer.startswith(b"-"):
                raise BenchError(f"the server answered {answer[:200]!r}")
