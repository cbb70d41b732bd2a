"""A snapshot of a store: one file, the same bytes for the same log, signed (docs/decisions/0016).

    {"format": "frontiergate snapshot", "lineage": …, "epoch": …, …, "version": 1, "signer": …}
    {"entry": …}       the whole log, in order
    {"directive": …}   what it adds up to: all that is in force, by kind and id
    {"pause": …}
    {"grant": …}
    {"key": …}         digests, as everywhere
    {"signature": …}   over all lines above

The log alone would do: what it adds up to is there so that a version that reads the log in another way notices. One line is in
memory at a time. A change of anything in it is a new VERSION.
"""

import base64
import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from frontiergate.errors import StoreError
from frontiergate.store.connection import make_name_durable
from frontiergate.store.effects import Thing
from frontiergate.store.ledger import Holding, Ledger
from frontiergate.store.protocol import Entry
from frontiergate.store.rows import encode
from frontiergate.store.snapshot_keys import SigningKey, VerifyingKey

VERSION = 1
_LONGEST_HEAD = 4096
_SIGNATURE_LINE = len(b'{"signature":""}\n') + 88  # 64 bytes in base64
_CHUNK = 1 << 20


class Head(Holding, frozen=True, kw_only=True, tag_field="format", tag="frontiergate snapshot"):
    """The first line: what there is, in which version of this format, and whose signature is at the end."""

    version: int
    signer: str


class _Version(msgspec.Struct, frozen=True, tag_field="format", tag="frontiergate snapshot"):
    """What every version's first line has."""

    version: int


class _EntryLine(msgspec.Struct, frozen=True):
    entry: Entry


class _Signature(msgspec.Struct, frozen=True):
    signature: str


_HEAD = msgspec.json.Decoder(Head)
_VERSION = msgspec.json.Decoder(_Version)
_ENTRY = msgspec.json.Decoder(_EntryLine)
_SIGNATURE = msgspec.json.Decoder(_Signature)


def write(path: Path, ledger: Ledger, lineage: str, key: SigningKey) -> Head:
    """Write `ledger` to a new file that only its owner may read, whole or not at all. Raises StoreError."""
    head = Head(**msgspec.structs.asdict(ledger.holding(lineage)), version=VERSION, signer=key.name)
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(draft, "xb", opener=_private) as file:
            _write(file, head, ledger, key)
            file.flush()
            os.fsync(file.fileno())
        require_absent(path)
        draft.rename(path)
        make_name_durable(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}; check the folder and its free space") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()
    return head


def require_absent(path: Path) -> None:
    """Raises StoreError: an older snapshot may be the only one."""
    if os.path.lexists(path):
        raise StoreError(f"{path} exists: name another file, or move that one away")


def _write(file: BinaryIO, head: Head, ledger: Ledger, key: SigningKey) -> None:
    digest = hashlib.sha256()

    def put(line: bytes) -> None:
        file.write(line)
        digest.update(line)

    put(_line(head))
    for entry in ledger.entries():
        put(_line(_EntryLine(entry)))
    for line in _in_force(ledger):
        put(line)
    file.write(signature_line(key, digest.digest()))


def signature_line(key: SigningKey, digest: bytes) -> bytes:
    """The last line, where `digest` is that of all lines before."""
    return _line(_Signature(base64.b64encode(key.sign(digest)).decode()))


def _in_force(ledger: Ledger) -> Iterator[bytes]:
    """The lines of what the log adds up to."""
    for stored in ledger.directives():
        yield _line({"directive": stored})
    for pause in ledger.pauses():
        yield _line({"pause": pause})
    for grant in ledger.grants():
        yield _line({"grant": grant})
    for key in ledger.issued_keys():
        yield _line({"key": key})


def _line(content: object) -> bytes:
    return encode(content) + b"\n"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


