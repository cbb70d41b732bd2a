"""BYPASSES 34-43: tokens. What no pinned issuer signed, for this gate, for now, with a key for that, is nobody's."""

import base64
import json
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.bypass.keys import SECRET, hostile_keys
from tests.bypass.probe import Probe, eventually
from tests.fixtures.idp import IdentityProvider, SigningKey, b64, jwk_of, rsa_key

OPEN = {"model": "gpt-open", "messages": []}
INVALID, EXPIRED = "caller_credential_invalid", "caller_credential_expired"


@pytest.fixture
def idp(shared_idp: IdentityProvider) -> IdentityProvider:
    return shared_idp


def refused(probe: Probe, token: bytes | str, reason: str | tuple[str, ...] = INVALID) -> None:
    """Twice: a refusal that is remembered is the same refusal."""
    text = token if isinstance(token, str) else token.decode("latin-1")
    for _ in range(2):
        probe.refused(probe.post(OPEN, token=text), 401, reason)


def accepted(probe: Probe, token: bytes) -> None:
    probe.forwarded(probe.post(OPEN, token=token.decode()))


def signed(key: SigningKey, header: dict[str, Any], payload: dict[str, Any] | str, algorithm: str | None = None) -> bytes:
    return key.sign(json.dumps(header), payload if isinstance(payload, str) else json.dumps(payload), algorithm)


# -- 34, 35 algorithms


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", "null"])
def test_34_an_unsigned_token_is_refused(probe: Probe, idp: IdentityProvider, alg: str) -> None:
    unsigned = idp.unsigned(time.time(), alg)
    refused(probe, unsigned)
    refused(probe, unsigned.rstrip(b"."))
    refused(probe, unsigned + idp.token(time.time()).rpartition(b".")[2])


def test_34_an_empty_or_changed_signature_is_refused(probe: Probe, idp: IdentityProvider) -> None:
    head, _, signature = idp.token(time.time(), key=idp.keys[0]).rpartition(b".")
    for changed in (
        b"",
        b"AA",
        signature[:-4],
        signature[:-2] + b"AA",
        signature + b"AAAA",
        signature[::-1],
        b"A" * len(signature),
        signature + b"==",
    ):
        refused(probe, head + b"." + changed)


def test_34_a_changed_payload_is_refused(probe: Probe, idp: IdentityProvider) -> None:
    header, _, signature = idp.token(time.time(), us_person=False).split(b".")
    refused(probe, b".".join([header, b64(idp.claims(time.time(), us_person=True)).encode(), signature]))


