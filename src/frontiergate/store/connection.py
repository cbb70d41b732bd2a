"""Opening SQLite files, short transactions, and its errors in our words."""

import contextlib
import os
import pathlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import Literal

from frontiergate.errors import StoreError, StoreUnavailable

_WHAT_TO_DO = {
    sqlite3.SQLITE_BUSY: "another process kept it locked; try again, and look for a backup or a shell that holds it",
    sqlite3.SQLITE_LOCKED: "another process kept it locked; try again, and look for a backup or a shell that holds it",
    sqlite3.SQLITE_READONLY: "it cannot be written; give the gate's user write permission on the file and its folder",
    sqlite3.SQLITE_FULL: "the disk is full; free some space",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that the folder exists and that the gate's user may write there",
    sqlite3.SQLITE_CORRUPT: "it is damaged; restore a backup (or try `sqlite3 FILE .recover`), with the gate stopped",
    sqlite3.SQLITE_NOTADB: "it is not a SQLite database; name another file in `store`, or restore a backup",
    sqlite3.SQLITE_IOERR: "the disk does not read or write; look at the system's log",
}
_SWITCH_TO_WAL = 5.0  # seconds


@contextlib.contextmanager
def translated(path: str) -> Iterator[None]:
    """Let no exception of sqlite3 out: StoreUnavailable for what the surroundings did, StoreError for values it cannot hold."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the extended codes carry the primary one in their low byte
        raise StoreUnavailable(f"store {path}: {_WHAT_TO_DO.get(code, 'it could not be used')} ({error})") from error
    except OSError as error:
        raise StoreUnavailable(f"store {path}: {error.strerror}; check that it exists and may be written") from error
    except (UnicodeEncodeError, OverflowError) as error:
        raise StoreError(f"store {path}: a value cannot be stored: {error}") from error


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection, mode: Literal["DEFERRED", "IMMEDIATE"]) -> Iterator[None]:
    """All or nothing. DEFERRED reads one snapshot; IMMEDIATE is the only writer."""
    connection.execute(f"BEGIN {mode}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite rolls back by itself after some errors
            connection.execute("ROLLBACK")
        raise


def connect(
    path: str,
    *,
    busy: float,
    synchronous: Literal["FULL", "NORMAL"],
    require: Callable[[sqlite3.Connection, str], None] = lambda *_: None,
) -> sqlite3.Connection:
    """A connection in WAL mode that waits up to `busy` seconds for another writer. Every commit by FULL is on disk before it returns.

    `require` looks at the file before anything in it is changed.
    """
    connection = sqlite3.connect(path, timeout=busy, isolation_level=None, check_same_thread=False)
    try:
        require(connection, path)
        _use_wal(connection)
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
    except BaseException:
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    """SQLite does not wait for its lock when it changes the journal's mode: processes that start together would fail."""
    deadline = time.monotonic() + _SWITCH_TO_WAL
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def create(path: str) -> None:
    """Make an empty file that only its owner may read, if there is none, and its name durable.

    Never opens an existing file: closing it again would drop the locks that this process holds on it through SQLite
    (sqlite.org/howtocorrupt.html, 2.2).
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return
    make_name_durable(pathlib.Path(path))


def make_name_durable(path: pathlib.Path) -> None:
    """A file's name is in its folder, which has to reach the disk too."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def identity(path: str) -> tuple[int, int]:
    """Which file has this name now. A backup moved into its place is another file, while we would go on reading the old one."""
    status = os.stat(path)
    return status.st_dev, status.st_ino


class Watch:
    """Notices commits by any other connection, of this process or another, without asking the disk.

    `PRAGMA data_version` and one stat cost 15 µs together, so it lives on the event loop's thread.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: tuple[int, int] | None = None
        self._connection: sqlite3.Connection | None = None
        self._version = 0

    def moved(self) -> bool:
        """Whether something may have been committed since the last call; True at first and where it cannot be told."""
        with translated(self._path):
            file = identity(self._path)
            if self._connection is None or file != self._file:
                self.close()
                self._connection = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
                self._file = file
            try:
                (version,) = self._connection.execute("PRAGMA data_version").fetchone()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                    return True
                raise
            moved: bool = version != self._version
            self._version = version
            return moved

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._version = 0  # SQLite's is never 0