class Snapshot:
    """A file whose signature is good. It is read again from the beginning, and held to what was signed."""

    def __init__(self, file: BinaryIO, path: Path, head: Head, digest: bytes) -> None:
        self._file = file
        self._path = path
        self._signed = digest
        self.head = head

    def replay(self, ledger: Ledger) -> Iterator[tuple[Entry, Thing | None]]:
        """Put every entry into the empty `ledger`: each with what its thing is from then on, None: gone.

        Raises StoreError where the whole is not what this version makes of it; what was yielded before must then not be kept.
        """
        digest = hashlib.sha256()
        number = 0

        def following() -> bytes:
            nonlocal number
            number += 1
            line = self._file.readline()
            digest.update(line)
            return line

        with _readable(self._path):
            self._file.seek(0)
            following()
        for _ in range(self.head.epoch):
            with _readable(self._path):
                line = following()
            entry = self._entry(line, number)
            yield entry, ledger.append(entry)
        for expected in _in_force(ledger):
            with _readable(self._path):
                line = following()
            if line != expected:
                raise StoreError(
                    f"{self._path}, line {number}: it is in force otherwise than its log says; import it with the version that made it"
                )
        if digest.digest() != self._signed:
            raise StoreError(f"{self._path} goes on behind its log, or was changed while it was read: export it again")

    def _entry(self, line: bytes, number: int) -> Entry:
        """What is not understood to the last byte would be lost."""
        try:
            read = _ENTRY.decode(line)
        except msgspec.DecodeError as error:
            raise StoreError(f"{self._path}, line {number}: no entry that this version can read ({error})") from error
        if _line(read) != line:
            raise StoreError(f"{self._path}, line {number}: more than this version knows; import it with the version that made it")
        return read.entry


@contextlib.contextmanager
def opened(path: Path, key: VerifyingKey) -> Iterator[Snapshot]:
    """The snapshot in the file, once its signature is found good. Raises StoreError."""
    with contextlib.ExitStack() as stack:
        with _readable(path):
            file = stack.enter_context(open(path, "rb"))
            head, digest = _verified(file, path, key)
        yield Snapshot(file, path, head, digest)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}; name a snapshot's file") from error


def _verified(file: BinaryIO, path: Path, key: VerifyingKey) -> tuple[Head, bytes]:
    """The head, and the digest of what is signed. Nothing but versions is believed before that is proved."""
    first = file.readline(_LONGEST_HEAD)
    try:
        version = _VERSION.decode(first).version
    except msgspec.DecodeError as error:
        raise StoreError(f"{path} is no snapshot of a store: name a file that `frontiergate store export` wrote") from error
    if version > VERSION:
        raise StoreError(f"{path} was made by a newer Frontier Gate (snapshot version {version}; this one knows {VERSION}): upgrade first")
    end = max(0, file.seek(0, os.SEEK_END) - _SIGNATURE_LINE)
    file.seek(end)
    last = file.read()
    try:
        signature = base64.b64decode(_SIGNATURE.decode(last.rpartition(b"\n")[0]).signature, validate=True)
    except (msgspec.DecodeError, ValueError) as error:
        raise StoreError(f"{path} has no signature at its end: it is cut off, or something was added; copy or export it again") from error
    digest = digest_of(file, end)
    try:
        head = _HEAD.decode(first)
    except msgspec.DecodeError as error:
        raise StoreError(f"{path} was changed after it was signed: its first line cannot be read ({error})") from error
    if not key.signed(digest, signature):
        if head.signer != key.name:
            raise StoreError(f"{path} is signed with key {head.signer}, and {key.name} was named: name the public key of its signer")
        raise StoreError(f"{path} was changed after it was signed with key {key.name}: copy or export it again")
    return head, digest


def digest_of(file: BinaryIO, end: int) -> bytes:
    """SHA-256 of the bytes before `end`."""
    digest = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(min(_CHUNK, end - file.tell())):
        digest.update(chunk)
    return digest.digest()
