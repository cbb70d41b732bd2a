"""A request's head, read: which operation it means, who says to be calling, what of it passes on; or why it is refused.

A caller's heads differ in little but Content-Length, so that one field is kept apart: the reading of all others depends on nothing
else and is remembered, whole, by its exact bytes. llhttp still frames each request; what is saved is asking the same questions of
the same fields again.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from frontiergate.dialects.operation import Dialect
from frontiergate.dialects.registry import DIALECTS, Route
from frontiergate.domain.reason import Reason
from frontiergate.errors import CredentialError
from frontiergate.gate.fields import (
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_TYPE,
    CREDENTIAL,
    EXPECT,
    FORWARDING,
    HOST,
    MARK,
    TRANSFER_ENCODING,
    UPGRADE,
)
from frontiergate.gate.refused import Refused
from frontiergate.identity import credential as credentials
from frontiergate.identity.caller import Caller
from frontiergate.wire import http1

if TYPE_CHECKING:
    from frontiergate.gate.ground import Ground
    from frontiergate.gate.record import Admission
    from frontiergate.gate.upstream import Upstream

_FIELD_OVERHEAD: Final = 32  # what a field weighs besides its bytes, so that many empty ones are bounded too (RFC 9113 section 6.5.2)
_JSON_TYPES: Final = frozenset({b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8"})
_GENERATION: Final = 16 << 20  # bytes of heads that are remembered before the older generation is dropped: some 8,000 callers
_LARGEST: Final = 4096  # bytes of a head that is worth it
_WEIGHT: Final = 1024  # bytes that a reading weighs besides its text


class Head:
    """One reading. But for `caller`, `admitted` and what is prepared for upstreams, which are caches, it never changes."""

    # Class attributes are the defaults.
    dialect: Dialect = DIALECTS["openai"]
    method: bytes = b""
    route: Route | None = None
    credential: bytes = b""
    refused: Refused | None = None
    forwards: bool = False  # the operation is one that the upstream answers
    chunked: bool = False
    close: bool = False  # the connection closes after the answer
    expects: bool = False
    one_zero: bool = False  # HTTP/1.0
    fields: bytes = b""  # those that pass, as lines, each with its CRLF before it
    forwarding: Sequence[tuple[bytes, bytes]] = ()
    caller: Caller | None = None  # as last established for `credential`
    admitted: "Admission | None" = None  # the last one; `record` says what for

    def __init__(self) -> None:
        self._prepared: dict[Upstream, bytes] = {}

    def for_upstream(self, upstream: "Upstream") -> bytes:
        """The head to send to `upstream`, up to the fields that differ from request to request."""
        prepared = self._prepared.get(upstream)
        if prepared is None:
            assert self.route is not None
            prepared = upstream.request_head(self.method, self.route.path, self.route.query) + self.fields + b"\r\nx-gate-request-id: "
            self._prepared[upstream] = prepared
        return prepared


def unreadable(refused: Refused) -> Head:
    """The head of what could not be framed."""
    head = Head()
    head.refused = refused
    head.close = True
    return head


class Heads:
    """The readings that are remembered, by method, version, target and fields.

    In two generations: when the younger is full it becomes the older, and what is asked for again moves on. So a crowd that is larger
    than the memory pushes out who has not come lately, not everybody at once.
    """

    __slots__ = ("_older", "_size", "_younger")

    def __init__(self) -> None:
        self._younger: dict[tuple[object, ...], Head] = {}
        self._older: dict[tuple[object, ...], Head] = {}
        self._size = 0  # bytes of the younger

    def read(self, ground: "Ground", line: tuple[bytes, bytes, str], fields: list[bytes], *, keep_alive: bool) -> Head:
        """The reading of a head. `line`: method, target and version; `fields`: names and values in turn, without Content-Length."""
        key = (*line, *fields)
        head = self._younger.get(key)
        if head is None:
            head = self._older.get(key)
            if head is None:
                head = _Reading(ground, *line).read(fields, keep_alive=keep_alive)
            self._keep(key, head, len(line[1]) + sum(map(len, fields)))
        return head

    def _keep(self, key: tuple[object, ...], head: Head, size: int) -> None:
        if size > _LARGEST:
            return
        if self._size > _GENERATION:
            self._older, self._younger, self._size = self._younger, {}, 0
        self._younger[key] = head
        self._size += size + _WEIGHT


class _Reading:
    """Reads one head."""

    def __init__(self, ground: "Ground", method: bytes, target: bytes, version: str) -> None:
        self._ground = ground
        self._version = version
        self._target = target
        self._head = Head()
        self._head.method = method
        self._head.one_zero = version == "1.0"
        self._passing: list[bytes] = []
        self._forwarding: list[tuple[bytes, bytes]] = []
        self._credentials: list[tuple[bytes, bytes]] = []
        self._marks: list[bytes] = []
        self._content_type: bytes | None = None
        self._encoding: bytes | None = None
        self._hosts = 0

    def read(self, fields: list[bytes], *, keep_alive: bool) -> Head:
        head = self._head
        head.close = not keep_alive
        size = len(self._target) + sum(map(len, fields)) + _FIELD_OVERHEAD * (len(fields) // 2)
        limit = self._ground.config.limits.head
        if size > limit:
            head.close = True
            self._refuse(Reason.CALLER_HEAD_TOO_LARGE, f"The request's head is larger than {limit} bytes.")
        classified = self._ground.fields
        for index in range(0, len(fields), 2):
            name, value = fields[index], fields[index + 1]
            field = classified.known.get(name)
            if field is None:
                field = classified.classify(name)
            if isinstance(field, bytes):
                self._passing += (field, value)
            elif field:
                self._take(field, name, value)
        self._conclude()
        head.fields = b"".join(self._passing)
        head.forwarding = tuple(self._forwarding)
        return head

    def _take(self, role: int, name: bytes, value: bytes) -> None:
        """Take a field that the gate reads itself (`fields` says which)."""
        if role == CREDENTIAL:
            self._credentials.append((name.lower(), value))
        elif role == HOST:
            self._hosts += 1
        elif role == CONTENT_TYPE:
            if self._content_type is not None:
                self._refuse(Reason.CALLER_CONTENT_TYPE_UNSUPPORTED, "The request has two Content-Type fields; send one.")
            self._content_type = value
        elif role == MARK:
            lower = name.lower()
            self._marks.append(lower)
            self._passing += (b"\r\n%b: " % lower, value)
        elif role == FORWARDING:
            self._forwarding.append((name.lower(), value))
        elif role == CONTENT_ENCODING:
            # Lines of one name are one list (RFC 9110 section 5.3): a last `identity` must not hide a `gzip` before it.
            self._encoding = value if self._encoding is None else b"%b, %b" % (self._encoding, value)
        elif role == EXPECT:
            self._head.expects = True
            if value.strip().lower() != b"100-continue":
                self._malformed("The only expectation that is met is 100-continue (RFC 9110 section 10.1.1).")
        elif role == TRANSFER_ENCODING:
            if value.lower() != b"chunked":
                self._malformed("The only transfer coding that is read is chunked (RFC 9112 section 6.1).")
            elif self._version != "1.1":
                self._malformed("A transfer coding needs HTTP/1.1 (RFC 9112 section 6.1).")
            self._head.chunked = True
        elif role == UPGRADE:
            self._malformed("This operation does not upgrade the connection; leave the Upgrade field out.")
        elif role == CONNECTION and http1.has_token(value, b"upgrade"):
            self._malformed("This operation does not upgrade the connection.")

    def _conclude(self) -> None:
        """All fields are taken: route the request and check what can be checked without its body."""
        head, ground = self._head, self._ground
        self._check_framing()
        route = ground.routes.match(head.method, self._target, self._marks) if head.refused is None else None
        if route is None:
            head.dialect = ground.routes.dialect_for(self._target, self._marks)
            self._refuse(
                Reason.CALLER_OPERATION_UNKNOWN,
                "This gate has no such operation. Paths are matched exactly; see the documentation for those it serves.",
            )
            return
        head.route = route
        head.dialect = route.dialect
        head.forwards = route.operation.takes_body
        try:
            head.credential = credentials.read(self._credentials, ground.extra_credential)
        except CredentialError as error:
            self._refuse(error.reason, str(error))
            return
        if route.query_problem is not None:
            self._refuse(Reason.CALLER_QUERY_UNEXPECTED, f"The request is refused: {route.query_problem}.")
        elif head.forwards:
            self._check_body_fields()

    def _check_framing(self) -> None:
        if self._version not in {"1.1", "1.0"}:
            self._head.close = True
            self._malformed(f"HTTP/{self._version} is not spoken here; use HTTP/1.1.")
        elif self._hosts != 1 and (self._version == "1.1" or self._hosts):
            self._malformed("A request has exactly one Host field (RFC 9112 section 3.2).")

    def _check_body_fields(self) -> None:
        content_type = self._content_type
        if content_type not in _JSON_TYPES and (content_type is None or content_type.strip(b" \t").lower() not in _JSON_TYPES):
            self._refuse(Reason.CALLER_CONTENT_TYPE_UNSUPPORTED, "Send the body as application/json, in UTF-8.")
            return
        self._passing += (b"\r\ncontent-type: ", b"application/json")
        if self._encoding is not None and self._encoding.strip(b" \t").lower() != b"identity":
            self._refuse(Reason.CALLER_CONTENT_ENCODING_UNSUPPORTED, "Send the body without a Content-Encoding.")

    def _malformed(self, message: str) -> None:
        self._refuse(Reason.CALLER_REQUEST_MALFORMED, message)

    def _refuse(self, reason: Reason, message: str) -> None:
        """Note what is wrong; the first thing that was found stands."""
        if self._head.refused is None:
            self._head.refused = Refused(reason, message)
