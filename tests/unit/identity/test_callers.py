"""Callers: established once, remembered within bounds, ended at once (BYPASSES 43, 46, 47, 62, 79)."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from frontiergate.config.schema import Claims, Identity
from frontiergate.domain.evidence import Assurance, Evidence, Kind
from frontiergate.domain.reason import Reason
from frontiergate.errors import CredentialError
from frontiergate.identity.apikey import digest, mint
from frontiergate.identity.caller import Callers
from frontiergate.identity.geoip import NOWHERE, Whereabouts
from frontiergate.store.protocol import KeyRecord
from tests.fixtures.idp import IdentityProvider

NOW = 1_800_000_000.0
PSEUDONYM_KEY = b"0123456789abcdef"
INVALID = Reason.CALLER_CREDENTIAL_INVALID


class Desk:
    """Callers with one issuer and a few API keys; `lookups` counts what the store was asked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.idp = IdentityProvider()
        self.idp.add_key("k1", "EdDSA")
        self.keys: dict[str, KeyRecord] = {}
        self.lookups = 0
        self.before_answer: Callable[[], Awaitable[None]] | None = None

    def identity(self, **settings: Any) -> Identity:
        issuer = self.idp.config(self.idp.write_jwks(self.path), claims=Claims(nationality="nationalities"))
        return Identity(**{"issuers": (issuer,), **settings})

    def callers(self, limit: int = 10_000, **settings: Any) -> Callers:
        return Callers(self.identity(**settings), self.look_up, PSEUDONYM_KEY, costly_checks_per_second=limit)

    async def look_up(self, sha256: str) -> KeyRecord | None:
        self.lookups += 1
        record = self.keys.get(sha256)
        if self.before_answer is not None:
            await self.before_answer()
        return record

    def key(self, id: str = "k_1", **settings: Any) -> bytes:
        secret, sha256 = mint()
        evidence = (Evidence(kind=Kind.NATIONALITY, value="US", source=f"key {id}", assurance=Assurance.ATTESTED, observed_at=NOW),)
        self.keys[sha256] = KeyRecord(id=id, sha256=sha256, name="ci", created_at=NOW, evidence=evidence, **settings)
        return secret.encode()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "jwks.json")


async def refusal(callers: Callers, credential: bytes, at: float = NOW) -> Reason:
    with pytest.raises(CredentialError) as caught:
        await callers.establish(credential, at)
    return caught.value.reason


def test_a_token_makes_a_caller_with_evidence(desk: Desk) -> None:
    async def run() -> None:
        callers = desk.callers()
        token = desk.idp.token(NOW, nationalities=["US"])
        assert callers.known(token, NOW) is None
        caller = await callers.establish(token, NOW)
        assert callers.known(token, NOW) is caller
        assert (caller.principal, caller.kind, caller.issuer, caller.key_id) == (
            "https://idp.example|alice",
            "token",
            "https://idp.example",
            None,
        )
        assert (caller.expires_at, caller.grants, caller.ended) == (NOW + 3630, None, False)
        assert [(piece.kind, piece.value) for piece in caller.evidence] == [(Kind.NATIONALITY, "US")]

    asyncio.run(run())


def test_an_api_key_makes_a_caller_with_its_records_evidence(desk: Desk) -> None:
    async def run() -> None:
        callers, secret = desk.callers(), desk.key(expires_at=NOW + 10)
        caller = await callers.establish(secret, NOW)
        assert (caller.principal, caller.kind, caller.issuer, caller.key_id) == ("key|k_1", "key", None, "k_1")
        assert caller.evidence[0].source == "key k_1"
        assert callers.known(secret, NOW + 9.9) is caller
        assert callers.known(secret, NOW + 10) is None
        assert await refusal(callers, secret, NOW + 10) is Reason.CALLER_CREDENTIAL_EXPIRED
        assert (await callers.establish(desk.key("k_2"), NOW)).expires_at == float("inf")

    asyncio.run(run())


