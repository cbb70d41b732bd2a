"""One issuer's signing keys: fetched or read, filtered, refreshed, and given up in time (RFC 7517; BYPASSES 37, 42).

Known keys are served without waiting. An unknown `kid` asks the issuer again, with one fetch in flight, not more often
than every few seconds, and not again for a `kid` the issuer just said it does not have. While the issuer cannot be
reached its keys go on working until they are `keys_max_age` old.
"""

import asyncio
import hashlib
import logging
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from frontiergate.config.schema import Issuer
from frontiergate.domain.reason import Reason
from frontiergate.errors import ConfigError, CredentialError
from frontiergate.identity.strictjson import Object, parse_object

_log = logging.getLogger(__name__)

_LARGEST: Final = 1 << 20  # bytes of a key set
_REFETCH_INTERVAL: Final = 5.0  # at least so many seconds between two fetches that callers cause
_ABSENT_FOR: Final = 60.0  # how long a `kid` that the issuer does not have is not asked for again
_ABSENT_KEPT: Final = 1024
_FILE_POLL: Final = 1.0
_RSA_BITS: Final = range(2048, 16385)  # shorter is forgeable (RFC 7518 section 3.3); longer only burns time
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

_PUBLIC: Final = (RSAPublicKey, EllipticCurvePublicKey, Ed25519PublicKey)
PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

# The key types and curves that each algorithm may be used with (RFC 7518 section 3.1, RFC 8037 section 3.1).
_FITS: Final = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", None)),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
_READERS: Final = {"RSA": RSAAlgorithm.from_jwk, "EC": ECAlgorithm.from_jwk, "OKP": OKPAlgorithm.from_jwk}
_PUBLIC_PARTS: Final = ("kid", "alg", "kty", "crv", "n", "e", "x", "y")


class Key(msgspec.Struct, frozen=True, eq=False):
    """One usable public key. `identity` changes with whatever of it matters to a verification."""

    kid: str | None
    kty: str
    crv: str | None
    alg: str | None  # where the issuer binds the key to one algorithm
    public: PublicKey
    identity: str

    def fits(self, alg: str) -> bool:
        """Whether `alg` may be verified with this key."""
        return _FITS.get(alg) == (self.kty, self.crv) and self.alg in {None, alg}


def read_keys(document: bytes) -> list[Key]:
    """The usable keys of a JWK set. A key that is not for verifying, weak, private or malformed is left out, and so is every
    key whose `kid` another has too. Raises ValueError where the document is not a key set."""
    match parse_object(document).get("keys"):
        case list() as listed:
            entries = [entry for entry in listed if isinstance(entry, dict)]
        case _:
            raise ValueError("there is no array `keys` in it (RFC 7517 section 5)")
    kids = Counter(kid for entry in entries if isinstance(kid := entry.get("kid"), str))
    keys = [key for entry in entries if (key := _read_key(entry)) is not None]
    return [key for key in keys if key.kid is None or kids[key.kid] == 1]


def _read_key(entry: Object) -> Key | None:
    operations = entry.get("key_ops", ["verify"])
    if entry.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    try:
        kid, alg, kty, crv = (_text(entry, name) for name in ("kid", "alg", "kty", "crv"))
        if kty not in _READERS:
            return None
        public = _READERS[kty](entry)
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    if not isinstance(public, _PUBLIC):  # a private key that was published is anybody's
        return None
    if isinstance(public, RSAPublicKey) and public.key_size not in _RSA_BITS:
        return None
    canonical = msgspec.json.encode([entry.get(part) for part in _PUBLIC_PARTS])
    return Key(kid, kty, crv if kty != "RSA" else None, alg, public, hashlib.sha256(canonical).hexdigest())


def _text(entry: Object, name: str) -> str | None:
    value = entry.get(name)
    if value is None or isinstance(value, str):
        return value
    raise ValueError(f"{name} is not a string")


