"""An issuer's keys: filtered, refreshed, bounded, given up in time (BYPASSES 37, 42)."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from frontiergate.domain.reason import Reason
from frontiergate.errors import ConfigError, CredentialError
from frontiergate.identity.jwks import Key, KeySet, read_keys
from tests.fixtures.idp import IdentityProvider, KeyServer, b64, jwk_of, new_private_key, rsa_key

INVALID, UNAVAILABLE = Reason.CALLER_CREDENTIAL_INVALID, Reason.GATE_IDENTITY_UNAVAILABLE
USUAL = {"kid": "k", "use": "sig", "alg": "RS256"}


class Clock:
    """Goes where the test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Keeper:
    """A key set with a hand-driven clock; `removed` collects what it reports."""

    def __init__(self, idp: IdentityProvider, jwks: str, **settings: Any) -> None:
        self.clock = Clock()
        self.removed: list[frozenset[str]] = []
        self.lost_some = asyncio.Event()
        self.set = KeySet(idp.config(jwks, keys_refresh=300.0, keys_max_age=3600.0, **settings), self._lost, self.clock)

    def _lost(self, identities: frozenset[str]) -> None:
        self.removed.append(identities)
        self.lost_some.set()

    async def reason(self, kid: str | None, alg: str = "RS256") -> Reason:
        with pytest.raises(CredentialError) as caught:
            await self.set.key(kid, alg)
        return caught.value.reason


def served(test: Callable[[IdentityProvider, KeyServer, Keeper], Awaitable[None]]) -> None:
    """Run `test` with a provider of one key, k1, that serves its key set over HTTP."""
    idp = IdentityProvider()
    idp.add_key("k1")
    with idp.serving() as server:

        async def run() -> None:
            keeper = Keeper(idp, server.url)
            try:
                await test(idp, server, keeper)
            finally:
                await keeper.set.stop()

        asyncio.run(run())


def keys_of(*entries: object) -> list[Key]:
    return read_keys(json.dumps({"keys": entries}).encode())


@pytest.mark.parametrize("algorithm", ["RS256", "PS512", "ES256", "ES384", "ES512", "EdDSA"])
def test_a_key_fits_its_own_algorithm_only(algorithm: str) -> None:
    private = rsa_key() if algorithm[1] == "S" and algorithm[0] in "RP" else new_private_key(algorithm)
    (bound,) = keys_of(jwk_of(private, kid="k", use="sig", alg=algorithm))
    (free,) = keys_of(jwk_of(private, kid="k"))
    others = {"RS256", "RS384", "PS256", "ES256", "ES384", "ES512", "EdDSA", "HS256", "none"} - {algorithm}
    assert bound.fits(algorithm)
    assert free.fits(algorithm)
    assert not any(bound.fits(other) for other in others)
    family = {"R": "RP", "P": "RP"}.get(algorithm[0])
    assert not any(free.fits(other) for other in others if family is None or other[0] not in family)


@pytest.mark.parametrize(
    "entry",
    [
        {**jwk_of(rsa_key()), **USUAL, "use": "enc"},
        {**jwk_of(rsa_key()), **USUAL, "use": None},
        {**jwk_of(rsa_key()), **USUAL, "key_ops": ["encrypt"]},
        {**jwk_of(rsa_key()), **USUAL, "key_ops": "verify"},
        {**jwk_of(rsa_key()), **USUAL, "kid": 7},
        {**jwk_of(rsa_key()), **USUAL, "alg": ["RS256"]},
        {**jwk_of(rsa_key()), **USUAL, "n": "!!!"},
        {**jwk_of(rsa_key()), **USUAL, "n": 7},
        {**jwk_of(rsa_key()), **USUAL, "kty": "EC"},
        {**jwk_of(rsa_key()), **USUAL, "kty": None},
        {**jwk_of(new_private_key("RS256", 1024)), **USUAL},
        {**jwk_of(new_private_key("ES256")), "kid": "k", "crv": "P-384"},
        {**jwk_of(new_private_key("ES256")), "kid": "k", "y": b64(bytes(32))},
        {"kty": "oct", "k": b64(b"secret" * 8), "kid": "k", "alg": "HS256"},
        {"kty": "OKP", "crv": "X25519", "x": b64(bytes(32)), "kid": "k"},
        {"kty": "EC", "kid": "k"},
        {},
        "key",
        None,
    ],
)
def test_a_key_that_is_not_for_verifying_is_left_out(entry: object) -> None:
    assert [key.kid for key in keys_of(entry, {**jwk_of(rsa_key(1)), "kid": "good"})] == ["good"]


def test_a_published_private_key_is_left_out() -> None:
    private = new_private_key("EdDSA")
    assert keys_of({**jwk_of(private), "kid": "k", "d": b64(private.private_bytes_raw())}) == []


