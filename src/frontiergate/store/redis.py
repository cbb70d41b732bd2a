"""The shared store: Redis or Valkey, for the processes of many machines (DESIGN 6; P4, P5).

An append is computed here from what is, and made by a script only if the log still stands there: the rules are those of `effects`,
and nothing is ever made twice.
"""

import asyncio
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from redis.exceptions import ResponseError

from frontiergate.config.store_url import RedisUrl
from frontiergate.domain.vetting import Grant
from frontiergate.errors import NotFound, OutcomeUnknown, StoreError, StoreUnavailable
from frontiergate.store import effects, redis_layout, redis_things
from frontiergate.store.protocol import Change, Entry, KeyRecord, PolicyState, Position, ReplicaReport
from frontiergate.store.redis_ear import Ear
from frontiergate.store.redis_errors import AnswerLost
from frontiergate.store.redis_layout import LAYOUT, Keys
from frontiergate.store.redis_link import Link
from frontiergate.store.redis_wire import Command, Word
from frontiergate.store.rows import CHANGE, GRANT, KEY, PAUSE, REPORT, STORED_DIRECTIVE, decode, encode

_LOOK = 0.2  # seconds after which `changed` is true though nothing was heard: what a lost message can delay (P4: 250 ms)
_LOOK_DEAF = 0.1  # the same while nothing can be heard
_HEAD = ("layout", "lineage", "epoch")


class _Ground(msgspec.Struct, frozen=True):
    """What an append is computed from, as it was at one instant."""

    position: Position
    at: float  # the server's clock
    before: effects.Thing | None


