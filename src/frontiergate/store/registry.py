"""Which store a URL names."""

import os
import time
from collections.abc import Callable, Mapping

from frontiergate.config.store_url import SqliteUrl, read_store_url
from frontiergate.errors import ConfigError, StoreError
from frontiergate.store.protocol import Store
from frontiergate.store.redis import RedisStore
from frontiergate.store.sqlite import SqliteStore


def open_store(url: str, clock: Callable[[], float] = time.time, environ: Mapping[str, str] = os.environ) -> Store:
    """The store that `url` names; not opened yet. StoreError where it names none. Redis tells the time itself."""
    try:
        read = read_store_url(url)
    except ConfigError as error:
        raise StoreError(f"store: {error}") from error
    return SqliteStore(read.path, clock) if isinstance(read, SqliteUrl) else RedisStore(read, environ)
