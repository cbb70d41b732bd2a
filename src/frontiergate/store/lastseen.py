"""The last policy seen, kept beside the process: a restart while the store is away still enforces it (DESIGN 6).

Lines of JSON: a head, so many directives, then the entries that came since; with ten thousand directives, one more costs a line.
"""

import os
import pathlib
from collections.abc import Iterable, Sequence

import msgspec

from frontiergate.errors import StoreError, StoreUnavailable
from frontiergate.store.protocol import Entry, Pause, PolicyState, StoredDirective
from frontiergate.store.replay import concerns_policy, replayed

_LONGEST = 1000  # entries after which the file is written anew


class _Head(msgspec.Struct, frozen=True):
    epoch: int
    lineage: str
    pauses: tuple[Pause, ...]
    directives: int


_HEAD = msgspec.json.Decoder(_Head)
_DIRECTIVE = msgspec.json.Decoder(StoredDirective)
_ENTRY = msgspec.json.Decoder(Entry)
_encode = msgspec.json.Encoder().encode


class LastSeen:
    """One worker's file. All of it does I/O: call it on a thread."""

    def __init__(self, path: str) -> None:
        self._path = pathlib.Path(path)
        self._entries: int | None = None  # in the file; None where the file is not known to be whole

    def load(self) -> PolicyState | None:
        """None if there is no such file. StoreError where it cannot be read: half a policy is not enforced."""
        try:
            lines = self._path.read_bytes().split(b"\n")
            head = _HEAD.decode(lines[0])
            count = head.directives + 1
            if len(lines) <= count:
                raise StoreError("it is cut off")
            state = PolicyState(head.epoch, tuple(_DIRECTIVE.decode(line) for line in lines[1:count]), head.pauses, head.lineage)
            return replayed(state, [_ENTRY.decode(line) for line in lines[count:-1]])  # what no newline ends was being written
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"the last policy seen cannot be read from {self._path}: {error.strerror}") from error
        except (msgspec.DecodeError, StoreError) as error:
            raise StoreError(
                f"the last policy seen in {self._path} is unreadable ({error}): remove the file and start with the store"
            ) from error

    def keep(self, state: PolicyState, entries: Sequence[Entry] | None) -> None:
        """Have `state` in the file, durably; `entries` are what came since the last time, None where that is not known.

        The epoch of entries that the policy does not show is not kept. Raises StoreUnavailable.
        """
        told = None if entries is None else [entry for entry in entries if concerns_policy(entry)]
        known, self._entries = self._entries, None
        try:
            if told is None or known is None or known + len(told) > _LONGEST:
                self._replace(state)
                self._entries = 0
            else:
                if told:
                    self._append(told)
                self._entries = known + len(told)
        except OSError as error:
            raise StoreUnavailable(f"the last policy seen cannot be kept in {self._path}: {error.strerror}; check the folder") from error

    def _append(self, entries: Iterable[Entry]) -> None:
        """A crash leaves whole lines and a last one without an end, which counts for nothing: it was not acknowledged."""
        with open(self._path, "ab") as file:
            file.write(b"".join(_encode(entry) + b"\n" for entry in entries))
            file.flush()
            os.fsync(file.fileno())

    def _replace(self, state: PolicyState) -> None:
        """A crash leaves the old file or the new one."""
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        with open(draft, "wb", opener=_private) as file:
            file.write(_encode(_Head(state.epoch, state.lineage, state.pauses, len(state.directives))) + b"\n")
            for stored in state.directives:  # one by one: the loop's thread can have its turn in between
                file.write(_encode(stored) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
