"""Keys that an issuer publishes but that must not verify its access tokens."""

from functools import cache
from typing import Any

from tests.fixtures.idp import SigningKey, b64, jwk_of, new_private_key, rsa_key

SECRET = b"a shared secret that somebody published by mistake"


@cache
def hostile_keys() -> dict[str, tuple[SigningKey, dict[str, Any]]]:
    """By what is wrong with each: the private half, and what is published."""

    def made(kid: str, algorithm: str, private: Any, **members: Any) -> tuple[SigningKey, dict[str, Any]]:
        key = SigningKey(kid, algorithm, private)
        return key, {**key.jwk(), **members}

    weak = new_private_key("RS256", 1024)
    return {
        "for encryption": made("enc", "RS256", rsa_key(2), use="enc"),
        "for signing only": made("ops", "RS256", rsa_key(2), key_ops=["sign"]),
        "twice, first": made("dup", "RS256", rsa_key(3)),
        "twice, second": made("dup", "ES256", new_private_key("ES256")),
        "too short": made("weak", "RS256", weak),
        "for another algorithm": made("bound", "RS256", rsa_key(4), alg="RS512"),
        "of another curve": made("p384", "ES256", new_private_key("ES384"), alg="ES256"),
        "symmetric": (SigningKey("oct", "HS256", None), {"kty": "oct", "kid": "oct", "k": b64(SECRET), "alg": "HS256", "use": "sig"}),  # type: ignore[arg-type]
        "private": (SigningKey("leaked", "RS256", rsa_key(5)), {**_private_jwk(rsa_key(5)), "kid": "leaked", "use": "sig", "alg": "RS256"}),
    }


def _private_jwk(private: Any) -> dict[str, Any]:
    numbers = private.private_numbers()
    return {**jwk_of(private), "d": b64(numbers.d.to_bytes(256, "big"))}