class RedisStore:
    """`Store` on one Redis server, found by its address, by Sentinels or in a Cluster."""

    def __init__(self, url: RedisUrl, environ: Mapping[str, str] = os.environ, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._keys = Keys(url.prefix)
        self._name = f"store {url}"
        self._timeout = url.timeout
        self._copies = url.copies
        self._wait: tuple[Command, ...] = ()
        milliseconds = int(url.timeout * 1000)
        if url.waitaof is not None:
            self._wait = (("WAITAOF", 1, url.waitaof, milliseconds),)
        elif url.wait:
            self._wait = (("WAIT", url.wait, milliseconds),)
        self._monotonic = monotonic
        self._link = Link(url, environ, self._keys.meta)
        self._ear = Ear(self._link.connection, self._keys.changed)
        self._appending = asyncio.Lock()  # our own appends would only get in each other's way
        self._look_at = float("-inf")
        self._closed = False

    async def open(self) -> None:
        self._require_open()
        try:
            await self._begin()
        except StoreError:
            await self._link.leave()
            raise

    async def close(self) -> None:
        self._closed = True
        await self._ear.close()
        await self._link.close()

    async def append(self, change: Change, *, actor: str, reason: str, expect: int | None = None) -> Entry:
        """OutcomeUnknown where it was sent and no answer tells what came of it, or too few replicas confirm it."""
        self._require_open()
        async with self._appending:
            until = self._monotonic() + self._timeout
            while True:
                ground = await self._look(change)
                head = ground.position.epoch
                if expect is not None:
                    effects.check_expected(change, ground.before, expect, head)
                entry = Entry(epoch=head + 1, at=ground.at, actor=actor, reason=reason, change=change)
                if await self._make(entry, effects.after(entry, ground.before), ground.position):
                    self._look_at = float("-inf")
                    return entry
                if self._monotonic() >= until:
                    raise StoreUnavailable(f"{self._name}: too many others append at once; nothing was changed, repeat it")

    async def head(self) -> int:
        return (await self.position()).epoch

    async def position(self) -> Position:
        """Also of a store that was flushed: no lineage and epoch 0, so that followers see that it went back."""
        self._require_open()
        (head,) = await self._link.ask(("HMGET", self._keys.meta, *_HEAD), confirmed=True)
        return self._position(head)

    async def changed(self) -> bool:
        """Asks nobody. True after a message or a gap in hearing them, and at the latest every 200 ms, so that `position` is asked."""
        self._require_open()
        self._ear.start()
        now = self._monotonic()
        if not self._ear.heard() and now < self._look_at:
            return False
        self._look_at = now + (_LOOK if self._ear.listening else _LOOK_DEAF)
        return True

    async def state(self) -> PolicyState:
        self._require_open()
        keys = self._keys
        *_, (head, directives, pauses) = await self._link.ask(
            ("MULTI",),
            ("HMGET", keys.meta, *_HEAD, "directives", "pauses"),
            ("HGETALL", keys.directives),
            ("HGETALL", keys.pauses),
            ("EXEC",),
        )
        position = self._require_log(self._position(head))
        if [int(count or 0) * 2 for count in head[3:]] != [len(directives), len(pauses)]:
            raise StoreError(f"{self._name}: directives or pauses are gone that nobody lifted (evicted or deleted?): restore a backup")
        return PolicyState(
            epoch=position.epoch,
            directives=tuple(decode(STORED_DIRECTIVE, body, f"directive {name}") for name, body in _pairs(directives)),
            pauses=tuple(decode(PAUSE, body, f"pause of {name}") for name, body in _pairs(pauses)),
            lineage=position.lineage,
        )

    async def entries(self, after: int, limit: int = 1000) -> Sequence[Entry]:
        self._require_open()
        (found,) = await self._link.ask(("XRANGE", self._keys.log, f"{max(after + 1, 0)}-0", "+", "COUNT", limit))
        return tuple(map(_entry, found))

    async def directive_history(self, id: str) -> Sequence[Entry]:
        self._require_open()
        (epochs,) = await self._link.ask(("LRANGE", self._keys.history(id), 0, -1))
        found = await self._link.ask(*(("XRANGE", self._keys.log, epoch, epoch) for epoch in epochs)) if epochs else []
        return tuple(_entry(entries[0]) for entries in found if entries)

    async def grant(self, id: str) -> Grant:
        self._require_open()
        (body,) = await self._link.ask(("HGET", self._keys.grants, id))
        if body is None:
            raise NotFound(f"no grant {id!r}")
        return decode(GRANT, body, f"grant {id}")

    async def grants_of(self, principal: str) -> tuple[Grant, ...]:
        self._require_open()
        found = await self._link.run(redis_layout.GRANTS_OF, [self._keys.live(principal), self._keys.grants])
        return tuple(decode(GRANT, body or b"", f"grant {name}") for name, body in _pairs(found))

    async def grants(self, *, after: str = "", limit: int = 100) -> Sequence[Grant]:
        self._require_open()
        found = await self._link.run(redis_layout.GRANTS, [self._keys.grant_ids, self._keys.grants], [after, limit])
        return tuple(decode(GRANT, body or b"", f"grant {name}") for name, body in _pairs(found))

    async def key(self, sha256: str) -> KeyRecord | None:
        self._require_open()
        (body,) = await self._link.ask(("HGET", self._keys.keys, sha256))
        return None if body is None else decode(KEY, body, f"key {sha256[:8]}…")

    async def keys(self) -> Sequence[KeyRecord]:
        self._require_open()
        (found,) = await self._link.ask(("HGETALL", self._keys.keys))
        keys = (decode(KEY, body, f"key {sha256[:8]}…") for sha256, body in _pairs(found))
        return tuple(sorted(keys, key=lambda key: key.id))

    async def report(self, report: ReplicaReport) -> None:
        self._require_open()
        arguments: list[Word] = [report.name, encode(report), redis_layout.FORGOTTEN]
        await self._link.run(redis_layout.REPORT, [self._keys.replicas, self._keys.replicas_seen], arguments)

    async def forget_replica(self, name: str, instance: str) -> None:
        self._require_open()
        await self._link.run(redis_layout.FORGET, [self._keys.replicas, self._keys.replicas_seen], [name, instance])

    async def replicas(self) -> Sequence[ReplicaReport]:
        self._require_open()
        (found,) = await self._link.ask(("HGETALL", self._keys.replicas))
        return tuple(decode(REPORT, body, f"report of replica {name}") for name, body in _pairs(found))

    async def _begin(self) -> None:
        keys = self._keys
        await self._link.run(redis_layout.TRY, [keys.trial], [encode(redis_layout.trial(keys))])
        head = await self._link.run(redis_layout.BEGIN, keys.of_policy(), [LAYOUT, secrets.token_hex(8)])
        if not head:
            raise StoreError(
                f"{self._name}: there are parts of a log under {keys.meta!r} but not its head: restore a backup, "
                "or remove the keys with that prefix to begin a new log"
            )
        self._position(head)

    async def _look(self, change: Change) -> _Ground:
        keys, arguments = redis_things.where(self._keys, change)
        head, (seconds, microseconds), body = await self._link.run(redis_layout.LOOK, keys, arguments)
        position = self._require_log(self._position(head))
        return _Ground(position, int(seconds) + int(microseconds) / 1e6, redis_things.read(change, body))

    async def _make(self, entry: Entry, now: effects.Thing | None, ground: Position) -> bool:
        """Append, and make what `entry` is about be `now`; False where the log does not stand at `ground` any more."""
        mark = secrets.token_hex(8)
        try:
            commands = redis_things.commands(self._keys, entry, now)
            change = encode(entry.change)
        except UnicodeEncodeError as error:
            raise StoreError(f"a value cannot be stored: {error}") from error
        keys = [*self._keys.of_policy(), *{command[1] for command in commands}]
        stand: list[Word] = [LAYOUT, ground.lineage, ground.epoch, entry.epoch, self._keys.changed, encode(commands)]
        said: list[Word] = ["at", repr(entry.at), "actor", entry.actor, "reason", entry.reason, "change", change, "mark", mark]
        deadline = self._link.deadline(self._timeout if self._wait else 0.0)
        try:
            made, *waited = await self._link.send(deadline, redis_layout.APPEND, keys, [*stand, *said], *self._wait)
        except AnswerLost as error:
            await self._look_back(entry, ground, mark, error)
            return True
        if made != 1:
            self._require_log(self._position(made))
            return False
        if waited:
            self._require_copies(entry, waited[0])
        return True

    async def _look_back(self, entry: Entry, ground: Position, mark: str, lost: AnswerLost) -> None:
        """Whether an append whose answer was lost was made. If so it is at its own epoch and nowhere else, under its own mark."""
        try:
            head, found = await self._link.ask(
                ("HMGET", self._keys.meta, *_HEAD), ("XRANGE", self._keys.log, f"{entry.epoch}-0", f"{entry.epoch}-0")
            )
            same = self._position(head).lineage == ground.lineage
        except StoreError as error:
            raise OutcomeUnknown(f"{lost}. Whether it was changed is not known: look before you repeat it") from error
        if not (same and found):
            raise OutcomeUnknown(f"{lost}. It is not changed so far, and may yet be: look before you repeat it") from lost
        if _fields(found[0])["mark"] != mark.encode():
            raise StoreUnavailable(f"{lost}. Nothing was changed, somebody else's change came first; repeat it") from lost
        if self._wait:
            raise OutcomeUnknown(
                f"{lost}. It is in force as epoch {entry.epoch}, but no replica confirmed it: a failover could undo it"
            ) from lost

    def _require_copies(self, entry: Entry, waited: Any) -> None:
        """OutcomeUnknown unless enough replicas (WAITAOF: and the server's own disk) confirmed the append."""
        local, copies = waited if isinstance(waited, list) else (1, waited)
        if isinstance(waited, ResponseError):
            local, copies, why = 0, 0, f" ({waited})"
        else:
            why = ""
        if copies < self._copies or not local:
            raise OutcomeUnknown(
                f"{self._name}: it is in force as epoch {entry.epoch}, but {copies} of {self._copies} replicas confirmed it within "
                f"{self._timeout:g}s{why}: a failover could undo it. Bring the replicas back; repeat it only if it is gone"
            )

    def _position(self, head: Sequence[bytes | None]) -> Position:
        """Raises StoreError where the layout is not ours."""
        layout, lineage, epoch = head[:3]
        if layout not in (None, LAYOUT):
            raise StoreError(
                f"{self._name} was written by a newer Frontier Gate (layout {layout.decode(errors='replace')}; this one knows "
                f"{LAYOUT.decode()}): upgrade, or restore the backup taken before the upgrade"
            )
        return Position((lineage or b"").decode(errors="replace"), int(epoch or 0))

    def _require_log(self, position: Position) -> Position:
        if not position.lineage:
            raise StoreUnavailable(
                f"{self._name}: it holds no policy log any more (flushed, evicted, or restarted without persistence): "
                "restore it, or restart the gate to begin a new one"
            )
        return position

    def _require_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"{self._name} is closed")


def _pairs(flat: Sequence[Any]) -> list[tuple[str, Any]]:
    """Names and values of a reply that lists them in turn, in the order of the names."""
    return sorted((name.decode(errors="replace"), value) for name, value in zip(flat[::2], flat[1::2], strict=True))


def _fields(entry: Any) -> dict[str, bytes]:
    return dict(_pairs(entry[1]))


def _entry(reply: Any) -> Entry:
    """An entry of the stream: its id, and its fields in turn."""
    epoch, fields = int(reply[0].partition(b"-")[0]), _fields(reply)
    try:
        return Entry(
            epoch=epoch,
            at=float(fields["at"]),
            actor=fields["actor"].decode(),
            reason=fields["reason"].decode(),
            change=decode(CHANGE, fields["change"], f"log entry {epoch}"),
        )
    except (KeyError, ValueError) as error:
        raise StoreError(f"the store's log entry {epoch} is unreadable ({error!r}): restore a backup") from error
