"""The last policy seen, kept beside the process: a restart while the store is away still enforces it, and one after the store went
back notices that (DESIGN 6; decision 0018).

Lines of JSON: a head, so many directives, then how the log went on; with ten thousand directives, one more costs a line.
"""

import os
import pathlib
from collections.abc import Iterable, Sequence

import msgspec

from frontiergate.errors import StoreError, StoreUnavailable
from frontiergate.store.lineage import mark_of
from frontiergate.store.protocol import Entry, Pause, PolicyState, StoredDirective
from frontiergate.store.replay import concerns_policy, replayed

_MEND = "put it right from a backup, or remove it, if the store is known not to have lost anything since"
_LONGEST = 1000  # entries after which the file is written anew


class Seen(msgspec.Struct, frozen=True):
    """A policy, and the mark of the last entry that led to it (`lineage.mark_of`); None where that is not known."""

    state: PolicyState
    mark: str | None


class _Head(msgspec.Struct, frozen=True):
    epoch: int
    lineage: str
    pauses: tuple[Pause, ...]
    directives: int
    mark: str | None


class _Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far the log went on. Of entries that the policy does not show, such as those of grants, it is only known that they came."""

    epoch: int
    mark: str | None
    entry: Entry | None = None


_HEAD = msgspec.json.Decoder(_Head)
_DIRECTIVE = msgspec.json.Decoder(StoredDirective)
_STEP = msgspec.json.Decoder(_Step)
_encode = msgspec.json.Encoder().encode


class LastSeen:
    """One worker's file. All of it does I/O: call it on a thread."""

    def __init__(self, path: str) -> None:
        self._path = pathlib.Path(path)
        self._steps: int | None = None  # in the file; None where the file is not known to be whole

    def load(self) -> Seen | None:
        """None if there is no such file. StoreError where it cannot be read: half a policy is not enforced."""
        try:
            lines = self._path.read_bytes().split(b"\n")
            head = _HEAD.decode(lines[0])
            count = head.directives + 1
            if len(lines) <= count:
                raise StoreError("it is cut off")
            state = PolicyState(head.epoch, tuple(_DIRECTIVE.decode(line) for line in lines[1:count]), head.pauses, head.lineage)
            steps = [_STEP.decode(line) for line in lines[count:-1]]  # what no newline ends was being written
            if not steps:
                return Seen(state, head.mark)
            state = replayed(state, [step.entry for step in steps if step.entry is not None])
            return Seen(msgspec.structs.replace(state, epoch=steps[-1].epoch), steps[-1].mark)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"the last policy seen cannot be read from {self._path}: {error.strerror}; {_MEND}") from error
        except (UnicodeDecodeError, msgspec.DecodeError, StoreError) as error:
            raise StoreError(f"the last policy seen in {self._path} is unreadable ({error}): {_MEND}") from error

    def keep(self, seen: Seen, entries: Sequence[Entry] | None) -> None:
        """Have `seen` in the file, durably; `entries` are what came since the last time, None where that is not known.

        Raises StoreUnavailable.
        """
        steps = None if entries is None else _steps(seen, entries)
        known, self._steps = self._steps, None
        try:
            if steps is None or known is None or known + len(steps) > _LONGEST:
                self._replace(seen)
                self._steps = 0
            else:
                self._append(steps)
                self._steps = known + len(steps)
        except OSError as error:
            raise StoreUnavailable(f"the last policy seen cannot be kept in {self._path}: {error.strerror}; check the folder") from error

    def _append(self, steps: Iterable[_Step]) -> None:
        """A crash leaves whole lines and a last one without an end, which counts for nothing: it was not acknowledged."""
        with open(self._path, "ab") as file:
            file.write(b"".join(_encode(step) + b"\n" for step in steps))
            file.flush()
            os.fsync(file.fileno())

    def _replace(self, seen: Seen) -> None:
        """A crash leaves the old file or the new one."""
        state = seen.state
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        with open(draft, "wb", opener=_private) as file:
            file.write(_encode(_Head(state.epoch, state.lineage, state.pauses, len(state.directives), seen.mark)) + b"\n")
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


def _steps(seen: Seen, entries: Sequence[Entry]) -> list[_Step]:
    steps = [_Step(entry.epoch, mark_of(entry), entry) for entry in entries if concerns_policy(entry)]
    if entries and not concerns_policy(entries[-1]):
        steps.append(_Step(seen.state.epoch, seen.mark))
    return steps


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
