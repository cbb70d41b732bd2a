"""Appends to the log in Redis, each once or not at all.

    look: where the log stands, and the thing that the change is about ←───────────────────────────┐
       → what it is afterwards (effects)                                                            │ somebody else was first
       → APPEND, if the log still stands there ─────────────────────────────────────────────────────┘
            │ made → enough replicas confirm it → acknowledged
            └ no answer → look for the mark at that epoch: made, or not and never, or OutcomeUnknown

No append is ever sent again: one that was sent can only ever become the entry that follows the epoch it was computed from.
"""

import asyncio
import secrets
from typing import Any

import msgspec
from redis.exceptions import ResponseError

from frontiergate.config.store_url import RedisUrl
from frontiergate.errors import OutcomeUnknown, StoreError, StoreUnavailable
from frontiergate.store import redis_layout, redis_things
from frontiergate.store.effects import Thing, after, check_expected
from frontiergate.store.protocol import Change, Entry, Position
from frontiergate.store.redis_errors import AnswerLost
from frontiergate.store.redis_layout import APPEND, HEAD, LOOK, Keys
from frontiergate.store.redis_link import Link
from frontiergate.store.redis_replies import head_of, instant_of, mark_of, require_log
from frontiergate.store.redis_wire import Command, Word
from frontiergate.store.rows import encode


class _Ground(msgspec.Struct, frozen=True):
    """What an append is computed from, as it was at one instant."""

    position: Position
    at: float  # the server's clock
    before: Thing | None


class Appender:
    """One process's appends. They go one by one, since they would only get in each other's way."""

    def __init__(self, url: RedisUrl, link: Link, keys: Keys) -> None:
        self._name = f"store {url}"
        self._timeout = url.timeout
        self._copies = url.copies
        self._link = link
        self._keys = keys
        self._turn = asyncio.Lock()
        self._wait: tuple[Command, ...] = ()
        milliseconds = int(url.timeout * 1000)
        if url.waitaof is not None:
            self._wait = (("WAITAOF", 1, url.waitaof, milliseconds),)
        elif url.wait:
            self._wait = (("WAIT", url.wait, milliseconds),)

    async def append(self, change: Change, actor: str, reason: str, expect: int | None) -> Entry:
        """Raises Conflict, NotFound, StoreUnavailable where nothing was changed, and OutcomeUnknown."""
        crowded = StoreUnavailable(f"{self._name}: too many append at once; nothing was changed, repeat it")
        until = asyncio.get_running_loop().time() + self._timeout
        try:
            async with asyncio.timeout_at(until):
                await self._turn.acquire()
        except TimeoutError as error:
            raise crowded from error
        try:
            while True:
                ground = await self._look(change)
                head = ground.position.epoch
                if expect is not None:
                    check_expected(change, ground.before, expect, head)
                entry = Entry(epoch=head + 1, at=ground.at, actor=actor, reason=reason, change=change)
                if await self._make(entry, after(entry, ground.before), ground.position):
                    return entry
                if asyncio.get_running_loop().time() >= until:
                    raise crowded
        finally:
            self._turn.release()

    async def _look(self, change: Change) -> _Ground:
        head, clock, body = await self._link.run(LOOK, *redis_things.where(self._keys, change))
        position = require_log(self._name, head).position
        return _Ground(position, instant_of(clock), redis_things.read(change, body))

    async def _make(self, entry: Entry, now: Thing | None, ground: Position) -> bool:
        """Append, and make what `entry` is about be `now`; False where the log does not stand at `ground` any more."""
        try:
            commands = redis_things.commands(self._keys, entry, now)
            change = encode(entry.change)
        except UnicodeEncodeError as error:
            raise StoreError(f"a value cannot be stored: {error}") from error
        mark = secrets.token_hex(8)
        keys = [*self._keys.of_policy(), *{command[1] for command in commands}]
        stand: list[Word] = [redis_layout.LAYOUT, ground.lineage, ground.epoch, entry.epoch, mark, self._keys.changed, encode(commands)]
        said: list[Word] = ["at", repr(entry.at), "actor", entry.actor, "reason", entry.reason, "change", change]
        deadline = self._link.deadline(self._timeout if self._wait else 0.0)
        try:
            made, *waited = await self._link.send(deadline, APPEND, keys, [*stand, *said], *self._wait)
        except AnswerLost as error:
            await self._look_back(entry, ground, mark.encode(), error)
            return True
        if made != 1:
            require_log(self._name, made)
            return False
        problem = self._unconfirmed(waited[0]) if waited else None
        if problem is not None:
            await self._link.leave()  # another server may be the master by now
            raise OutcomeUnknown(
                f"{self._name}: it is in force as epoch {entry.epoch}, but {problem}: a failover could undo it. "
                "Bring the replicas back; repeat it only if it is gone"
            )
        return True

    async def _look_back(self, entry: Entry, ground: Position, mark: bytes, lost: AnswerLost) -> None:
        """Whether an append whose answer was lost was made: then it is at its own epoch, under its own mark."""
        there = f"{entry.epoch}-0"
        try:
            head, found = await self._link.ask(("HMGET", self._keys.meta, *HEAD), ("XRANGE", self._keys.log, there, there))
            same = head_of(self._name, head).position.lineage == ground.lineage
        except StoreError as error:
            raise OutcomeUnknown(f"{lost}. Whether it was changed is not known: look before you repeat it") from error
        if not (same and found):
            raise OutcomeUnknown(f"{lost}. It is not changed so far, and may yet be: look before you repeat it") from lost
        if mark_of(found[0]) != mark:
            raise StoreUnavailable(f"{lost}. Nothing was changed, somebody else's change came first; repeat it") from lost
        if self._wait:
            raise OutcomeUnknown(f"{lost}. It is in force as epoch {entry.epoch}, but unconfirmed: a failover could undo it") from lost

    def _unconfirmed(self, waited: Any) -> str | None:
        """What is missing in the reply to WAIT or WAITAOF, if anything is: replicas, or the server's own disk."""
        if isinstance(waited, ResponseError):
            return f"nothing confirmed it ({waited})"
        local, copies = waited if isinstance(waited, list) else (1, waited)
        if copies >= self._copies and local:
            return None
        return f"{copies} of {self._copies} replicas{'' if local else ', and not its own disk,'} confirmed it within {self._timeout:g}s"
