"""API keys (BYPASSES 46)."""

import asyncio
import hashlib
import re

import pytest

from frontiergate.domain.reason import Reason
from frontiergate.errors import CredentialError, StoreUnavailable
from frontiergate.identity.apikey import digest, is_api_key, look_up, mint
from frontiergate.store.protocol import KeyRecord

NOW = 1_800_000_000.0


def record(secret: str, **changes: float | None) -> KeyRecord:
    return KeyRecord(id="k_1", sha256=digest(secret.encode()), name="ci", created_at=NOW, **changes)  # type: ignore[arg-type]


def look_among(secret: str, *records: KeyRecord, at: float = NOW) -> KeyRecord:
    async def lookup(sha256: str) -> KeyRecord | None:
        return next((known for known in records if known.sha256 == sha256), None)

    found = asyncio.run(look_up(secret.encode(), lookup, at))
    assert isinstance(found, KeyRecord)
    return found


def refusal(secret: str, *records: KeyRecord, at: float = NOW) -> Reason:
    with pytest.raises(CredentialError) as caught:
        look_among(secret, *records, at=at)
    assert secret not in str(caught.value)
    return caught.value.reason


def test_a_minted_key_is_long_random_text_known_by_its_digest() -> None:
    secret, sha256 = mint()
    assert re.fullmatch(r"fg_[A-Za-z0-9_-]{43}", secret)
    assert sha256 == hashlib.sha256(secret.encode()).hexdigest()
    assert mint()[0] != secret
    assert is_api_key(secret.encode())
    assert not is_api_key(b"eyJhbGciOiJIUzI1NiJ9.e30.x")


def test_a_key_is_found_by_the_whole_secret_only() -> None:
    secret, _ = mint()
    assert look_among(secret, record(secret)).id == "k_1"
    for other in (secret[:-1], secret + "A", secret[:-1] + ("A" if secret[-1] != "A" else "B"), "fg_", mint()[0]):
        assert refusal(other, record(secret)) is Reason.CALLER_CREDENTIAL_INVALID


def test_a_revoked_key_is_refused() -> None:
    secret, _ = mint()
    assert refusal(secret, record(secret, revoked_at=NOW + 5)) is Reason.CALLER_CREDENTIAL_INVALID


def test_a_key_ends_at_its_expiry() -> None:
    secret, _ = mint()
    assert look_among(secret, record(secret, expires_at=NOW + 1)).expires_at == NOW + 1
    assert refusal(secret, record(secret, expires_at=NOW)) is Reason.CALLER_CREDENTIAL_EXPIRED


def test_a_lost_store_is_not_the_callers_fault() -> None:
    async def lost(_sha256: str) -> KeyRecord | None:
        raise StoreUnavailable("the disk is gone")

    with pytest.raises(CredentialError) as caught:
        asyncio.run(look_up(mint()[0].encode(), lost, NOW))
    assert caught.value.reason is Reason.GATE_STORE_UNAVAILABLE
