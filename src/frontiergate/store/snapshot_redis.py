"""A snapshot into Redis: laid out beside the keys of the log, under names that no gate reads, then moved to theirs by one script.

All of it goes over one connection: what a failover loses cannot be missed then. A crash before the script leaves the log as it was,
and keys that the next import removes.
"""

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

from frontiergate.config.store_url import RedisUrl
from frontiergate.errors import Conflict, OutcomeUnknown, StoreError, StoreUnavailable
from frontiergate.store import redis_layout, redis_things
from frontiergate.store.effects import Thing
from frontiergate.store.ledger import Ledger, Table, scratch
from frontiergate.store.protocol import Entry, Position
from frontiergate.store.redis_errors import AnswerLost, lost, refused
from frontiergate.store.redis_layout import HEAD, TRY, Keys
from frontiergate.store.redis_link import Link
from frontiergate.store.redis_replies import head_of
from frontiergate.store.redis_wire import Command
from frontiergate.store.rows import encode
from frontiergate.store.snapshot import Snapshot

_BATCH = 1000  # commands on the way at once, and names that the script handles at once (Lua's stack takes 8000)
_MOVES = 10_000  # keys that a slow server moves in a second; it does nothing else meanwhile
_LEAST = 10.0  # seconds for the script, however few keys there are

# KEYS meta, new names, old names; ARGV what HEAD says, what names begin with, and what those laid out begin with. Moves the new ones
# to their places if the log still stands where it stood and none is missing. Nothing is written before nothing can fail any more,
# since Redis does not undo what a script did.
_MOVE = f"""
local now = redis.call('HMGET', KEYS[1], {", ".join(f"'{field}'" for field in HEAD)})
for at = 1, {len(HEAD)} do if (now[at] or '') ~= ARGV[at] then return 'changed' end end
local tag, below = ARGV[{len(HEAD) + 1}], ARGV[{len(HEAD) + 2}]
local function each(list, act)
    for from = 0, redis.call('LLEN', list) - 1, {_BATCH} do act(redis.call('LRANGE', list, from, from + {_BATCH - 1})) end
end
local missing = 0
each(KEYS[2], function(names)
    for at, name in ipairs(names) do names[at] = below .. name end
    missing = missing + #names - redis.call('EXISTS', unpack(names))
end)
if missing > 0 or redis.call('EXISTS', KEYS[2]) == 0 then return 'missing' end
each(KEYS[3], function(names)
    for at, name in ipairs(names) do names[at] = tag .. name end
    redis.call('UNLINK', unpack(names))
end)
each(KEYS[2], function(names)
    for _, name in ipairs(names) do redis.call('RENAME', below .. name, tag .. name) end
end)
redis.call('UNLINK', KEYS[2], KEYS[3])
return 'moved'
"""


async def put_into_redis(url: RedisUrl, environ: Mapping[str, str], snapshot: Snapshot, before: Position) -> None:
    """Make the log be the snapshot's if it stands at `before`. Raises StoreError where nothing was changed, and OutcomeUnknown."""
    link = Link(url, environ, Keys(url.prefix).meta)
    try:
        connection = await link.connection()
        try:
            await _Import(url, link, connection).run(snapshot, before)
        finally:
            await connection.disconnect(nowait=True)
    finally:
        await link.close()


