"""The way to the store: finds the server, keeps to it, and looks for it anew after each failure."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, ResponseError

from frontiergate.config.store_url import RedisUrl
from frontiergate.errors import StoreError, StoreUnavailable
from frontiergate.store.redis_dialer import Dialer
from frontiergate.store.redis_errors import Crowded, refused, unavailable
from frontiergate.store.redis_layout import Script
from frontiergate.store.redis_master import find_master
from frontiergate.store.redis_server import REPLICATION, check_master, look_over
from frontiergate.store.redis_wire import Command, Wire, Word

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Link:
    """What is asked is repeated once where a connection that was good before has failed; what is sent is not."""

    def __init__(self, url: RedisUrl, environ: Mapping[str, str], key: str) -> None:
        """`key` is one of those that are to be reached: a Cluster's node is found by it."""
        self._url = url
        self._dialer = Dialer(url, environ)
        self._key = key
        self._wire: Wire | None = None
        self._finding = asyncio.Lock()
        self._told: set[str] = set()  # risks that were logged
        self._closed = False

    def deadline(self, seconds: float = 0.0) -> float:
        """By when an operation that begins now must be over; `seconds` longer than usual."""
        return asyncio.get_running_loop().time() + self._url.timeout + seconds

    async def ask(self, *commands: Command, confirmed: bool = False) -> list[Any]:
        """The replies; `confirmed`: by a master that is to be believed now. Raises StoreError where one is an error."""

        async def once(deadline: float) -> list[Any]:
            if not confirmed:
                return await self._exchange(deadline, commands)
            *replies, info = await self._exchange(deadline, (*commands, REPLICATION), unchecked=1)
            try:
                check_master(self.name, info, self._url.copies)
            except StoreUnavailable:
                await self.leave()
                raise
            return replies

        return await self._twice(once)

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Word] = ()) -> Any:
        """What a script that may be run twice returns."""

        async def once(deadline: float) -> Any:
            return (await self.send(deadline, script, keys, arguments))[0]

        return await self._twice(once)

    async def send(self, deadline: float, script: Script, keys: Sequence[str], arguments: Sequence[Word], *then: Command) -> list[Any]:
        """What a script returns, and the replies to the commands `then` on the same connection. It runs once or not at all.

        Raises AnswerLost where that cannot be told.
        """
        call = (len(keys), *keys, *arguments)
        replies = await self._exchange(deadline, (("EVALSHA", script.sha1, *call), *then), unchecked=1 + len(then))
        if isinstance(replies[0], NoScriptError):  # a restarted or promoted server does not remember it
            replies = await self._exchange(deadline, (("EVAL", script.text, *call), *then), unchecked=1 + len(then))
        if isinstance(replies[0], ResponseError):
            await self._refuse(replies[0])
        return replies

    async def connection(self) -> AbstractConnection:
        """A connection of one's own to the server. Raises StoreUnavailable."""
        deadline = self.deadline()
        return await (await self._found(deadline)).connect(deadline)

    async def close(self) -> None:
        self._closed = True
        await self.leave()

    async def leave(self) -> None:
        """Find the server anew next time."""
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close()

    @property
    def name(self) -> str:
        return str(self._url) if self._wire is None else self._wire.name

    async def _twice(self, once: Callable[[float], Awaitable[T]]) -> T:
        deadline, known = self.deadline(), self._wire
        try:
            return await once(deadline)
        except StoreUnavailable:
            if known is None or asyncio.get_running_loop().time() >= deadline:
                raise
        return await once(deadline)

    async def _exchange(self, deadline: float, commands: Sequence[Command], unchecked: int = 0) -> list[Any]:
        wire = await self._found(deadline)
        try:
            replies = await wire.exchange(deadline, *commands)
        except Crowded:
            raise
        except StoreUnavailable:
            if wire is self._wire:
                await self.leave()
            raise
        for reply in replies[: len(replies) - unchecked]:
            for part in (reply, *(reply if isinstance(reply, list) else ())):  # EXEC's reply holds those of its commands
                if isinstance(part, ResponseError):
                    await self._refuse(part)
        return replies

    async def _refuse(self, reply: ResponseError) -> None:
        error = refused(self.name, reply)
        await self.leave()  # another server may do what this one refuses
        raise error

    async def _found(self, deadline: float) -> Wire:
        try:
            async with asyncio.timeout_at(deadline), self._finding:
                if self._closed:
                    raise StoreUnavailable(f"store {self._url} is closed")
                if self._wire is None:
                    wire = Wire(self._dialer, await find_master(self._dialer, self._key, deadline))
                    try:
                        self._tell(wire.name, await look_over(wire, self._url, deadline))
                    except StoreError:
                        await wire.close()
                        raise
                    self._wire = wire
                return self._wire
        except TimeoutError as error:
            raise unavailable(str(self._url), error) from error

    def _tell(self, name: str, risks: Sequence[str]) -> None:
        """Log each risk once, not at each connection."""
        for risk in risks:
            if risk not in self._told:
                self._told.add(risk)
                _log.warning("store %s: %s", name, risk)
