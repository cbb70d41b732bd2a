"""Which header fields pass, in each direction. Closed by default: a field that no table names does not pass (P2, P6).

Some upstreams let a header choose the model, the deployment or the account, so the request table is a list of what may pass, not
of what may not. Classified names are memoised, bounded: a dict look-up a field is what the ordinary request pays.
"""

from collections.abc import Iterable
from typing import Final

DROP: Final = 0
HOST: Final = 1
CONTENT_LENGTH: Final = 2
TRANSFER_ENCODING: Final = 3
CONNECTION: Final = 4
CONTENT_TYPE: Final = 5
CONTENT_ENCODING: Final = 6
EXPECT: Final = 7
CREDENTIAL: Final = 8
FORWARDING: Final = 9
MARK: Final = 10
UPGRADE: Final = 11
LOCATION: Final = 12

_ROLES: Final = {
    b"host": HOST,
    b"content-length": CONTENT_LENGTH,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"connection": CONNECTION,
    b"content-type": CONTENT_TYPE,
    b"content-encoding": CONTENT_ENCODING,
    b"expect": EXPECT,
    b"x-forwarded-for": FORWARDING,
    b"forwarded": FORWARDING,
    b"upgrade": UPGRADE,
}

# What model APIs read and what is of no harm to them: representation, tracing, SDK telemetry, protocol versions and betas.
# Not `idempotency-key`: to the upstream all callers are the gate's one account, so one's key could fetch another's stored answer.
_PASS: Final = frozenset(
    {
        b"accept",
        b"accept-language",
        b"anthropic-beta",
        b"anthropic-dangerous-direct-browser-access",
        b"anthropic-version",
        b"openai-beta",
        b"traceparent",
        b"tracestate",
        b"user-agent",
        b"x-client-request-id",
        b"x-request-id",
    }
)
_PASS_PREFIXES: Final = (b"x-stainless-",)
_MEMO: Final = 4096  # names memoised; beyond it a name is classified each time

_NOT_RELAYED: Final = frozenset(
    {
        b"alt-svc",
        b"authorization",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"refresh",  # browsers follow it like a redirect
        b"set-cookie",
        b"set-cookie2",
        b"strict-transport-security",
        b"te",
        b"trailer",
        b"upgrade",
        b"www-authenticate",
        b"x-api-key",
    }
)


class RequestFields:
    """The request's table: field name as received → its line's beginning (bytes: it passes) or its role (int)."""

    __slots__ = ("_credentials", "_marks", "known")

    def __init__(self, credentials: Iterable[bytes], marks: Iterable[bytes]) -> None:
        self._credentials = frozenset(credentials)
        self._marks = frozenset(marks)
        self.known: dict[bytes, bytes | int] = {}

    def classify(self, name: bytes) -> bytes | int:
        """What becomes of the field `name`, a token (RFC 9110 section 5.6.2) as the parser guarantees."""
        lower = name.lower()
        found: bytes | int
        if lower in self._credentials:
            found = CREDENTIAL
        elif lower in self._marks:
            found = MARK
        elif lower in _ROLES:
            found = _ROLES[lower]
        elif lower in _PASS or lower.startswith(_PASS_PREFIXES):
            # `_` and `-` are one character to some upstreams (CGI and WSGI): a second spelling never passes.
            found = DROP if b"_" in lower else b"\r\n%b: " % lower
        else:
            found = DROP
        if len(self.known) < _MEMO:
            self.known[bytes(name)] = found
        return found


_RESPONSE_ROLES: Final = {
    b"connection": CONNECTION,
    b"content-length": CONTENT_LENGTH,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"content-type": CONTENT_TYPE,
    b"content-encoding": CONTENT_ENCODING,
    b"location": LOCATION,
}


class ResponseFields:
    """The response's table: field name as received → its line's beginning (bytes: it is relayed) or its role (int)."""

    __slots__ = ("known",)

    def __init__(self) -> None:
        self.known: dict[bytes, bytes | int] = {}

    def classify(self, name: bytes) -> bytes | int:
        """What becomes of the field `name` of an upstream's answer."""
        lower = name.lower()
        found: bytes | int
        if lower in _RESPONSE_ROLES:
            found = _RESPONSE_ROLES[lower]
        elif lower in _NOT_RELAYED or lower.startswith(b"x-gate-") or b"_" in lower:
            found = DROP
        else:
            found = b"\r\n%b: " % lower
        if len(self.known) < _MEMO:
            self.known[bytes(name)] = found
        return found
