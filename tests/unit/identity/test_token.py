"""Tokens, good and hostile, really signed (BYPASSES 34-43, 47)."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from frontiergate.config.schema import Claims
from frontiergate.domain.reason import Reason
from frontiergate.errors import CredentialError
from frontiergate.identity.jwks import KeySet
from frontiergate.identity.token import SignatureBudget, VerifiedToken, verify
from tests.fixtures.idp import IdentityProvider, SigningKey, b64, jwk_of, rsa_key

NOW = 1_800_000_000.0
LEEWAY = 30.0
INVALID, EXPIRED = Reason.CALLER_CREDENTIAL_INVALID, Reason.CALLER_CREDENTIAL_EXPIRED
ALL_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


class Desk:
    """One issuer whose keys are in a file, and the verification of its tokens."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.idp = IdentityProvider()
        self.settings: dict[str, Any] = {}

    def verify(self, token: bytes, at: float = NOW, budget: int = 100) -> VerifiedToken:
        async def run() -> VerifiedToken:
            issuer = self.idp.config(self.idp.write_jwks(self.path), **self.settings)
            key_set = KeySet(issuer, lambda _: None, lambda: 0.0)
            return await verify(token, {issuer.issuer: key_set}, at, LEEWAY, SignatureBudget(budget))

        return asyncio.run(run())

    def refusal(self, token: bytes, at: float = NOW) -> Reason:
        with pytest.raises(CredentialError) as caught:
            self.verify(token, at)
        assert "alice" not in str(caught.value)
        return caught.value.reason


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path / "jwks.json")
    made.idp.add_key()
    return made


@pytest.mark.parametrize("algorithm", ALL_ALGORITHMS)
def test_each_algorithm_is_verified(algorithm: str, tmp_path: Path) -> None:
    desk = Desk(tmp_path / "jwks.json")
    desk.settings["algorithms"] = (algorithm,)
    desk.idp.add_key("k", algorithm)
    assert desk.verify(desk.idp.token(NOW)).subject == "alice"


def test_a_good_token_gives_its_content(desk: Desk) -> None:
    verified = desk.verify(desk.idp.token(NOW - 60, colour="blue"))
    assert (verified.issuer.issuer, verified.subject, verified.claims["colour"]) == ("https://idp.example", "alice", "blue")
    assert (verified.issued_at, verified.expires_at) == (NOW - 60, NOW - 60 + 3600 + LEEWAY)


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", ""])
def test_an_unsigned_token_is_refused(algorithm: str, desk: Desk) -> None:
    unsigned = desk.idp.unsigned(NOW, algorithm)
    assert desk.refusal(unsigned) is INVALID
    assert desk.refusal(unsigned + b"AAAA") is INVALID


