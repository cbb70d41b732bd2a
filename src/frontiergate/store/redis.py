"""The shared store: Redis or Valkey, for the processes of many machines (DESIGN 6; P4, P5)."""

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from frontiergate.config.store_url import RedisUrl
from frontiergate.domain.vetting import Grant
from frontiergate.errors import NotFound, StoreError, StoreUnavailable
from frontiergate.store import redis_layout
from frontiergate.store.protocol import FORGOTTEN, Bearing, Change, Entry, KeyRecord, PolicyState, Position, ReplicaReport
from frontiergate.store.redis_append import Appender
from frontiergate.store.redis_ear import Ear
from frontiergate.store.redis_forward import bring_forward
from frontiergate.store.redis_layout import HEAD, Keys
from frontiergate.store.redis_link import Link
from frontiergate.store.redis_replies import (
    Head,
    OlderLayout,
    entry_of,
    head_of,
    instant_of,
    mark_of,
    pairs,
    require_layout,
    require_log,
)
from frontiergate.store.redis_wire import Command, Word
from frontiergate.store.rows import GRANT, KEY, PAUSE, REPORT, STORED_DIRECTIVE, decode, encode

_LOOK = 0.2  # seconds after which `changed` is true though nothing was heard: what a lost message can delay (P4: 250 ms)
_LOOK_DEAF = 0.1  # the same while nothing can be heard
_REMEMBERED = 64  # epochs of which it is known what was read