def test_a_pseudonym_is_keyed_and_stable(desk: Desk) -> None:
    async def run() -> None:
        first = await desk.callers().establish(desk.idp.token(NOW), NOW)
        second = await desk.callers().establish(desk.idp.token(NOW, jti="another"), NOW)
        other_key = Callers(desk.identity(), desk.look_up, b"another key 0000")
        third = await other_key.establish(desk.idp.token(NOW), NOW)
        assert first.pseudonym == second.pseudonym != third.pseudonym
        assert len(first.pseudonym) == 16
        assert "alice" not in first.pseudonym

    asyncio.run(run())


def test_subjects_never_collide(desk: Desk) -> None:
    async def run() -> None:
        callers = desk.callers()
        subjects = ["alice", "Alice", "https://idp.example|alice", "|alice", "\u00e9", "e\u0301", "k_1"]
        found = {(await callers.establish(desk.idp.token(NOW, sub=subject), NOW)).principal for subject in subjects}
        assert len(found) == len(subjects)
        assert "key|k_1" not in found

    asyncio.run(run())


def test_a_token_is_not_known_past_its_end(desk: Desk) -> None:
    async def run() -> None:
        callers, token = desk.callers(), desk.idp.token(NOW - 3600)
        await callers.establish(token, NOW)
        assert callers.known(token, NOW + 29) is not None
        assert callers.known(token, NOW + 30) is None
        assert await refusal(callers, token, NOW + 30) is Reason.CALLER_CREDENTIAL_EXPIRED

    asyncio.run(run())


def test_a_removed_issuer_key_ends_its_callers(desk: Desk) -> None:
    async def run() -> None:
        callers, token = desk.callers(), desk.idp.token(NOW)
        await callers.start()
        caller = await callers.establish(token, NOW)
        desk.idp.remove_key("k1")
        newer = desk.idp.add_key("k2", "EdDSA")
        desk.idp.write_jwks(desk.path)
        (key_set,) = callers._key_sets.values()
        await key_set.refresh()
        assert caller.ended
        assert callers.known(token, NOW) is None
        assert await refusal(callers, token) is INVALID
        assert not (await callers.establish(desk.idp.token(NOW, key=newer), NOW)).ended
        await callers.stop()

    asyncio.run(run())


def test_a_revoked_key_ends_its_callers_only(desk: Desk) -> None:
    async def run() -> None:
        callers, secret, other = desk.callers(), desk.key(), desk.key("k_2")
        caller, neighbour = await callers.establish(secret, NOW), await callers.establish(other, NOW)
        callers.forget_key("k_1")
        desk.keys.pop(digest(secret))
        assert (caller.ended, neighbour.ended) == (True, False)
        assert callers.known(secret, NOW) is None
        assert callers.known(other, NOW) is neighbour
        assert await refusal(callers, secret) is INVALID
        callers.forget_key("k_unknown")

    asyncio.run(run())


def test_a_key_revoked_while_it_is_looked_up_is_refused(desk: Desk) -> None:
    async def run() -> None:
        callers, secret = desk.callers(), desk.key()

        async def revoke() -> None:
            desk.before_answer = None
            desk.keys.pop(digest(secret))
            callers.forget_key("k_1")

        desk.before_answer = revoke
        assert await refusal(callers, secret) is INVALID
        assert desk.lookups == 2

    asyncio.run(run())


def test_a_caller_pushed_out_of_the_cache_still_ends_with_its_key(desk: Desk) -> None:
    async def run() -> None:
        callers, secret = desk.callers(token_cache=2), desk.key()
        caller = await callers.establish(secret, NOW)
        for nth in range(2):
            await callers.establish(desk.idp.token(NOW, sub=f"user{nth}"), NOW)
        assert callers.known(secret, NOW) is None
        caller.grants = ()
        callers.forget_grants("key|k_1")
        assert caller.grants is None
        callers.forget_key("k_1")
        assert caller.ended

    asyncio.run(run())


