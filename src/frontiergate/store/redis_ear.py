"""Hears that something was appended, so that nobody has to ask every few milliseconds. A hint: whoever is deaf asks more often."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

from frontiergate.errors import StoreError

_log = logging.getLogger(__name__)
_AGAIN = 1.0  # seconds between attempts to subscribe
_SILENCE = 5.0  # seconds without a word after which the connection must show that it lives


class Ear:
    """A subscription for as long as the store is used. `connect` gives a connection to the master."""

    def __init__(self, connect: Callable[[], Awaitable[AbstractConnection]], channel: str) -> None:
        self._connect = connect
        self._channel = channel
        self._heard = False
        self._task: asyncio.Task[None] | None = None
        self._problem: str | None = None
        self.listening = False

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._listen())

    def heard(self) -> bool:
        """Whether there was something since the last call: an append, or a gap in which one may have been missed."""
        heard, self._heard = self._heard, False
        return heard

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _listen(self) -> None:
        while True:
            try:
                connection = await self._connect()
                try:
                    await self._attend(connection)
                finally:
                    self.listening = False
                    self._heard = True
                    await connection.disconnect(nowait=True)
            except ResponseError as error:
                self._say(f"the store lets nobody subscribe to {self._channel} ({error}); changes are looked for more often instead")
            except (RedisError, OSError, ValueError, StoreError):
                pass  # whoever asks the store next learns of it, and says so
            await asyncio.sleep(_AGAIN)

    async def _attend(self, connection: AbstractConnection) -> None:
        """Returns or raises when the connection is of no more use."""
        await connection.send_command("SUBSCRIBE", self._channel)
        pinged = False
        while True:
            message = await connection.read_response(timeout=_SILENCE)
            if message is None and pinged:
                return
            pinged = message is None
            if pinged:
                await connection.send_command("PING")
            elif message[0] != b"pong":  # the subscription's own answer counts: before it, something may have been missed
                self._heard = self.listening = True

    def _say(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            _log.warning("%s", problem)
