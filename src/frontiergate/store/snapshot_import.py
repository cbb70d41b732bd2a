"""Puts a snapshot in the place of what a store holds: all of it or nothing, and under no gate's feet (docs/decisions/0016).

The log keeps its lineage and its epochs, so that a replica that enforced epoch n goes on at n.
"""

import shlex
from collections.abc import Mapping

from frontiergate.config.store_url import SqliteUrl, read_store_url
from frontiergate.errors import Conflict
from frontiergate.store.connection import connect, transaction, translated
from frontiergate.store.ledger import Ledger
from frontiergate.store.protocol import Position, Store
from frontiergate.store.registry import open_store
from frontiergate.store.schema import begin_anew
from frontiergate.store.snapshot import Snapshot
from frontiergate.store.snapshot_redis import put_into_redis
from frontiergate.store.survey import users
from frontiergate.store.tables import position

_BUSY = 2.0  # seconds that another process may keep the file locked


async def put_into(url: str, environ: Mapping[str, str], snapshot: Snapshot, replace: Position | None) -> Position:
    """Where the store's log stood before; `replace` is where a log stands that is to be given up. Raises StoreError."""
    store = open_store(url, environ=environ)
    try:
        await store.open()
        before = await _free(store, replace)
    finally:
        await store.close()
    read = read_store_url(url)
    if isinstance(read, SqliteUrl):
        _put_into_sqlite(read.path, snapshot, before)
    else:
        await put_into_redis(read, environ, snapshot, before)
    return before


async def _free(store: Store, replace: Position | None) -> Position:
    """Where the log stands. Conflict where it is to be kept, or a gate lives by it."""
    stands = await store.position()
    if stands.epoch and stands != replace:
        raise Conflict(
            f"the store holds a log already: {stands.lineage}, up to epoch {stands.epoch}. Name an empty store, or give that log up "
            f"for the snapshot's, for ever: --replace {shlex.quote(f'{stands.lineage}@{stands.epoch}')}"
        )
    using = await users(store)
    if using:
        raise Conflict(f"a gate is using the store ({', '.join(using)}): stop every gate on it, and repeat this")
    return stands


def _put_into_sqlite(path: str, snapshot: Snapshot, before: Position) -> None:
    """One transaction: SQLite undoes it if we die."""
    with translated(path):
        connection = connect(path, busy=_BUSY, synchronous="FULL")
        try:
            with transaction(connection, "IMMEDIATE"):
                if position(connection) != before:
                    raise Conflict("the store was changed in between; look again and repeat")
                begin_anew(connection, snapshot.head.lineage)
                for _ in snapshot.replay(Ledger(connection, path)):
                    pass
        finally:
            connection.close()