def test_35_the_public_key_is_no_shared_secret(probe: Probe, idp: IdentityProvider) -> None:
    public = idp.keys[0].private.public_key()
    for encoding, form in (
        (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        (Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        (Encoding.PEM, PublicFormat.PKCS1),
    ):
        secret = public.public_bytes(encoding, form)
        refused(probe, idp.signed_with_secret(time.time(), secret))
        refused(probe, idp.signed_with_secret(time.time(), secret.strip()))
    refused(probe, idp.signed_with_secret(time.time(), json.dumps(idp.keys[0].jwk()).encode()))
    refused(probe, idp.signed_with_secret(time.time(), b""))


def test_35_a_published_shared_secret_signs_nothing(probe: Probe, idp: IdentityProvider) -> None:
    refused(probe, idp.signed_with_secret(time.time(), SECRET))


@pytest.mark.parametrize("alg", ["RS384", "RS512", "PS256", "ES256", "EdDSA", "rs256", "RS256 ", "HS256"])
def test_35_an_algorithm_that_is_not_pinned_or_not_the_keys_is_refused(probe: Probe, idp: IdentityProvider, alg: str) -> None:
    refused(
        probe,
        signed(
            idp.keys[0],
            {"alg": alg, "typ": "JWT", "kid": "k1"},
            idp.claims(time.time()),
            alg if alg in {"RS384", "RS512", "PS256"} else "RS256",
        ),
    )


# -- 36, 37, 38 headers


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c", "crit", "b64", "cty", "enc", "zip"])
def test_36_a_header_that_brings_a_key_or_changes_the_rules_is_refused(probe: Probe, idp: IdentityProvider, name: str) -> None:
    mine = SigningKey("k1", "RS256", rsa_key(6))
    values = {
        "jwk": jwk_of(mine.private),
        "jku": "http://127.0.0.1:9/jwks",
        "x5u": "http://127.0.0.1:9/x",
        "x5c": ["MIIB"],
        "crit": ["exp"],
        "b64": False,
        "cty": "JWT",
    }
    extra = {name: values.get(name, "x")}
    refused(probe, idp.token(time.time(), key=mine, headers=extra))
    refused(probe, idp.token(time.time(), headers=extra))


@pytest.mark.parametrize(
    "kid",
    [
        "../../../../etc/passwd",
        "/dev/null",
        "k1' OR '1'='1",
        "'; DROP TABLE keys; --",
        "K1",
        "k1 ",
        "k1\u0000",
        "",
        "k" * 10_000,
        "unknown",
        "%6b1",
    ],
)
def test_37_a_kid_is_only_ever_compared(probe: Probe, idp: IdentityProvider, kid: str) -> None:
    refused(probe, idp.token(time.time(), key=idp.keys[0], headers={"kid": kid}))


@pytest.mark.parametrize("kid", [1, ["k1"], {"k1": 1}, True])
def test_37_a_kid_is_a_string(probe: Probe, idp: IdentityProvider, kid: object) -> None:
    refused(probe, idp.token(time.time(), key=idp.keys[0], headers={"kid": kid}))


@pytest.mark.parametrize("what", [what for what in hostile_keys() if what != "symmetric"])
def test_37_a_key_that_is_not_for_verifying_verifies_nothing(probe: Probe, idp: IdentityProvider, what: str) -> None:
    key = hostile_keys()[what][0]
    refused(probe, idp.token(time.time(), key=key, alg="ES384" if what == "of another curve" else None))
    if what != "of another curve":  # of the ES256 keys without a kid, only one is good, and this is not it
        refused(probe, idp.token(time.time(), key=key, headers={"kid": None}))


def test_37_another_issuers_key_under_the_same_kid_signs_nothing_for_this_one(
    probe: Probe, idp: IdentityProvider, other_idp: IdentityProvider
) -> None:
    accepted(probe, other_idp.token(time.time()))
    refused(probe, idp.token(time.time(), key=other_idp.keys[0]))
    refused(probe, other_idp.token(time.time(), iss=idp.issuer))


@pytest.mark.parametrize("crit", [["b64"], ["exp"], [], "exp", None])
def test_38_a_critical_extension_is_refused(probe: Probe, idp: IdentityProvider, crit: object) -> None:
    key = idp.keys[0]
    refused(probe, signed(key, {"alg": "RS256", "kid": "k1", "crit": crit, "b64": True}, idp.claims(time.time())))
    refused(probe, signed(key, {"alg": "RS256", "kid": "k1", "crit": crit}, idp.claims(time.time())))


# -- 39, 40 claims


@pytest.mark.parametrize(
    "aud",
    [
        None,
        [],
        "",
        "frontier",
        "frontier-gate ",
        "Frontier-Gate",
        "frontier-gate/",
        ["other"],
        {"frontier-gate": 1},
        1,
        ["frontier-gate", 1],
        [["frontier-gate"]],
        True,
    ],
)
def test_39_a_token_for_somebody_else_is_refused(probe: Probe, idp: IdentityProvider, aud: object) -> None:
    refused(probe, idp.token(time.time(), aud=aud))


def test_39_one_audience_of_many_is_enough(probe: Probe, idp: IdentityProvider) -> None:
    accepted(probe, idp.token(time.time(), aud=["somebody", "frontier-gate"]))


@pytest.mark.parametrize(
    "iss",
    [
        "https://idp.example/",
        "HTTPS://IDP.EXAMPLE",
        "https://idp.example ",
        "http://idp.example",
        "https://idp.example@evil",
        "https://idp.example.evil",
        "",
        None,
        1,
        ["https://idp.example"],
    ],
)
def test_39_another_issuer_is_refused(probe: Probe, idp: IdentityProvider, iss: object) -> None:
    refused(probe, idp.token(time.time(), iss=iss))


@pytest.mark.parametrize(
    "exp", ['"9999999999"', "NaN", "Infinity", "1e400", "9" * 400, "-1", "null", "true", "[9999999999]", "{}", "253402300800", '""']
)
def test_40_an_expiry_that_is_no_instant_is_refused(probe: Probe, idp: IdentityProvider, exp: str) -> None:
    claims = json.dumps(idp.claims(time.time(), exp=None))[:-1] + f', "exp": {exp}}}'
    refused(probe, signed(idp.keys[0], {"alg": "RS256", "kid": "k1"}, claims))


def test_40_a_token_without_an_expiry_is_refused(probe: Probe, idp: IdentityProvider) -> None:
    refused(probe, idp.token(time.time(), exp=None))


def test_40_instants_count_within_a_minute_of_skew_and_no_more(probe: Probe, idp: IdentityProvider) -> None:
    now = time.time()
    refused(probe, idp.token(now, exp=int(now) - 61), EXPIRED)
    refused(probe, idp.token(now, exp=0), EXPIRED)
    refused(probe, idp.token(now, nbf=int(now) + 120))
    refused(probe, idp.token(now, iat=int(now) + 120))
    refused(probe, idp.token(now, nbf="0"))
    refused(probe, idp.token(now, iat=[0]))
    accepted(probe, idp.token(now, exp=now + 100.5, nbf=int(now) + 5, iat=int(now) + 5))


# -- 41, 42 other shapes and signatures


def test_41_what_is_not_one_compact_signed_token_is_refused(probe: Probe, idp: IdentityProvider) -> None:
    token = idp.token(time.time(), key=idp.keys[0])
    header, payload, signature = token.split(b".")
    refused(probe, b".".join([header, b"", signature]))  # detached
    refused(probe, b".".join([header, b"", payload, b"", signature]))  # encrypted: five parts
    refused(probe, token + b".")
    refused(probe, b"." + token)
    refused(probe, b"..")
    refused(probe, header + b"=." + payload + b"." + signature)
    refused(
        probe,
        json.dumps({"payload": payload.decode(), "protected": header.decode(), "signature": signature.decode()}).replace(" ", ""),
        INVALID,
    )
    refused(probe, signed(idp.keys[0], {"alg": "RS256", "kid": "k1", "cty": "JWT"}, idp.claims(time.time())))
    refused(probe, signed(idp.keys[0], {"alg": "RS256", "kid": "k1"}, json.dumps(token.decode())))  # a token in a token
    refused(probe, signed(idp.keys[0], {"alg": "RSA-OAEP", "enc": "A256GCM", "kid": "k1"}, idp.claims(time.time()), "RS256"))
    refused(probe, signed(idp.keys[0], {"alg": "RS256", "kid": "k1", "b64": False, "crit": ["b64"]}, idp.claims(time.time())))
    refused(probe, signed(idp.keys[0], {"alg": "RS256", "kid": "k1", "typ": "logout+jwt"}, idp.claims(time.time())))


@pytest.mark.parametrize("member", ['"sub":"bob"', '"us_person":true', '"iss":"https://idp.example"', '"aud":"frontier-gate"'])
def test_41_a_claim_that_is_there_twice_is_refused(probe: Probe, idp: IdentityProvider, member: str) -> None:
    claims = json.dumps(idp.claims(time.time(), us_person=False))[:-1] + "," + member + "}"
    refused(probe, signed(idp.keys[0], {"alg": "RS256", "kid": "k1"}, claims))


@pytest.mark.parametrize(
    "header",
    [
        '{"alg":"RS256","kid":"k1","alg":"none"}',
        '{"alg":"none","alg":"RS256","kid":"k1"}',
        "[]",
        '"RS256"',
        "{}",
        '{"kid":"k1"}',
        '{"alg":["RS256"],"kid":"k1"}',
        '{"alg":"RS256","kid":"k1"} x',
    ],
)
def test_41_a_header_that_can_be_read_in_two_ways_is_refused(probe: Probe, idp: IdentityProvider, header: str) -> None:
    refused(probe, idp.keys[0].sign(header, json.dumps(idp.claims(time.time()))))


def test_42_an_ecdsa_signature_of_zeros_is_refused(probe: Probe, idp: IdentityProvider) -> None:
    key = idp.keys[1]
    head = key.sign(json.dumps({"alg": "ES256", "kid": "e1"}), json.dumps(idp.claims(time.time()))).rpartition(b".")[0]
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    for r, s in ((0, 0), (0, 1), (1, 0), (order, order), (order, 1), (1, order), (2**256 - 1, 2**256 - 1)):
        refused(probe, head + b"." + b64(r.to_bytes(32, "big") + s.to_bytes(32, "big")).encode())


def test_42_an_ecdsa_signature_in_der_or_of_another_length_is_refused(probe: Probe, idp: IdentityProvider) -> None:
    private = idp.keys[1].private
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    head = idp.token(time.time(), key=idp.keys[1]).rpartition(b".")[0]
    der = private.sign(head, ec.ECDSA(SHA256()))
    r, s = decode_dss_signature(der)
    refused(probe, head + b"." + b64(der).encode())
    refused(probe, head + b"." + b64(b"\0" + r.to_bytes(32, "big") + b"\0" + s.to_bytes(32, "big")).encode())
    refused(probe, head + b"." + b64(r.to_bytes(32, "big")).encode())


def test_42_a_malleable_signature_is_the_same_statement_of_the_same_person(probe: Probe, idp: IdentityProvider) -> None:
    """(r, n - s) verifies too, as ECDSA has it: another credential, but no other caller and no other claims."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    head, _, signature = idp.token(time.time(), key=idp.keys[1], us_person=False).rpartition(b".")
    raw = base64.urlsafe_b64decode(signature + b"==")
    flipped = raw[:32] + (order - int.from_bytes(raw[32:], "big")).to_bytes(32, "big")
    probe.refused(probe.post({"model": "gpt-frontier"}, token=(head + b"." + b64(flipped).encode()).decode()), (401, 451))


# -- 43 tokens and keys that end


def test_43_a_token_that_was_good_is_refused_once_it_has_expired(probe: Probe, idp: IdentityProvider) -> None:
    token = idp.token(time.time(), exp=int(time.time()) - 28, sub="soon").decode()  # within the skew of 30 s for 1 to 2 s more
    data = probe.post(OPEN, token=token)
    assert probe.ask(data).status == 200
    eventually(lambda: probe.ask(data).reason, lambda reason: reason == EXPIRED)
    probe.sent(len(probe.upstream.requests) - probe.seen)
    refused(probe, token, EXPIRED)
