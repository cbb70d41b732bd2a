"""Which store a URL names."""

import time
from collections.abc import Callable

from frontiergate.errors import StoreError
from frontiergate.store.protocol import Store
from frontiergate.store.sqlite import SqliteStore

_SQLITE = "sqlite://"


def open_store(url: str, clock: Callable[[], float] = time.time) -> Store:
    """The store of `sqlite:///absolute/path.db`; not opened yet. StoreError on any other URL."""
    path = url.removeprefix(_SQLITE)
    if path == url or not path.startswith("/") or not path.strip("/") or "\0" in path:
        raise StoreError(f"store {url!r} is not supported: write sqlite:///absolute/path.db")
    return SqliteStore(path, clock)
