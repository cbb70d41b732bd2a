"""API keys that the gate issues: 256 random bits, known to the store by their SHA-256 only (BYPASSES 46).

A key is looked up by the digest of the whole secret: no comparison depends on how much of a guess is right, and a
shared prefix means nothing.
"""

import base64
import hashlib
import secrets
from collections.abc import Awaitable, Callable
from typing import Protocol

from frontiergate.domain.evidence import Evidence
from frontiergate.domain.reason import Reason
from frontiergate.errors import CredentialError, StoreError

PREFIX = b"fg_"
_LENGTH = len(PREFIX) + 43  # base64url of 32 bytes, unpadded


class KeyRecord(Protocol):
    """What this room needs of the store's record of a key; the store's floor is this room's own, so it is not imported."""

    @property
    def id(self) -> str: ...
    @property
    def evidence(self) -> tuple[Evidence, ...]: ...
    @property
    def expires_at(self) -> float | None: ...
    @property
    def revoked_at(self) -> float | None: ...


KeyLookup = Callable[[str], Awaitable[KeyRecord | None]]


def mint() -> tuple[str, str]:
    """A new secret, and the digest to store in its stead."""
    secret = PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=")
    return secret.decode(), digest(secret)


def digest(secret: bytes) -> str:
    """SHA-256, hex. Unsalted and fast on purpose: 256 random bits cannot be guessed, and the look-up needs an index."""
    return hashlib.sha256(secret).hexdigest()


def is_api_key(credential: bytes) -> bool:
    """Whether this is meant as an API key of the gate."""
    return credential.startswith(PREFIX)


async def look_up(secret: bytes, lookup: KeyLookup, at: float) -> KeyRecord:
    """The live record of this key. Raises CredentialError."""
    if len(secret) != _LENGTH:
        raise _refused("The API key is not one of this gate.")
    try:
        record = await lookup(digest(secret))
    except StoreError as error:  # it is away, or what it holds of the key cannot be read
        raise CredentialError(Reason.GATE_STORE_UNAVAILABLE, "API keys cannot be checked right now; try again.") from error
    if record is None:
        raise _refused("The API key is not one of this gate.")
    if record.revoked_at is not None:
        raise _refused("The API key was revoked.")
    if record.expires_at is not None and record.expires_at <= at:
        raise CredentialError(Reason.CALLER_CREDENTIAL_EXPIRED, "The API key has expired.")
    return record


def _refused(message: str) -> CredentialError:
    return CredentialError(Reason.CALLER_CREDENTIAL_INVALID, message)