def test_a_public_key_is_not_a_secret(desk: Desk) -> None:
    public = desk.idp.keys[0].private.public_key()
    for encoding, form in (
        (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
    ):
        assert desk.refusal(desk.idp.signed_with_secret(NOW, public.public_bytes(encoding, form))) is INVALID


def test_a_stranger_s_signature_is_refused(desk: Desk) -> None:
    assert desk.refusal(desk.idp.token(NOW, key=SigningKey("k1", "RS256", rsa_key(9)))) is INVALID


def test_a_changed_payload_is_refused(desk: Desk) -> None:
    header, _, signature = desk.idp.token(NOW).split(b".")
    assert desk.refusal(b".".join((header, b64(desk.idp.claims(NOW, sub="mallory")).encode(), signature))) is INVALID


@pytest.mark.parametrize(
    "headers",
    [
        {"crit": ["exp"], "exp": 1},
        {"crit": []},
        {"b64": False},
        {"b64": True},
        {"jku": "https://evil.example"},
        {"x5u": "x"},
        {"x5c": ["x"]},
        {"cty": "JWT"},
        {"enc": "A128GCM"},
        {"zip": "DEF"},
    ],
)
def test_a_header_that_asks_for_more_is_refused(headers: dict[str, Any], desk: Desk) -> None:
    assert desk.refusal(desk.idp.token(NOW, headers=headers)) is INVALID


def test_a_token_that_brings_its_own_key_is_refused(desk: Desk) -> None:
    own = SigningKey("k1", "RS256", rsa_key(9))
    assert desk.refusal(desk.idp.token(NOW, key=own, headers={"jwk": jwk_of(own.private)})) is INVALID


@pytest.mark.parametrize(
    "kid", ["../../../dev/null", "' OR 1=1 --", "k1\x00", "K1", "k1 ", "unknown", "", "k" * 257, 7, ["k1"], {"k": 1}, True]
)
def test_a_kid_that_is_not_the_key_s_is_refused(kid: object, desk: Desk) -> None:
    assert desk.refusal(desk.idp.token(NOW, headers={"kid": kid})) is INVALID


@pytest.mark.parametrize("kind", ["at+jwt", "AT+JWT", "application/at+jwt", "jwt", None])
def test_the_usual_types_are_accepted(kind: str | None, desk: Desk) -> None:
    assert desk.verify(desk.idp.token(NOW, headers={"typ": kind})).subject == "alice"


@pytest.mark.parametrize("kind", ["dpop+jwt", "logout+jwt", "JWE", "", 7])
def test_another_type_of_token_is_refused(kind: object, desk: Desk) -> None:
    assert desk.refusal(desk.idp.token(NOW, headers={"typ": kind})) is INVALID


def test_an_algorithm_that_the_issuer_does_not_use_is_refused(desk: Desk) -> None:
    desk.settings["algorithms"] = ("ES256",)
    assert desk.refusal(desk.idp.token(NOW)) is INVALID


def test_an_algorithm_that_the_key_is_not_for_is_refused(desk: Desk) -> None:
    desk.settings["algorithms"] = ("RS256", "RS512", "ES256")
    assert desk.refusal(desk.idp.token(NOW, alg="RS512")) is INVALID


def test_an_algorithm_that_is_not_text_is_refused(desk: Desk) -> None:
    assert desk.refusal(desk.idp.token(NOW, headers={"alg": ["RS256"]}, alg=None)) is INVALID
    assert desk.refusal(desk.idp.token(NOW, headers={"alg": None})) is INVALID


def test_a_null_kid_is_refused(desk: Desk) -> None:
    header = json.dumps({"alg": "RS256", "typ": "JWT", "kid": None})
    assert desk.refusal(desk.idp.keys[0].sign(header, json.dumps(desk.idp.claims(NOW)))) is INVALID


def test_a_token_without_kid_is_verified_only_if_one_key_fits(desk: Desk) -> None:
    token = desk.idp.token(NOW, headers={"kid": None})
    assert desk.verify(token).subject == "alice"
    desk.idp.add_key("k2", "EdDSA")
    assert desk.verify(token).subject == "alice"
    desk.idp.add_key("k3")
    assert desk.refusal(token) is INVALID


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512"])
def test_a_psychic_signature_is_refused(algorithm: str, tmp_path: Path) -> None:
    desk = Desk(tmp_path / "jwks.json")
    desk.settings["algorithms"] = (algorithm,)
    key = desk.idp.add_key("k", algorithm)
    size = (key.private.public_key().key_size + 7) // 8
    header, payload, _ = desk.idp.token(NOW).split(b".")
    order = {"ES256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551}.get(algorithm, 0)
    for r, s in ((0, 0), (0, 1), (1, 0), (order, order)):
        forged = r.to_bytes(size, "big") + s.to_bytes(size, "big")
        assert desk.refusal(b".".join((header, payload, b64(forged).encode()))) is INVALID
    assert desk.refusal(b".".join((header, payload, b"AA"))) is INVALID


def test_the_other_signature_of_an_elliptic_curve_gives_nobody_more(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "jwks.json")
    desk.idp.add_key("k", "ES256")
    header, payload, signature = desk.idp.token(NOW).split(b".")
    raw = base64.urlsafe_b64decode(signature + b"==")
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    malleated = raw[:32] + (order - int.from_bytes(raw[32:], "big")).to_bytes(32, "big")
    assert desk.verify(b".".join((header, payload, b64(malleated).encode()))).subject == "alice"


def test_a_der_signature_is_refused(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "jwks.json")
    key = desk.idp.add_key("k", "ES256")
    header, payload, _ = desk.idp.token(NOW).split(b".")
    der = key.private.sign(header + b"." + payload, ec.ECDSA(SHA256()))
    assert desk.refusal(b".".join((header, payload, b64(der).encode()))) is INVALID


@pytest.mark.parametrize(
    "shape",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "{h}.{p}",
        "{h}.{p}.",
        "{h}..{s}",
        ".{p}.{s}",
        "{h}.{p}.{s}.",
        "{h}.{p}.{s}.{s}",
        "{h}.{p}.{p}.{p}.{s}",
        "{h}.{p}.{s}=",
        "{h}=.{p}.{s}",
        "{h}.{p}.{s}\n",
        " {h}.{p}.{s}",
        "{h}.{p}.{s}A",
        "{h}.{p}+.{s}",
    ],
)
def test_a_token_that_is_not_compact_is_refused(shape: str, desk: Desk) -> None:
    header, payload, signature = desk.idp.token(NOW).decode().split(".")
    assert desk.refusal(shape.format(h=header, p=payload, s=signature).encode()) is INVALID


def test_a_signature_with_spare_bits_set_is_refused(desk: Desk) -> None:
    token = desk.idp.token(NOW)
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    assert len(token.rsplit(b".")[-1]) % 4 == 2
    twin = token[:-1] + alphabet[alphabet.index(token[-1:]) + 1 :][:1]
    assert desk.refusal(twin) is INVALID


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "ES512", "EdDSA"])
def test_a_signature_of_any_other_length_is_refused(algorithm: str, tmp_path: Path) -> None:
    desk = Desk(tmp_path / "jwks.json")
    desk.settings["algorithms"] = (algorithm,)
    desk.idp.add_key("k", algorithm)
    header, payload, _ = desk.idp.token(NOW).split(b".")
    for length in (1, 31, 32, 63, 64, 65, 96, 131, 132, 255, 256, 257, 4000):
        for fill in (b"\x00", b"\x01", b"\xff"):
            assert desk.refusal(b".".join((header, payload, b64(fill * length).encode()))) is INVALID