def test_a_kid_that_two_keys_have_is_nobodys() -> None:
    twice = [{**jwk_of(rsa_key(n)), **USUAL} for n in range(2)]
    assert [key.kid for key in keys_of(*twice, {**jwk_of(rsa_key(2)), "kid": "other"})] == ["other"]


@pytest.mark.parametrize(
    "document", [b"", b"{}", b"[]", b'{"keys": {}}', b'{"keys": null}', b"\xff", b"<html>", b'{"keys": [], "keys": []}', b"[" * 100_000]
)
def test_what_is_not_a_key_set_is_an_error(document: bytes) -> None:
    with pytest.raises(ValueError):
        read_keys(document)


@pytest.mark.parametrize(
    "jwks", ["http://idp.example/jwks.json", "ftp://idp.example/x", "file:///etc/passwd", "http://127.0.0.1.evil.example/"]
)
def test_keys_are_not_fetched_where_anybody_could_answer(jwks: str) -> None:
    with pytest.raises(ConfigError, match=r"https://idp\.example"):
        Keeper(IdentityProvider(), jwks)


def test_an_https_url_and_a_file_are_accepted() -> None:
    Keeper(IdentityProvider(), "https://idp.example/jwks.json")
    Keeper(IdentityProvider(), "keys/jwks.json")


def test_a_known_key_is_served_without_asking_again() -> None:
    async def test(_idp: IdentityProvider, server: KeyServer, keeper: Keeper) -> None:
        await keeper.set.start()
        await keeper.set.start()
        requests = server.requests
        for _ in range(5):
            assert (await keeper.set.key("k1", "RS256")).kid == "k1"
        assert server.requests == requests

    served(test)


def test_many_callers_share_one_fetch() -> None:
    async def test(_idp: IdentityProvider, server: KeyServer, keeper: Keeper) -> None:
        server.gate = threading.Event()
        waiting = [asyncio.create_task(keeper.set.key("k1", "RS256")) for _ in range(50)]
        await asyncio.to_thread(server.asked.wait, 10)
        waiting[0].cancel()
        server.gate.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert {key.kid for key in results[1:] if isinstance(key, Key)} == {"k1"}
        assert server.requests == 1

    served(test)


def test_a_new_key_is_found_when_a_token_names_it() -> None:
    async def test(idp: IdentityProvider, server: KeyServer, keeper: Keeper) -> None:
        await keeper.set.refresh()
        idp.add_key("k2")
        keeper.clock.now += 6
        assert (await keeper.set.key("k2", "RS256")).kid == "k2"
        assert server.requests == 2

    served(test)


def test_unknown_kids_cause_few_fetches() -> None:
    async def test(_idp: IdentityProvider, server: KeyServer, keeper: Keeper) -> None:
        await keeper.set.refresh()
        for nth in range(100):
            assert await keeper.reason(f"forged-{nth}") is INVALID
        assert server.requests == 1
        keeper.clock.now += 6
        for nth in range(100):
            assert await keeper.reason(f"forged-{nth}") is INVALID
        assert server.requests == 2

    served(test)


def test_a_kid_that_the_issuer_does_not_have_is_not_asked_for_again_at_once() -> None:
    async def test(_idp: IdentityProvider, server: KeyServer, keeper: Keeper) -> None:
        await keeper.set.refresh()
        for _ in range(5):
            keeper.clock.now += 6
            assert await keeper.reason("gone") is INVALID
        assert server.requests == 2
        keeper.clock.now += 60
        assert await keeper.reason("gone") is INVALID
        assert server.requests == 3

    served(test)


def test_the_memory_of_absent_kids_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontiergate.identity.jwks._ABSENT_KEPT", 3)

    async def test(_idp: IdentityProvider, _server: KeyServer, keeper: Keeper) -> None:
        for nth in range(10):
            keeper.clock.now += 6
            assert await keeper.reason(f"forged-{nth}") is INVALID
        assert len(keeper.set._absent) == 3

    served(test)


def test_a_known_key_of_another_algorithm_asks_nobody() -> None:
    async def test(_idp: IdentityProvider, server: KeyServer, keeper: Keeper) -> None:
        await keeper.set.refresh()
        keeper.clock.now += 60
        assert await keeper.reason("k1", "ES256") is INVALID
        assert server.requests == 1

    served(test)


def test_a_removed_key_is_reported_and_no_longer_served() -> None:
    async def test(idp: IdentityProvider, _server: KeyServer, keeper: Keeper) -> None:
        key = await keeper.set.key("k1", "RS256")
        idp.remove_key("k1")
        idp.add_key("k2", "EdDSA")
        await keeper.set.refresh()
        assert keeper.removed == [frozenset({key.identity})]
        assert await keeper.reason("k1") is INVALID

    served(test)


