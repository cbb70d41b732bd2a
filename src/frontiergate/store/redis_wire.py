"""Connections to one Redis server: commands out, as many replies back, before a deadline.

Of redis-py this uses the connections, not the clients above them: those repeat what failed by default, and an append that is
sent twice could be made twice.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import BusyLoadingError, RedisError, ResponseError

from frontiergate.config.store_url import Host
from frontiergate.errors import ConfigError, StoreError
from frontiergate.store.redis_dialer import Dialer
from frontiergate.store.redis_errors import Crowded, lost, unavailable

Word = str | bytes | int
Command = Iterable[Word]

_FAILURES = (RedisError, OSError, ValueError, ConfigError)  # ValueError: what came is not Redis's protocol; TimeoutError is an OSError
_CONNECTIONS = 16  # at once to one server; more operations wait for their turn


class Wire:
    """Connections to the server at `host`, each in one operation's hands at a time."""

    def __init__(self, dialer: Dialer, host: Host, *, sentinel: bool = False) -> None:
        self.host = host
        self.name = str(dialer.url) if dialer.url.layout == "server" else f"{dialer.url} at {host[0]}:{host[1]}"
        self._dial = dialer.to_sentinel if sentinel else dialer.to
        self._idle: list[AbstractConnection] = []
        self._turns = asyncio.Semaphore(_CONNECTIONS)
        self._closed = False

    async def exchange(self, deadline: float, *commands: Command) -> list[Any]:
        """A reply to each of `commands`, errors among them as ResponseError, by `deadline` (the loop's clock).

        Raises StoreUnavailable where nothing was sent, and AnswerLost where something was.
        """
        packed = [[_bytes(word) for word in command] for command in commands]
        crowded = Crowded(f"store {self.name}: more is asked of it at once than it answers in time; it is asked again")
        try:
            async with asyncio.timeout_at(deadline):
                await self._turns.acquire()
        except TimeoutError as error:
            raise crowded from error
        try:
            if asyncio.get_running_loop().time() >= deadline:  # the turn came with the end of those before
                raise crowded
            connection = await self.connect(deadline)
            try:
                replies = await self._answered(connection, packed, deadline)
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
        finally:
            self._turns.release()
        if self._closed:
            await connection.disconnect(nowait=True)
        else:
            self._idle.append(connection)
        return replies

    async def connect(self, deadline: float) -> AbstractConnection:
        """A connection that nobody else uses: an idle one, or a new one. Raises StoreUnavailable."""
        while self._idle:
            connection = self._idle.pop()
            if not await connection.can_read():  # nothing is to be read from it, nor its end
                return connection
            await connection.disconnect(nowait=True)
        try:
            connection = self._dial(self.host)
            async with asyncio.timeout_at(deadline):
                await connection.connect()
        except _FAILURES as error:
            raise unavailable(self.name, error) from error
        return connection

    async def _answered(self, connection: AbstractConnection, commands: list[list[bytes]], deadline: float) -> list[Any]:
        try:
            async with asyncio.timeout_at(deadline):
                await connection.send_packed_command(connection.pack_commands(commands))
                return [await _reply(connection) for _ in commands]
        except BusyLoadingError as error:  # redis-py takes this reply for the connection's end; the command was refused
            raise unavailable(self.name, error) from error
        except _FAILURES as error:
            raise lost(self.name, error) from error

    async def close(self) -> None:
        self._closed = True
        while self._idle:
            await self._idle.pop().disconnect(nowait=True)


async def _reply(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


def _bytes(word: Word) -> bytes:
    """Raises StoreError where Redis could not give the word back as it is."""
    if isinstance(word, bytes):
        return word
    try:
        return str(word).encode()
    except UnicodeEncodeError as error:
        raise StoreError(f"a value cannot be stored: {error}") from error