def test_the_json_serialisation_is_refused(desk: Desk) -> None:
    header, payload, signature = desk.idp.token(NOW).decode().split(".")
    assert desk.refusal(json.dumps({"payload": payload, "protected": header, "signature": signature}).encode()) is INVALID


def test_a_nested_token_is_refused(desk: Desk) -> None:
    inner = desk.idp.token(NOW).decode()
    assert desk.refusal(desk.idp.keys[0].sign('{"alg":"RS256","kid":"k1"}', inner)) is INVALID


@pytest.mark.parametrize(
    "header",
    [
        '{"alg":"RS256","kid":"k1","alg":"RS256"}',
        '{"alg":"none","kid":"k1","\\u0061lg":"RS256"}',
        "[]",
        '"x"',
        "{",
        "",
        '{"alg":"RS256","kid":"k1","x":NaN}',
        "\ufeff{}",
    ],
)
def test_a_header_that_can_be_read_in_two_ways_is_refused(header: str, desk: Desk) -> None:
    assert desk.refusal(desk.idp.keys[0].sign(header, json.dumps(desk.idp.claims(NOW)))) is INVALID


@pytest.mark.parametrize(
    "extra",
    ['"sub":"mallory"', '"nested":{"a":1,"a":2}', '"x":NaN', '"x":Infinity', '"x":' + "[" * 100_000, '"x":' + "9" * 5000, '"x":"\t"'],
)
def test_a_payload_that_is_not_strict_json_is_refused(extra: str, desk: Desk) -> None:
    payload = json.dumps(desk.idp.claims(NOW))[:-1] + "," + extra + "}"
    assert desk.refusal(desk.idp.keys[0].sign('{"alg":"RS256","kid":"k1"}', payload)) is INVALID


@pytest.mark.parametrize(
    "issuer",
    [
        "https://idp.example/",
        "https://IDP.example",
        "https://idp.exampl",
        "https://idp.example ",
        "",
        None,
        ["https://idp.example"],
        {"a": 1},
        7,
    ],
)
def test_an_issuer_that_is_not_exactly_ours_is_refused(issuer: object, desk: Desk) -> None:
    assert desk.refusal(desk.idp.token(NOW, iss=issuer)) is INVALID