def test_the_cache_is_bounded_and_forgets_the_oldest(desk: Desk) -> None:
    async def run() -> None:
        callers = desk.callers(token_cache=3)
        tokens = [desk.idp.token(NOW, sub=f"user{nth}") for nth in range(5)]
        for token in tokens:
            await callers.establish(token, NOW)
        assert [callers.known(token, NOW) is not None for token in tokens] == [False, False, True, True, True]
        assert len(callers._of_principal) == 3

    asyncio.run(run())


def test_forgetting_grants_reaches_every_credential_of_the_principal(desk: Desk) -> None:
    async def run() -> None:
        callers = desk.callers()
        two = [await callers.establish(desk.idp.token(NOW, jti=jti), NOW) for jti in "ab"]
        other = await callers.establish(desk.idp.token(NOW, sub="bob"), NOW)
        for caller in (*two, other):
            caller.grants = ()
        callers.forget_grants("https://idp.example|alice")
        assert [caller.grants for caller in (*two, other)] == [None, None, ()]
        assert not two[0].ended
        callers.forget_key("nobody")

    asyncio.run(run())


def test_forgetting_an_issuer_ends_its_callers(desk: Desk) -> None:
    async def run() -> None:
        callers, secret = desk.callers(), desk.key()
        caller, keyed = await callers.establish(desk.idp.token(NOW), NOW), await callers.establish(secret, NOW)
        callers.forget_issuer("https://idp.example")
        assert (caller.ended, keyed.ended) == (True, False)

    asyncio.run(run())


def test_one_expired_credential_is_forgotten_and_the_other_of_the_principal_stays(desk: Desk) -> None:
    async def run() -> None:
        callers = desk.callers()
        old_key = desk.idp.keys[0]
        new_key = desk.idp.add_key("k2", "EdDSA")
        desk.idp.write_jwks(desk.path)
        first = await callers.establish(desk.idp.token(NOW, key=old_key), NOW)
        token = desk.idp.token(NOW, key=new_key)
        second = await callers.establish(token, NOW)
        desk.idp.remove_key("k1")
        desk.idp.write_jwks(desk.path)
        (key_set,) = callers._key_sets.values()
        await key_set.refresh()
        assert (first.ended, second.ended) == (True, False)
        assert callers.known(token, NOW) is second

    asyncio.run(run())


def test_simultaneous_requests_get_the_same_caller(desk: Desk) -> None:
    async def run() -> None:
        callers, token = desk.callers(), desk.idp.token(NOW)
        first, second = await asyncio.gather(callers.establish(token, NOW), callers.establish(token, NOW))
        assert first is second

    asyncio.run(run())


def test_a_bad_credential_is_refused_again_without_another_look(desk: Desk) -> None:
    async def run() -> None:
        callers, secret = desk.callers(), mint()[0].encode()
        for _ in range(5):
            assert await refusal(callers, secret) is INVALID
        assert desk.lookups == 1
        assert await refusal(callers, secret, NOW + 6) is INVALID
        assert await refusal(callers, secret, NOW - 3600) is INVALID
        assert desk.lookups == 3

    asyncio.run(run())


def test_the_memory_of_refusals_is_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontiergate.identity.caller._REFUSALS_KEPT", 3)

    async def run() -> None:
        callers = desk.callers()
        for nth in range(10):
            assert await refusal(callers, f"bad{nth}".encode()) is INVALID
        assert len(callers._refused) == 3

    asyncio.run(run())


def test_costly_checks_are_bounded_and_overload_is_not_remembered(desk: Desk) -> None:
    async def run() -> None:
        callers, secret = desk.callers(limit=1), desk.key()
        token = desk.idp.token(NOW)
        await callers.establish(token, NOW)
        assert await refusal(callers, secret) is Reason.GATE_OVERLOADED
        assert await refusal(callers, desk.idp.token(NOW, sub="bob")) is Reason.GATE_OVERLOADED
        assert (await callers.establish(secret, NOW + 1)).key_id == "k_1"

    asyncio.run(run())