class _Import:
    """One import. What is laid out is named as in `Keys`, with `import:` behind the tag."""

    def __init__(self, url: RedisUrl, link: Link, connection: AbstractConnection) -> None:
        self._url = url
        self._link = link
        self._connection = connection
        self._keys = Keys(url.prefix)
        self._tag = self._keys.meta.removesuffix("meta")
        self._below = f"{self._tag}import:"
        self._new, self._old = f"{self._below}new", f"{self._below}old"  # lists of names, without the tag

    async def run(self, snapshot: Snapshot, before: Position) -> None:
        await self._clear()
        try:
            await self._try()
            (stands,) = await self._ask(("HMGET", self._keys.meta, *HEAD))
            if head_of(f"store {self._url}", stands).position != before:
                raise Conflict("the store was changed in between; look again and repeat")
            with scratch() as ledger:
                await self._lay_out(snapshot, ledger)
                await self._list(self._new, _names(self._keys, ledger))
            async for names in self._found(self._tag):
                await self._list(self._old, (name for name in names if not name.startswith(self._below)))
            await self._move(stands, snapshot.head.epoch + snapshot.head.grants)
        finally:
            with contextlib.suppress(StoreError):
                await self._clear()

    async def _try(self) -> None:
        """A permission that is missing must not show in the middle of the script."""
        one, other = self._keys.trial, self._laid(self._keys.trial)
        trial = [["DEL", one], ["RPUSH", one, "a"], ["LLEN", one], ["LRANGE", one, "0", "0"], ["EXISTS", one]]
        await self._do([*trial, ["HMGET", self._keys.meta, *HEAD], ["RENAME", one, other], ["UNLINK", other]])

    async def _lay_out(self, snapshot: Snapshot, ledger: Ledger) -> None:
        mark = secrets.token_hex(8)  # of all entries: this log cannot be taken for another with the same epoch
        commands: list[list[str]] = []
        for entry, now in snapshot.replay(ledger):
            commands += self._as_appended(entry, now, mark)
            if len(commands) >= _BATCH:
                await self._do(commands)
                commands.clear()
        values = {
            "layout": str(redis_layout.LAYOUT),
            "lineage": snapshot.head.lineage,
            "epoch": str(ledger.epoch),
            "mark": mark if ledger.epoch else "",
        }
        values |= {"directives": str(ledger.count("directives")), "pauses": str(ledger.count("pauses"))}
        commands.append(["HSET", self._laid(self._keys.meta), *_words(values)])
        await self._do(commands)

    def _as_appended(self, entry: Entry, now: Thing | None, mark: str) -> Iterator[list[str]]:
        """What APPEND does."""
        said = {"mark": mark, "at": repr(entry.at), "actor": entry.actor, "reason": entry.reason, "change": encode(entry.change).decode()}
        yield ["XADD", self._laid(self._keys.log), f"{entry.epoch}-0", *_words(said)]
        for name, key, *words in redis_things.commands(self._keys, entry, now):
            yield [name, self._laid(key), *words]

    async def _do(self, commands: list[list[str]]) -> None:
        """All in one script: a quarter of what it costs to write and read them one by one."""
        keys = {command[1] for command in commands}
        await self._ask(("EVAL", TRY.text, len(keys), *keys, encode(commands)))

    async def _list(self, into: str, names: Iterable[str]) -> None:
        """Append the names, without the tag."""
        left = (name.removeprefix(self._tag) for name in names)
        while some := [*itertools.islice(left, _BATCH)]:
            await self._ask(("RPUSH", into, *some))

    async def _move(self, stands: list[bytes | None], keys: int) -> None:
        where = (self._keys.meta, self._new, self._old)
        command: Command = ("EVAL", _MOVE, 3, *where, *(value or b"" for value in stands), self._tag, self._below)
        try:
            (moved,) = await self._ask(command, seconds=_LEAST + keys / _MOVES)
        except AnswerLost as error:
            raise OutcomeUnknown(f"{error}. Whether it was imported is not known: frontiergate store check says what it holds") from error
        if moved == b"changed":
            raise Conflict("the store was changed in between; look again and repeat")
        if moved == b"missing":
            raise StoreUnavailable(f"store {self._url}: what was just put there is gone (evicted?); nothing was changed, repeat it")
        await self._await_copies()

    async def _await_copies(self) -> None:
        """OutcomeUnknown unless so many replicas have it as the URL wants (waitaof: and the server's own disk)."""
        milliseconds = int(_LEAST * 1000)
        command: Command
        if self._url.waitaof is not None:
            command = ("WAITAOF", 1, self._url.waitaof, milliseconds)
        elif self._url.wait:
            command = ("WAIT", self._url.wait, milliseconds)
        else:
            return
        try:
            (told,) = await self._ask(command, seconds=_LEAST)
        except StoreError as error:
            raise OutcomeUnknown(f"it is imported, but who else has it cannot be told: a failover could undo it ({error})") from error
        local, copies = told if isinstance(told, list) else (1, told)
        if copies < self._url.copies or not local:
            raise OutcomeUnknown(f"it is imported, but {copies} of {self._url.copies} replicas confirmed it: a failover could undo it")

    async def _clear(self) -> None:
        """Remove what an import laid out and did not move; this one, or one that was killed."""
        async for names in self._found(self._below):
            await self._link.ask(("UNLINK", *names))

    async def _found(self, begin: str) -> AsyncIterator[list[str]]:
        """The names of the keys that begin so, some perhaps twice. A prefix has none of the signs that are special here."""
        cursor = b"0"
        while True:
            ((cursor, names),) = await self._link.ask(("SCAN", cursor, "MATCH", f"{begin}*", "COUNT", _BATCH))
            if names:
                yield [name.decode() for name in names]
            if cursor == b"0":
                return

    def _laid(self, key: str) -> str:
        return self._below + key.removeprefix(self._tag)

    async def _ask(self, *commands: Command, seconds: float = 0.0) -> list[Any]:
        """A reply to each, at most `seconds` later than usual; on the one connection. Raises StoreError, and then it is of no more use."""
        connection = self._connection
        try:
            async with asyncio.timeout(self._url.timeout + seconds):
                await connection.send_packed_command(connection.pack_commands([tuple(command) for command in commands]))
                return [await connection.read_response() for _ in commands]
        except ResponseError as error:
            raise refused(str(self._url), error) from error
        except (RedisError, OSError) as error:
            raise lost(str(self._url), error) from error


def _words(fields: Mapping[str, str]) -> Iterator[str]:
    """Names and values in turn."""
    return itertools.chain.from_iterable(fields.items())


def _names(keys: Keys, ledger: Ledger) -> Iterator[str]:
    """Of the keys that there are once the log is laid out: Redis has no empty ones."""
    yield keys.meta
    if ledger.epoch:
        yield keys.log
    tables: dict[Table, tuple[str, ...]] = {
        "directives": (keys.directives,),
        "pauses": (keys.pauses,),
        "grants": (keys.grants, keys.grant_ids),
        "keys": (keys.keys, keys.key_ids),
    }
    for table, names in tables.items():
        if ledger.count(table):
            yield from names
    for directive, _ in ledger.histories():
        yield keys.history(directive)
    for principal, grants in ledger.live():
        if grants:
            yield keys.live(principal)
