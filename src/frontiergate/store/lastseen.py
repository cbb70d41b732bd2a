"""The last policy seen, kept beside the process: a restart while the store is away still enforces it (DESIGN 6)."""

import os
import pathlib

import msgspec

from frontiergate.errors import StoreError, StoreUnavailable
from frontiergate.store.protocol import PolicyState

_decoder = msgspec.json.Decoder(PolicyState)


def save(path: str, state: PolicyState) -> None:
    """Replace the file whole: a crash leaves the old one or the new one. One file for each worker."""
    target = pathlib.Path(path)
    draft = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        with open(draft, "wb", opener=_private) as file:
            file.write(msgspec.json.encode(state))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise StoreUnavailable(f"the last policy seen cannot be kept in {path}: {error.strerror}; check the folder") from error


def load(path: str) -> PolicyState | None:
    """None if there is no such file. StoreError where it cannot be read: half a policy is not enforced."""
    try:
        return _decoder.decode(pathlib.Path(path).read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"the last policy seen cannot be read from {path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise StoreError(f"the last policy seen in {path} is unreadable ({error}): remove the file and start with the store") from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