class RedisStore:
    """`Store` on one Redis server, found by its address, by Sentinels or in a Cluster."""

    lag = _LOOK

    def __init__(self, url: RedisUrl, environ: Mapping[str, str] = os.environ, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._keys = Keys(url.prefix)
        self._name = f"store {url}"
        self._monotonic = monotonic
        self._link = Link(url, environ, self._keys.meta)
        self._ear = Ear(self._link.connection, self._keys.changed)
        self._appender = Appender(url, self._link, self._keys)
        self._look_at = float("-inf")
        self._marks: dict[int, bytes] = {}  # of the entries read last
        self._opened = False
        self._closed = False

    async def open(self) -> None:
        self._require_open()
        try:
            await self._begin()
        except StoreError:
            await self._link.leave()
            raise
        self._opened = True

    async def close(self) -> None:
        self._closed = True
        await self._ear.close()
        await self._link.close()

    async def append(self, change: Change, *, actor: str, reason: str, expect: int | None = None) -> Entry:
        """Also raises OutcomeUnknown."""
        self._require_open()
        entry = await self._appender.append(change, actor, reason, expect)
        self._look_at = float("-inf")
        return entry

    async def head(self) -> int:
        return (await self.position()).epoch

    async def position(self) -> Position:
        """Where the log stands, truly: a store that was flushed has no lineage and is at epoch 0; one that holds another entry at an
        epoch than was read of it, as after a failover that lost the last append, is of another lineage."""
        return (await self.bearing()).position

    async def bearing(self) -> Bearing:
        self._require_open()
        try:
            head, at = await self._head()
        except OlderLayout:
            if not self._opened:
                raise
            await bring_forward(self._link, self._keys, self._name)  # an older backup was put back
            head, at = await self._head()
        position = head.position
        if self._marks.get(position.epoch, head.mark) != head.mark:
            position = Position(f"{position.lineage}~{head.mark.decode(errors='replace')}", position.epoch)
        return Bearing(position, at)

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
        *_, ((*values, counted, counted_pauses), directives, pauses) = await self._link.ask(
            ("MULTI",),
            ("HMGET", keys.meta, *HEAD, "directives", "pauses"),
            ("HGETALL", keys.directives),
            ("HGETALL", keys.pauses),
            ("EXEC",),
        )
        head = require_log(self._name, values)
        if (int(counted or 0) * 2, int(counted_pauses or 0) * 2) != (len(directives), len(pauses)):
            raise StoreError(f"{self._name}: directives or pauses are gone that nobody lifted (evicted or deleted?): restore a backup")
        self._remember(head.position.epoch, head.mark)
        return PolicyState(
            epoch=head.position.epoch,
            directives=tuple(decode(STORED_DIRECTIVE, body, f"directive {name}") for name, body in pairs(directives)),
            pauses=tuple(decode(PAUSE, body, f"pause of {name}") for name, body in pairs(pauses)),
            lineage=head.position.lineage,
        )

    async def entries(self, after: int, limit: int = 1000) -> Sequence[Entry]:
        self._require_open()
        (found,) = await self._read(("XRANGE", self._keys.log, f"{max(after + 1, 0)}-0", "+", "COUNT", limit))
        entries = tuple(map(entry_of, found))
        for entry, reply in zip(entries[-_REMEMBERED:], found[-_REMEMBERED:], strict=True):
            self._remember(entry.epoch, mark_of(reply))
        return entries

    async def directive_history(self, id: str) -> Sequence[Entry]:
        self._require_open()
        (epochs,) = await self._read(("LRANGE", self._keys.history(id), 0, -1))
        found = await self._read(*(("XRANGE", self._keys.log, epoch, epoch) for epoch in epochs))
        return tuple(entry_of(entries[0]) for entries in found if entries)

    async def grant(self, id: str) -> Grant:
        self._require_open()
        (body,) = await self._read(("HGET", self._keys.grants, id))
        if body is None:
            raise NotFound(f"no grant {id!r}")
        return decode(GRANT, body, f"grant {id}")

    async def grants_of(self, principal: str) -> tuple[Grant, ...]:
        self._require_open()
        keys = self._keys
        return self._grants(await self._link.run(redis_layout.GRANTS_OF, [keys.live(principal), keys.grants, keys.meta]))

    async def grants(self, *, after: str = "", limit: int = 100) -> Sequence[Grant]:
        self._require_open()
        keys = self._keys
        return self._grants(await self._link.run(redis_layout.GRANTS, [keys.grant_ids, keys.grants, keys.meta], [after, limit]))

    async def key(self, sha256: str) -> KeyRecord | None:
        self._require_open()
        (body,) = await self._read(("HGET", self._keys.keys, sha256))
        return None if body is None else decode(KEY, body, f"key {sha256[:8]}…")

    async def keys(self) -> Sequence[KeyRecord]:
        self._require_open()
        (found,) = await self._read(("HGETALL", self._keys.keys))
        keys = (decode(KEY, body, f"key {sha256[:8]}…") for sha256, body in pairs(found))
        return tuple(sorted(keys, key=lambda key: key.id))

    async def report(self, report: ReplicaReport) -> None:
        self._require_open()
        arguments: list[Word] = [report.name, encode(report), FORGOTTEN]
        await self._link.run(redis_layout.REPORT, [self._keys.replicas, self._keys.replicas_seen], arguments)

    async def forget_replica(self, name: str, instance: str) -> None:
        self._require_open()
        await self._link.run(redis_layout.FORGET, [self._keys.replicas, self._keys.replicas_seen], [name, instance])

    async def replicas(self) -> Sequence[ReplicaReport]:
        self._require_open()
        (found,) = await self._link.ask(("HGETALL", self._keys.replicas))
        return tuple(decode(REPORT, body, f"report of replica {name}") for name, body in pairs(found))

    async def _begin(self) -> None:
        keys = self._keys
        await self._older_or_ours()  # before anything is written
        await self._link.run(redis_layout.TRY, [keys.trial], [encode(redis_layout.trial(keys))])
        values = await self._link.run(redis_layout.BEGIN, keys.of_policy(), [redis_layout.LAYOUT, secrets.token_hex(8)])
        if not values:
            raise StoreUnavailable(
                f"{self._name}: there are parts of a log under {keys.meta!r} but not its head: restore a backup, "
                "or remove the keys with that prefix to begin a new log"
            )
        await bring_forward(self._link, keys, self._name)  # also sees a hash in our place that is not ours

    async def _older_or_ours(self) -> None:
        (values,) = await self._link.ask(("HMGET", self._keys.meta, *HEAD))
        with contextlib.suppress(OlderLayout):
            head_of(self._name, values)

    async def _head(self) -> tuple[Head, float]:
        """Where the log stands, and the server's time."""
        values, clock = await self._link.ask(("HMGET", self._keys.meta, *HEAD), ("TIME",), confirmed=True)
        return head_of(self._name, values), instant_of(clock)

    async def _read(self, *questions: Command) -> list[Any]:
        """The replies, if the layout is ours after them: it only ever goes forward, so it was before."""
        *replies, layout = await self._link.ask(*questions, ("HGET", self._keys.meta, "layout"))
        require_layout(self._name, layout)
        return replies

    def _grants(self, found: Any) -> tuple[Grant, ...]:
        """From the reply of a script that found some."""
        bodies, layout = found
        require_layout(self._name, layout)
        return tuple(decode(GRANT, body or b"", f"grant {name}") for name, body in pairs(bodies))

    def _remember(self, epoch: int, mark: bytes) -> None:
        """What was read at `epoch`, so that another entry in its place is noticed."""
        self._marks.pop(epoch, None)
        self._marks[epoch] = mark
        while len(self._marks) > _REMEMBERED:
            del self._marks[next(iter(self._marks))]

    def _require_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"{self._name} is closed")
