"""The keys that snapshots are signed with: Ed25519 (RFC 8032), in PEM as `openssl genpkey -algorithm ed25519` writes them.

Who signs holds the private half; who imports needs only the public one, and can forge nothing with it.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key, load_pem_public_key

from frontiergate.errors import StoreError

_SAID = b"frontiergate snapshot\0"  # a signature for this purpose is good for no other
_MAKE = "openssl genpkey -algorithm ed25519 -out PRIVATE"
_TAKE = "openssl pkey -in PRIVATE -pubout -out PUBLIC"
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm)  # TypeError: it has a passphrase


class SigningKey:
    """The private half."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.name = _name(key.public_key())

    def sign(self, digest: bytes) -> bytes:
        return self._key.sign(_SAID + digest)


class VerifyingKey:
    """The public half."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key
        self.name = _name(key)

    def signed(self, digest: bytes, signature: bytes) -> bool:
        try:
            self._key.verify(signature, _SAID + digest)
        except InvalidSignature:
            return False
        return True


def signing_key(file: str | None, env: str | None, environ: Mapping[str, str]) -> SigningKey:
    """From the file, or the variable of the environment. Raises StoreError, which never shows it."""
    pem, source = _pem(file, env, environ)
    try:
        key = load_pem_private_key(pem, None)
    except _UNREADABLE as error:
        raise StoreError(f"{source} holds no private key in PEM without a passphrase; make one: {_MAKE}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise StoreError(f"{source} holds a private key, but not of Ed25519; make one: {_MAKE}")
    return SigningKey(key)


def verifying_key(file: str | None, env: str | None, environ: Mapping[str, str]) -> VerifyingKey:
    """As `signing_key`; the private half has no business where snapshots are only read."""
    pem, source = _pem(file, env, environ)
    try:
        key = load_pem_public_key(pem)
    except _UNREADABLE as error:
        raise StoreError(f"{source} holds no public key in PEM; take it from the private one: {_TAKE}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise StoreError(f"{source} holds a public key, but not of Ed25519; take it from the private one that signed: {_TAKE}")
    return VerifyingKey(key)


def _pem(file: str | None, env: str | None, environ: Mapping[str, str]) -> tuple[bytes, str]:
    """What the source holds, and what to call it."""
    if file is not None:
        try:
            return Path(file).read_bytes(), f"the file {file}"
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise StoreError(f"the file {file} cannot be read: {why}; name the file that holds the key") from error
    assert env is not None
    if env not in environ:
        raise StoreError(f"the environment variable {env} is not set; set it to the key, in PEM")
    return environ[env].encode(errors="replace"), f"the environment variable {env}"


def _name(key: Ed25519PublicKey) -> str:
    """What people compare."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]