def test_api_keys_may_be_switched_off(desk: Desk) -> None:
    async def run() -> None:
        assert await refusal(desk.callers(api_keys=False), desk.key()) is INVALID

    asyncio.run(run())


def test_facts_are_remembered_per_place_and_rebuilt_when_evidence_ends(desk: Desk) -> None:
    async def run() -> None:
        caller = await desk.callers().establish(desk.idp.token(NOW, nationalities=["US"]), NOW)
        facts = caller.facts(NOWHERE, NOW)
        assert caller.facts(NOWHERE, NOW + 1) is facts
        later = caller.facts(NOWHERE, NOW + 3630)
        assert (len(facts.about(Kind.NATIONALITY)), later.about(Kind.NATIONALITY)) == (1, ())
        assert caller.facts(NOWHERE, NOW + 3631) is later
        location = Evidence(kind=Kind.LOCATION, value="FR", source="geoip", assurance=Assurance.ATTESTED, observed_at=NOW)
        places = [Whereabouts("FR", (), (location,)) for _ in range(20)]
        assert [piece.value for piece in caller.facts(places[0], NOW).about(Kind.LOCATION)] == ["FR"]
        for place in places:
            caller.facts(place, NOW)
        assert len(caller._facts) == 8

    asyncio.run(run())


def test_an_unchanged_issuer_goes_on_through_a_reload(desk: Desk) -> None:
    async def run() -> None:
        callers, token = desk.callers(), desk.idp.token(NOW)
        await callers.start()
        caller = await callers.establish(token, NOW)
        await callers.reconfigure(desk.identity(token_cache=5))
        assert callers.known(token, NOW) is caller
        assert not caller.ended
        await callers.stop()

    asyncio.run(run())


def test_a_reload_ends_what_it_no_longer_allows(desk: Desk) -> None:
    async def run() -> None:
        callers, token, secret = desk.callers(), desk.idp.token(NOW), desk.key()
        await callers.start()
        caller, keyed = await callers.establish(token, NOW), await callers.establish(secret, NOW)
        await callers.reconfigure(desk.identity(leeway=10.0))
        assert (caller.ended, keyed.ended) == (True, False)
        caller = await callers.establish(token, NOW)
        assert caller.expires_at == NOW + 3610
        await callers.reconfigure(Identity(issuers=(), api_keys=False, leeway=10.0))
        assert (caller.ended, keyed.ended) == (True, True)
        assert await refusal(callers, token) is INVALID
        await callers.reconfigure(desk.identity(leeway=10.0))
        assert (await callers.establish(token, NOW)).principal == caller.principal
        await callers.stop()

    asyncio.run(run())


def test_after_a_gap_in_the_log_keys_end_and_all_grants_are_asked_for_again(desk: Desk) -> None:
    async def run() -> None:
        callers = desk.callers()
        keyed, caller = await callers.establish(desk.key(), NOW), await callers.establish(desk.idp.token(NOW), NOW)
        caller.grants = ()
        callers.forget_all()
        assert (keyed.ended, caller.ended, caller.grants) == (True, False, None)

    asyncio.run(run())


def test_an_issuer_removed_while_its_keys_are_on_their_way_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        callers = desk.callers()
        (key_set,) = callers._key_sets.values()
        fetch = key_set.refresh

        async def fetch_and_remove() -> None:
            await fetch()
            callers._key_sets.clear()

        monkeypatch.setattr(key_set, "refresh", fetch_and_remove)
        assert await refusal(callers, desk.idp.token(NOW)) is INVALID

    asyncio.run(run())


def test_a_reload_while_keys_are_on_their_way_leaves_nobody_waiting(desk: Desk) -> None:
    async def run() -> None:
        callers, token = desk.callers(), desk.idp.token(NOW)
        waiting = asyncio.create_task(refusal(callers, token))
        await asyncio.sleep(0)
        await callers.reconfigure(Identity())
        assert await waiting in {INVALID, Reason.GATE_IDENTITY_UNAVAILABLE}

    asyncio.run(run())
