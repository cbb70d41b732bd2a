"""A request as it was received: what the listener's parser collects and the exchange reads."""

from typing import Final

from frontiergate.dialects.operation import Answer, Dialect
from frontiergate.dialects.registry import Route
from frontiergate.domain.reason import Reason
from frontiergate.errors import CredentialError
from frontiergate.gate.fields import (
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    CREDENTIAL,
    EXPECT,
    FORWARDING,
    HOST,
    MARK,
    TRANSFER_ENCODING,
    UPGRADE,
)
from frontiergate.gate.gatekeeper import Ground
from frontiergate.gate.refused import Refused
from frontiergate.identity import credential as credentials
from frontiergate.wire import http1

_JSON_TYPES: Final = frozenset({b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8"})


class Request:
    """One request. `refused` is set as soon as something is wrong; from then on nothing of the body is kept."""

    # Class attributes are the defaults: what an ordinary request never sets costs it nothing.
    target: bytes = b""
    method: bytes = b""
    body_size: int = 0
    length: int | None = None  # of the body; None: chunked, or no head yet
    close: bool = False  # the connection closes after the answer
    complete: bool = False
    one_zero: bool = False  # HTTP/1.0
    expects: bool = False
    route: Route | None = None
    dialect: Dialect | None = None
    credential: bytes = b""
    refused: Refused | None = None
    _content_type: bytes | None = None
    _encoding: bytes | None = None
    _hosts: int = 0

    def __init__(self) -> None:
        self.fields: list[bytes] = []
        self.forwarding: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []
        self._credential_fields: list[tuple[bytes, bytes]] = []
        self._marks: list[bytes] = []

    def take_special(self, role: int, name: bytes, value: bytes) -> None:
        """Take a field that the gate reads itself (`fields` says which)."""
        if role == CONTENT_LENGTH:
            # llhttp has checked that it is one, of digits, and below 2**64; but int() fails at 4,300 digits, zeros before it included.
            self.length = int(value.lstrip(b"0") or b"0")
        elif role == CREDENTIAL:
            self._credential_fields.append((name.lower(), value))
        elif role == HOST:
            self._hosts += 1
        elif role == CONTENT_TYPE:
            if self._content_type is not None:
                self.refuse(Reason.CALLER_CONTENT_TYPE_UNSUPPORTED, "The request has two Content-Type fields; send one.")
            self._content_type = value
        elif role == MARK:
            lower = name.lower()
            self._marks.append(lower)
            self.fields += (b"\r\n%b: " % lower, value)
        elif role == FORWARDING:
            self.forwarding.append((name.lower(), value))
        elif role == CONTENT_ENCODING:
            # Lines of one name are one list (RFC 9110 section 5.3): a last `identity` must not hide a `gzip` before it.
            self._encoding = value if self._encoding is None else b"%b, %b" % (self._encoding, value)
        elif role == EXPECT:
            self.expects = True
            if value.strip().lower() != b"100-continue":
                self.refuse(Reason.CALLER_REQUEST_MALFORMED, "The only expectation that is met is 100-continue (RFC 9110 section 10.1.1).")
        elif role == TRANSFER_ENCODING:
            if value.lower() != b"chunked":
                self.refuse(Reason.CALLER_REQUEST_MALFORMED, "The only transfer coding that is read is chunked (RFC 9112 section 6.1).")
            self.length = -1
        elif role == UPGRADE:
            self.refuse(Reason.CALLER_REQUEST_MALFORMED, "This operation does not upgrade the connection; leave the Upgrade field out.")
        elif role == CONNECTION and http1.has_token(value, b"upgrade"):
            self.refuse(Reason.CALLER_REQUEST_MALFORMED, "This operation does not upgrade the connection.")

    def refuse(self, reason: Reason, message: str) -> None:
        """Note what is wrong; the first thing that was found stands."""
        if self.refused is None:
            self.refused = Refused(reason, message)

    def end_head(self, ground: Ground, version: str) -> None:
        """The head is complete: route it and check all that can be checked without the body."""
        if self.length == -1:
            self.length = None
            if version != "1.1":
                self.refuse(Reason.CALLER_REQUEST_MALFORMED, "A transfer coding needs HTTP/1.1 (RFC 9112 section 6.1).")
        elif self.length is None:
            self.length = 0
        self._check_framing(version)
        route = ground.routes.match(self.method, self.target, self._marks) if self.refused is None else None
        if route is None:
            self.dialect = ground.routes.dialect_for(self.target, self._marks)
            self.refuse(
                Reason.CALLER_OPERATION_UNKNOWN,
                "This gate has no such operation. Paths are matched exactly; see the documentation for those it serves.",
            )
            return
        self.route = route
        self.dialect = route.dialect
        try:
            self.credential = credentials.read(self._credential_fields, ground.extra_credential)
        except CredentialError as error:
            self.refuse(error.reason, str(error))
            return
        if route.query_problem is not None:
            self.refuse(Reason.CALLER_QUERY_UNEXPECTED, f"The request is refused: {route.query_problem}.")
        elif route.operation.answer is Answer.UPSTREAM:
            self._check_body_fields(ground.config.limits.body)
        elif self.length != 0:
            self.refuse(Reason.CALLER_REQUEST_MALFORMED, "This operation takes no body.")

    def _check_framing(self, version: str) -> None:
        if version not in {"1.1", "1.0"}:
            self.close = True
            self.refuse(Reason.CALLER_REQUEST_MALFORMED, f"HTTP/{version} is not spoken here; use HTTP/1.1.")
        elif self._hosts != 1 and (version == "1.1" or self._hosts):
            self.refuse(Reason.CALLER_REQUEST_MALFORMED, "A request has exactly one Host field (RFC 9112 section 3.2).")

    def _check_body_fields(self, limit: int) -> None:
        content_type = self._content_type
        if content_type not in _JSON_TYPES and (content_type is None or content_type.strip(b" \t").lower() not in _JSON_TYPES):
            self.refuse(Reason.CALLER_CONTENT_TYPE_UNSUPPORTED, "Send the body as application/json, in UTF-8.")
            return
        self.fields += (b"\r\ncontent-type: ", b"application/json")
        if self._encoding is not None and self._encoding.strip(b" \t").lower() != b"identity":
            self.refuse(Reason.CALLER_CONTENT_ENCODING_UNSUPPORTED, "Send the body without a Content-Encoding.")
        elif self.length is not None and self.length > limit:
            self.refuse_size(limit)

    def take_body(self, data: bytes, limit: int) -> None:
        """Take a piece of the body."""
        self.body_size += len(data)
        if self.refused is None:
            if self.body_size > limit:
                self.body.clear()
                self.refuse_size(limit)
            else:
                self.body.append(data)

    def refuse_size(self, limit: int) -> None:
        """The body is larger than `limits.body`."""
        self.refuse(Reason.CALLER_BODY_TOO_LARGE, f"The body is larger than the {limit} bytes that this gate reads.")

    def whole_body(self) -> bytes:
        """The body as received, without its framing."""
        body = self.body
        if len(body) != 1:
            body[:] = (b"".join(body),)
        return body[0]
