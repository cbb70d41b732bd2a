"""Takes a snapshot of a store, at one epoch, while gates may go on using it."""

import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from frontiergate.config.store_url import SqliteUrl, read_store_url
from frontiergate.errors import StoreError
from frontiergate.store.ledger import scratch
from frontiergate.store.protocol import Store
from frontiergate.store.registry import open_store
from frontiergate.store.snapshot import Head, require_absent, write
from frontiergate.store.snapshot_keys import SigningKey
from frontiergate.store.survey import survey, things


@contextlib.asynccontextmanager
async def existing(url: str, environ: Mapping[str, str]) -> AsyncIterator[Store]:
    """The store that `url` names: looking at one must not make it. Raises StoreError."""
    store = open_store(url, environ=environ)
    _require_file(url)
    try:
        yield store
    finally:
        await store.close()


def _require_file(url: str) -> None:
    read = read_store_url(url)
    if isinstance(read, SqliteUrl) and not os.path.exists(read.path):
        raise StoreError(f"store {read.path}: there is no such file; name the right one in `store`")


async def export(store: Store, path: Path, key: SigningKey, *, from_log: bool) -> Head:
    """Write the snapshot; `from_log`: also where the store holds something else than its log adds up to. Raises StoreError."""
    require_absent(path)
    with scratch() as ledger:
        found = await survey(store, ledger, *(() if from_log else (things,)))
        if found.differences:
            raise StoreError(
                f"the store is not what its log adds up to: {found.differences[0]}. `frontiergate store check` tells the rest; "
                "--from-log exports what the log says"
            )
        return write(path, ledger, found.holding.lineage, key)
