"""A policy log replayed: what its entries add up to, by the rules that every store applies (effects).

It lies in the SQLite store's own tables, so that a million grants take disk and not memory.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any, Literal, TypeVar

import msgspec

from frontiergate.domain.vetting import Grant, GrantState
from frontiergate.errors import Conflict, NotFound, StoreError
from frontiergate.store import tables
from frontiergate.store.connection import translated
from frontiergate.store.effects import Thing, after
from frontiergate.store.protocol import Entry, KeyRecord, Pause, StoredDirective
from frontiergate.store.schema import bring_forward

T = TypeVar("T")
Table = Literal["directives", "pauses", "grants", "keys"]
TABLES: tuple[Table, ...] = ("directives", "pauses", "grants", "keys")

_SCRATCH = "in a temporary file"
_CACHE = 64 << 10  # KiB of pages in memory


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """Which log it is, where it stands, and how much there is of what it adds up to."""

    lineage: str
    epoch: int
    directives: int
    pauses: int
    grants: int
    keys: int


class Ledger:
    """Entries go in one after the other; what they add up to comes out in the order of its ids, which are as bytes are."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        """`connection` is to a file with our tables, in a transaction if they are to be kept; `name` is for errors."""
        self._connection = connection
        self._name = name
        self.epoch = tables.position(connection).epoch

    def append(self, entry: Entry) -> Thing | None:
        """What `entry` is about, as it is from then on; None: gone. Raises StoreError where `entry` cannot be the next."""
        if entry.epoch != self.epoch + 1:
            raise StoreError(f"the log has a gap: entry {entry.epoch} comes after entry {self.epoch}")
        with translated(self._name):
            try:
                now = after(entry, tables.look_up(self._connection, entry.change))
            except (Conflict, NotFound) as error:
                raise StoreError(f"entry {entry.epoch} of the log cannot follow those before it: {error}") from error
            tables.record(self._connection, entry, now)
        self.epoch = entry.epoch
        return now

    def entries(self) -> Iterator[Entry]:
        return self._read(tables.entries(self._connection, "epoch > 0 ORDER BY epoch"))

    def directives(self) -> Iterator[StoredDirective]:
        return self._read(tables.directives(self._connection))

    def pauses(self) -> Iterator[Pause]:
        return self._read(tables.pauses(self._connection))

    def grants(self, after: str = "", last: str | None = None) -> Iterator[Grant]:
        """Those with ids above `after`, up to and with `last`."""
        if last is None:
            return self._read(tables.grants(self._connection, "id > ? ORDER BY id", after))
        return self._read(tables.grants(self._connection, "id > ? AND id <= ? ORDER BY id", after, last))

    def issued_keys(self) -> Iterator[KeyRecord]:
        return self._read(tables.keys(self._connection))

    def live(self) -> Iterator[tuple[str, list[str]]]:
        """Every principal that ever had a grant, and the ids of its grants that are active or suspended."""
        query = "SELECT id FROM grants WHERE principal = ? AND state IN (?, ?) ORDER BY id"
        for principal in self._column("SELECT DISTINCT principal FROM grants"):
            yield principal, list(self._column(query, principal, GrantState.ACTIVE, GrantState.SUSPENDED))

    def histories(self) -> Iterator[tuple[str, list[int]]]:
        """Every directive that there ever was, and the epochs at which it changed."""
        for subject in self._column("SELECT DISTINCT subject FROM log WHERE subject GLOB 'directive/*'"):
            yield subject.removeprefix("directive/"), list(self._column("SELECT epoch FROM log WHERE subject = ? ORDER BY epoch", subject))

    def subjects(self, after: int) -> set[str]:
        """What the entries with an epoch above `after` are about, as `kind/name`."""
        return set(self._column("SELECT DISTINCT subject FROM log WHERE epoch > ?", after))

    def holding(self, lineage: str) -> Holding:
        return Holding(lineage=lineage, epoch=self.epoch, **{table: self.count(table) for table in TABLES})

    def count(self, table: Table) -> int:
        return int(next(self._column(f"SELECT count(*) FROM {table}")))  # noqa: S608 our own word

    def _column(self, query: str, *values: str | int) -> Iterator[Any]:
        with translated(self._name):
            for (value,) in self._connection.execute(query, values):
                yield value

    def _read(self, rows: Iterator[T]) -> Iterator[T]:
        with translated(self._name):
            yield from rows


@contextlib.contextmanager
def scratch() -> Iterator[Ledger]:
    """An empty ledger in a file that has no name, so that it is gone with the process. SQLITE_TMPDIR or TMPDIR says where."""
    with translated(_SCRATCH):
        connection = sqlite3.connect("", isolation_level=None)
    try:
        with translated(_SCRATCH):
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute(f"PRAGMA cache_size = -{_CACHE}")
            bring_forward(connection, _SCRATCH)
            connection.execute("BEGIN")  # one for all entries: nothing of it is ever to be found again
        yield Ledger(connection, _SCRATCH)
    finally:
        connection.close()
