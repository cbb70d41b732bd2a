"""Append-only files, one for each UTC day, that survive crashes, full disks and log rotation. For one thread."""

import datetime
import os
import pathlib
from collections.abc import Callable


class DayFile:
    """`<directory>/<prefix>-<YYYYMMDD>.jsonl`, readable by its owner only.

    Bytes handed to `write` are written in order, whole, to one file, however often the system takes only some of them or none.
    """

    def __init__(self, directory: pathlib.Path, prefix: str, clock: Callable[[], float]) -> None:
        self._directory = directory
        self._prefix = prefix
        self._clock = clock
        self._path = pathlib.Path()
        self._fd: int | None = None
        self._unwritten = bytearray()
        self._unsynced = False

    @property
    def unsynced(self) -> bool:
        return self._unsynced

    def ready(self) -> None:
        """Finish what was begun, then open today's file, or the one that took the place of one moved away. Raises OSError."""
        self._push()
        if self._fd is None or self._path != self._today() or not self._still_there(self._fd):
            self.close()
            self._open()

    def write(self, lines: bytes) -> None:
        """Call `ready` before. Where this raises OSError the lines are kept; `ready` goes on with them."""
        self._unwritten += lines
        self._push()

    def sync(self) -> None:
        if self._fd is not None and self._unsynced:
            os.fsync(self._fd)
            self._unsynced = False

    def close(self) -> None:
        """Sync and close; what could not be written is lost with the process."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            try:
                os.fsync(fd)
                self._unsynced = False
            finally:
                os.close(fd)

    def _push(self) -> None:
        while self._unwritten and self._fd is not None:
            self._unsynced = True
            del self._unwritten[: os.write(self._fd, self._unwritten)]

    def _today(self) -> pathlib.Path:
        day = datetime.datetime.fromtimestamp(self._clock(), datetime.UTC)
        return self._directory / f"{self._prefix}-{day:%Y%m%d}.jsonl"

    def _still_there(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), self._path.stat())
        except FileNotFoundError:
            return False

    def _open(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = self._today()
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(self._path, flags, 0o600)
        size = os.fstat(self._fd).st_size
        if size and os.pread(self._fd, 1, size - 1) != b"\n":  # a crash cut the last line: end it, so that ours starts its own
            self.write(b"\n")
        folder = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