@pytest.mark.parametrize("audience", ["frontier-gate", ["frontier-gate"], ["other", "frontier-gate"]])
def test_our_audience_alone_or_among_others_is_accepted(audience: object, desk: Desk) -> None:
    assert desk.verify(desk.idp.token(NOW, aud=audience)).subject == "alice"


@pytest.mark.parametrize(
    "audience",
    [
        None,
        "",
        "frontier",
        "frontier-gate-2",
        "Frontier-Gate",
        [],
        [""],
        ["frontier"],
        ["frontier-gate", 7],
        [["frontier-gate"]],
        {"frontier-gate": 1},
        7,
    ],
)
def test_another_audience_is_refused(audience: object, desk: Desk) -> None:
    assert desk.refusal(desk.idp.token(NOW, aud=audience)) is INVALID


def test_a_token_ends_after_the_accepted_skew(desk: Desk) -> None:
    token = desk.idp.token(NOW - 3600)
    assert desk.verify(token, NOW + LEEWAY - 1).expires_at == NOW + LEEWAY
    assert desk.refusal(token, NOW + LEEWAY) is EXPIRED


@pytest.mark.parametrize("expiry", [None, "1900000000", True, -1, 1e300, 10**30, 253_402_300_800, [1_900_000_000], {}])
def test_an_expiry_that_is_no_instant_is_refused(expiry: object, desk: Desk) -> None:
    assert desk.refusal(desk.idp.token(NOW, exp=expiry)) is INVALID


def test_an_expiry_that_overflows_is_refused(desk: Desk) -> None:
    payload = json.dumps(desk.idp.claims(NOW, exp=None))[:-1] + ', "exp": 1e999}'
    assert desk.refusal(desk.idp.keys[0].sign('{"alg":"RS256","kid":"k1"}', payload)) is INVALID


def test_an_expiry_with_a_fraction_is_accepted(desk: Desk) -> None:
    assert desk.verify(desk.idp.token(NOW, exp=NOW + 0.5)).expires_at == NOW + 0.5 + LEEWAY


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_a_token_from_the_future_is_refused_beyond_the_skew(claim: str, desk: Desk) -> None:
    assert desk.verify(desk.idp.token(NOW, **{claim: NOW + LEEWAY})).issued_at <= NOW
    assert desk.refusal(desk.idp.token(NOW, **{claim: NOW + LEEWAY + 1})) is INVALID
    assert desk.refusal(desk.idp.token(NOW, **{claim: "now"})) is INVALID


def test_a_token_without_iat_is_accepted(desk: Desk) -> None:
    assert desk.verify(desk.idp.token(NOW, iat=None)).issued_at == NOW


@pytest.mark.parametrize("subject", [None, "", 7, ["alice"], "a\nb", "a\x00b", "a\u200bb", "a\ud800b", "a\u2028b", "a" * 257])
def test_a_subject_that_is_no_name_is_refused(subject: object, desk: Desk) -> None:
    assert desk.refusal(desk.idp.token(NOW, sub=subject)) is INVALID


@pytest.mark.parametrize("subject", ["Alice", "ALICE", "a|b", "https://other|bob", "é", "e\u0301", "a" * 256])
def test_a_subject_is_kept_exactly_as_it_is(subject: str, desk: Desk) -> None:
    assert desk.verify(desk.idp.token(NOW, sub=subject)).subject == subject


def test_the_subject_is_taken_from_the_configured_claim(desk: Desk) -> None:
    desk.settings["claims"] = Claims(subject="act.oid")
    assert desk.verify(desk.idp.token(NOW, act={"oid": "bob"})).subject == "bob"
    assert desk.refusal(desk.idp.token(NOW)) is INVALID


def test_signature_work_is_bounded_per_second() -> None:
    budget = SignatureBudget(2)
    budget.spend(NOW)
    budget.spend(NOW + 0.9)
    with pytest.raises(CredentialError) as caught:
        budget.spend(NOW + 0.99)
    assert caught.value.reason is Reason.GATE_OVERLOADED
    budget.spend(NOW + 1)


def test_only_signatures_are_counted(desk: Desk) -> None:
    assert desk.refusal(b"a.b.c") is INVALID
    with pytest.raises(CredentialError) as caught:
        desk.verify(desk.idp.token(NOW), budget=0)
    assert caught.value.reason is Reason.GATE_OVERLOADED