def test_a_key_replaced_under_its_kid_is_another_key() -> None:
    async def test(idp: IdentityProvider, _server: KeyServer, keeper: Keeper) -> None:
        before = await keeper.set.key("k1", "RS256")
        idp.remove_key("k1")
        idp.add_key("k1", private=rsa_key(5))
        await keeper.set.refresh()
        assert keeper.removed == [frozenset({before.identity})]
        assert (await keeper.set.key("k1", "RS256")).identity != before.identity

    served(test)


def test_an_issuer_that_publishes_no_keys_any_more_is_believed() -> None:
    async def test(idp: IdentityProvider, _server: KeyServer, keeper: Keeper) -> None:
        await keeper.set.refresh()
        idp.remove_key("k1")
        await keeper.set.refresh()
        assert len(keeper.removed) == 1
        assert await keeper.reason("k1") is INVALID

    served(test)


def test_keys_outlive_an_outage_until_they_are_too_old() -> None:
    async def test(_idp: IdentityProvider, server: KeyServer, keeper: Keeper) -> None:
        await keeper.set.refresh()
        server.down = True
        keeper.clock.now += 3600
        await keeper.set.refresh()
        assert (await keeper.set.key("k1", "RS256")).kid == "k1"
        assert await keeper.reason("k2") is UNAVAILABLE
        assert keeper.removed == []
        keeper.clock.now += 1
        assert await keeper.reason("k1") is UNAVAILABLE
        assert len(keeper.removed) == 1
        server.down = False
        keeper.clock.now += 6
        assert (await keeper.set.key("k1", "RS256")).kid == "k1"

    served(test)


def test_an_issuer_never_reached_is_unavailable_and_not_asked_all_the_time() -> None:
    async def test(_idp: IdentityProvider, server: KeyServer, keeper: Keeper) -> None:
        server.down = True
        await keeper.set.start()
        requests = server.requests
        for _ in range(10):
            assert await keeper.reason("k1") is UNAVAILABLE
            assert await keeper.reason(None) is UNAVAILABLE
        assert server.requests == requests

    served(test)


def test_no_answer_but_a_plain_key_set_counts() -> None:
    async def test(_idp: IdentityProvider, server: KeyServer, keeper: Keeper) -> None:
        good = server.document
        for status, headers, document in (
            (302, (("Location", server.url),), good),
            (404, (), good),
            (503, (), good),
            (200, (), lambda: b"<html>"),
            (200, (), lambda: b'{"keys": [' + b" " * (1 << 20) + b"]}"),
            (200, (("Content-Encoding", "gzip"),), lambda: b"not gzip"),
        ):
            server.status, server.headers, server.document = status, headers, document
            keeper.clock.now += 6
            assert await keeper.reason("k1") is UNAVAILABLE
        server.status, server.headers, server.document = 200, (), good
        keeper.clock.now += 6
        assert (await keeper.set.key("k1", "RS256")).kid == "k1"

    served(test)


def test_stopping_ends_a_fetch_in_flight_and_its_waiters() -> None:
    async def test(_idp: IdentityProvider, server: KeyServer, keeper: Keeper) -> None:
        server.gate = threading.Event()
        waiter = asyncio.create_task(keeper.reason("k1"))
        await asyncio.to_thread(server.asked.wait, 10)
        await keeper.set.stop()
        assert await waiter is UNAVAILABLE
        server.gate.set()

    served(test)


def test_a_file_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontiergate.identity.jwks._FILE_POLL", 0.001)
    idp = IdentityProvider()
    idp.add_key("k1")
    path = tmp_path / "jwks.json"

    async def run() -> None:
        keeper = Keeper(idp, idp.write_jwks(path))
        await keeper.set.start()
        assert (await keeper.set.key("k1", "RS256")).kid == "k1"
        idp.remove_key("k1")
        idp.add_key("k2", "EdDSA")
        idp.write_jwks(path)
        async with asyncio.timeout(10):
            await keeper.lost_some.wait()
        assert (await keeper.set.key("k2", "EdDSA")).kid == "k2"
        await keeper.set.stop()

    asyncio.run(run())


@pytest.mark.parametrize("content", [None, b"", b"{", b" " * ((1 << 20) + 1)])
def test_a_spoilt_file_keeps_the_last_good_keys(content: bytes | None, tmp_path: Path) -> None:
    idp = IdentityProvider()
    idp.add_key("k1")
    path = tmp_path / "jwks.json"

    async def run() -> None:
        keeper = Keeper(idp, idp.write_jwks(path))
        await keeper.set.refresh()
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        await keeper.set.refresh()
        assert (await keeper.set.key("k1", "RS256")).kid == "k1"
        assert keeper.removed == []

    asyncio.run(run())
