"""Stored JSON back into types; a row that somebody edited into nonsense is an error that names it."""

from typing import TypeVar

import msgspec
from msgspec.json import Decoder

from frontiergate.domain.directive import Directive
from frontiergate.domain.vetting import Grant
from frontiergate.errors import StoreError
from frontiergate.store.protocol import Change, KeyRecord, Pause, ReplicaReport, StoredDirective

T = TypeVar("T")

CHANGE: Decoder[Change] = Decoder(Change)
DIRECTIVE = Decoder(Directive)
GRANT = Decoder(Grant)
KEY = Decoder(KeyRecord)
PAUSE = Decoder(Pause)
REPORT = Decoder(ReplicaReport)
STORED_DIRECTIVE = Decoder(StoredDirective)

encode = msgspec.json.Encoder().encode


def decode(decoder: Decoder[T], body: bytes, what: str) -> T:
    """Raises StoreError, because what cannot be read cannot be enforced either (P2)."""
    try:
        return decoder.decode(body)
    except msgspec.DecodeError as error:
        raise StoreError(f"the store's {what} is unreadable ({error}): restore a backup, or remove that row by hand") from error
