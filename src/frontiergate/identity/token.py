"""JSON Web Tokens: signed by a pinned issuer, for us, now, or refused (RFC 7519, RFC 8725; BYPASSES 34-43, 47).

The header and the payload are read strictly before anything is believed; the payload's `iss` only chooses whose keys
apply. Signatures are left to pyjwt and cryptography, with one algorithm and one key.
"""

import base64
from collections.abc import Mapping
from typing import Final

import jwt
import msgspec

from frontiergate.config.schema import Issuer
from frontiergate.domain.reason import Reason
from frontiergate.errors import CredentialError
from frontiergate.identity.claims import MISSING, claim_at
from frontiergate.identity.jwks import Key, KeySet
from frontiergate.identity.strictjson import Object, parse_object

_BASE64URL: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
# Headers that bring their own key (RFC 8725 section 3.10), change what is signed (RFC 7797), or ask for what we do not do.
_REFUSED_HEADERS: Final = frozenset({"crit", "b64", "jwk", "jku", "x5u", "x5c", "cty", "enc", "zip"})
_TYPES: Final = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})  # RFC 8725 section 3.11, RFC 9068 section 2.1
_LONGEST_NAME: Final = 256  # characters of a subject or a kid
_LATEST: Final = 253_402_300_800.0  # the year 10000: any later instant is a mistake or a trick


class VerifiedToken(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What a token says once it is believed. Instants are POSIX seconds; `expires_at` includes the accepted skew."""

    issuer: Issuer
    subject: str
    claims: Object
    issued_at: float
    expires_at: float
    key: str  # identity of the key that verified it


class SignatureBudget:
    """How many costly checks may be made in one second of the clock: a flood of tokens must not starve the loop (BYPASSES 79)."""

    __slots__ = ("_left", "_per_second", "_second")

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._left = per_second
        self._second = -1

    def spend(self, at: float) -> None:
        """Take one check. Raises CredentialError(gate_overloaded)."""
        second = int(at)
        if second != self._second:
            self._second, self._left = second, self._per_second
        if self._left <= 0:
            raise CredentialError(Reason.GATE_OVERLOADED, "Too many new credentials at once; try again in a second.")
        self._left -= 1


async def verify(token: bytes, key_sets: Mapping[str, KeySet], at: float, leeway: float, budget: SignatureBudget) -> VerifiedToken:
    """The token's content, if a pinned issuer signed it for us and it is in force at `at`. Raises CredentialError.

    `key_sets`: by issuer, exactly as in `iss`. Messages never hold anything of the token.
    """
    parts = token.split(b".")
    if len(parts) != 3:
        raise _invalid("not a signed token in compact form (RFC 7515 section 3.1)")
    header, claims = _object_in(parts[0], "header"), _object_in(parts[1], "payload")
    signature = _decoded(parts[2], "signature")
    algorithm, kid = _checked_header(header)
    issuer_name = claims.get("iss")
    key_set = key_sets.get(issuer_name) if isinstance(issuer_name, str) else None
    if key_set is None:
        raise _invalid("not from an issuer that this gate accepts")
    issuer = key_set.issuer
    if algorithm not in issuer.algorithms:
        raise _invalid("signed with an algorithm that is not accepted from its issuer")
    key = await key_set.key(kid, algorithm)
    if key_sets.get(issuer.issuer) is not key_set:  # the issuer was removed while its keys were on their way
        raise _invalid("not from an issuer that this gate accepts")
    budget.spend(at)
    if not _is_signed(b".".join(parts[:2]), signature, algorithm, key):
        raise _invalid("its signature is not right")
    issued_at, expires_at = _in_force(claims, at, leeway)
    _check_audience(claims, issuer)
    return VerifiedToken(
        issuer=issuer, subject=_subject_of(claims, issuer), claims=claims, issued_at=issued_at, expires_at=expires_at, key=key.identity
    )


def _is_signed(signed: bytes, signature: bytes, algorithm: str, key: Key) -> bool:
    """Asks pyjwt's algorithm itself: its reader would take the token apart a second time, which costs four times the signature.

    The key fits the algorithm in type and curve (`Key.fits`), so nothing but the signature can be wrong.
    """
    return jwt.get_algorithm_by_name(algorithm).verify(signed, key.public, signature)


def _decoded(part: bytes, what: str) -> bytes:
    """Canonical base64url only: with spare bits set, other bytes would be the same token."""
    if part and not part.translate(None, _BASE64URL) and len(part) % 4 != 1:
        content = base64.urlsafe_b64decode(part + b"==")
        if base64.urlsafe_b64encode(content).rstrip(b"=") == part:
            return content
    raise _invalid(f"its {what} is not base64url without padding (RFC 7515 section 2)")


def _object_in(part: bytes, what: str) -> Object:
    try:
        return parse_object(_decoded(part, what))
    except ValueError:
        raise _invalid(f"its {what} is not one unambiguous JSON object") from None


def _checked_header(header: Object) -> tuple[str, str | None]:
    if not _REFUSED_HEADERS.isdisjoint(header):
        raise _invalid("its header asks for what this gate does not do")
    algorithm, named, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    kid = named if isinstance(named, str) else None
    if not isinstance(algorithm, str):
        raise _invalid("its header names no algorithm")
    if "kid" in header and (kid is None or not 0 < len(kid) <= _LONGEST_NAME):
        raise _invalid("its header's kid is not a short string")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise _invalid("its header's typ is not that of an access or identity token")
    return algorithm, kid


def _instant(claims: Object, name: str) -> float | None:
    """A NumericDate (RFC 7519 section 2), None where there is none."""
    if name not in claims:
        return None
    value = claims[name]
    # Compared, not converted: NaN and infinity fail, and an integer of 400 digits has no float (OverflowError).
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LATEST:
        raise _invalid(f"its {name} is not a NumericDate (RFC 7519 section 2)")
    return float(value)


def _in_force(claims: Object, at: float, leeway: float) -> tuple[float, float]:
    """When the token was issued, as far as it says, and when it ends; both checked."""
    expires, not_before, issued = (_instant(claims, name) for name in ("exp", "nbf", "iat"))
    if expires is None:
        raise _invalid("it has no exp: tokens must expire")
    if expires + leeway <= at:
        raise CredentialError(Reason.CALLER_CREDENTIAL_EXPIRED, "The token has expired; get a new one from its issuer.")
    if max(not_before or 0.0, issued or 0.0) > at + leeway:
        raise _invalid("it is not in force yet; compare the clocks of its issuer and of this gate")
    return min(issued, at) if issued is not None else at, expires + leeway


def _check_audience(claims: Object, issuer: Issuer) -> None:
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if not all(isinstance(one, str) for one in audiences) or not set(issuer.audiences).intersection(audiences):
        raise _invalid("it is not for this gate (aud)")


def _subject_of(claims: Object, issuer: Issuer) -> str:
    """The subject, exactly as it is: nothing is folded or normalised, so no two subjects of an issuer become one (BYPASSES 47)."""
    subject = claim_at(claims, issuer.claims.subject)
    if subject is MISSING or not isinstance(subject, str) or not (0 < len(subject) <= _LONGEST_NAME) or not subject.isprintable():
        raise _invalid("its subject is not a printable string of 1 to 256 characters")
    return subject


def _invalid(what: str) -> CredentialError:
    return CredentialError(Reason.CALLER_CREDENTIAL_INVALID, f"The token is refused: {what}.")