class KeySet:
    """The keys of one issuer, alive: `start` it, ask it for keys, `stop` it.

    `on_removed` gets the identities of keys that are no longer good: what was verified with them must be forgotten.
    `clock` measures ages only. Raises ConfigError where `jwks` is a URL that anybody on the way could answer.
    """

    def __init__(self, issuer: Issuer, on_removed: Callable[[frozenset[str]], None], clock: Callable[[], float]) -> None:
        self.issuer = issuer
        self._source = _source_of(issuer)
        self._on_removed = on_removed
        self._clock = clock
        self._document: bytes | None = None
        self._keys: list[Key] = []
        self._confirmed_at: float | None = None  # when the issuer last said that these are its keys
        self._attempted_at: float | None = None
        self._failing = False
        self._absent: OrderedDict[str, float] = OrderedDict()
        self._flight: asyncio.Task[None] | None = None
        self._follower: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Try to load the keys, then follow their changes in the background. A failure is logged, not raised."""
        await self.refresh()
        if self._follower is None:
            self._follower = asyncio.create_task(self._follow(), name=f"keys of {self.issuer.issuer}")

    async def stop(self) -> None:
        """Stop following and give up a fetch in flight."""
        tasks = [task for task in (self._follower, self._flight) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._follower = None

    async def key(self, kid: str | None, alg: str) -> Key:
        """The key for a token with this header. Raises CredentialError: invalid, or gate_identity_unavailable."""
        self._expire()
        found = self._find(kid, alg)
        if found is None and self._may_ask(kid):
            await self.refresh()
            found = self._find(kid, alg)
            if found is None and kid is not None and not self._failing:
                self._remember_absent(kid)
        if found is not None:
            return found
        if self._confirmed_at is None or (self._failing and self._is_new(kid)):
            raise CredentialError(Reason.GATE_IDENTITY_UNAVAILABLE, "The keys of the token's issuer cannot be had right now; try again.")
        raise CredentialError(Reason.CALLER_CREDENTIAL_INVALID, "The token is not signed with a key of its issuer that fits it.")

    async def refresh(self) -> None:
        """Load the keys now; callers in the meantime share one fetch, and a caller that goes away does not end it."""
        flight = self._flight
        if flight is None:
            flight = self._flight = asyncio.create_task(self._renew(), name=f"fetch keys of {self.issuer.issuer}")
            flight.add_done_callback(self._landed)
        await asyncio.wait([flight])  # unlike shield(), does not pass on a cancellation of the flight by stop()
        if not flight.cancelled():
            flight.result()

    def _landed(self, _flight: asyncio.Task[None]) -> None:
        self._flight = None

    async def _follow(self) -> None:
        every = _FILE_POLL if isinstance(self._source, Path) else min(self.issuer.keys_refresh, self.issuer.keys_max_age)
        while True:
            await asyncio.sleep(every)
            await self.refresh()

    async def _renew(self) -> None:
        self._attempted_at = self._clock()
        try:
            if isinstance(self._source, Path):
                document = await asyncio.to_thread(_read_file, self._source)
            else:
                from frontiergate.identity.fetch import fetch  # an HTTP client's memory is paid only where an issuer has a URL

                document = await fetch(self._source, _LARGEST)
            keys = self._keys if document == self._document else read_keys(document)
        except (TimeoutError, OSError, ValueError) as error:
            if not self._failing:
                _log.warning("keys of issuer %s cannot be had, using those known: %s", self.issuer.issuer, error or type(error).__name__)
            self._failing = True
            self._expire()
            return
        self._failing = False
        self._confirmed_at = self._clock()
        if keys is not self._keys:
            if not keys:
                _log.warning("issuer %s publishes no usable key: its tokens are refused", self.issuer.issuer)
            self._adopt(keys)
        self._document = document

    def _adopt(self, keys: list[Key]) -> None:
        removed = frozenset(key.identity for key in self._keys) - {key.identity for key in keys}
        self._keys = keys
        self._absent.clear()
        if removed:
            self._on_removed(removed)

    def _expire(self) -> None:
        """Give up keys that the issuer has not confirmed for too long."""
        if self._confirmed_at is not None and self._clock() - self._confirmed_at > self.issuer.keys_max_age:
            _log.error("keys of issuer %s are too old to be used: its tokens are refused", self.issuer.issuer)
            self._confirmed_at = self._document = None
            self._adopt([])

    def _find(self, kid: str | None, alg: str) -> Key | None:
        if kid is not None:
            return next((key for key in self._keys if key.kid == kid and key.fits(alg)), None)
        fitting = [key for key in self._keys if key.fits(alg)]
        return fitting[0] if len(fitting) == 1 else None

    def _is_new(self, kid: str | None) -> bool:
        return kid is not None and all(key.kid != kid for key in self._keys)

    def _may_ask(self, kid: str | None) -> bool:
        """Whether asking the issuer again may help, and is not asked of it too often."""
        if self._flight is not None:
            return True
        now = self._clock()
        if self._attempted_at is not None and now - self._attempted_at < _REFETCH_INTERVAL:
            return False
        if self._confirmed_at is None:
            return True
        return kid is not None and self._is_new(kid) and self._absent.get(kid, now) <= now

    def _remember_absent(self, kid: str) -> None:
        self._absent[kid] = self._clock() + _ABSENT_FOR
        if len(self._absent) > _ABSENT_KEPT:
            self._absent.popitem(last=False)


def _source_of(issuer: Issuer) -> str | Path:
    if "://" not in issuer.jwks:
        return Path(issuer.jwks)
    url = urlsplit(issuer.jwks)
    if url.scheme == "https" or (url.scheme == "http" and url.hostname in _LOOPBACK):
        return issuer.jwks
    raise ConfigError([f"identity.issuers: {issuer.issuer}: jwks must be an https:// URL or a file (http:// only for this host itself)"])


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        document = file.read(_LARGEST + 1)
    if len(document) > _LARGEST:
        raise ValueError(f"the key set is larger than {_LARGEST} bytes")
    return document
