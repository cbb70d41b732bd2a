"""An upstream: its keep-alive connections, and reading its answers (DESIGN 5, "what always holds in an exchange").

A connection is used again only if both messages ended exactly and no byte was left over. A request is never sent twice.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Mapping
from typing import Final, Protocol, cast
from urllib.parse import urlsplit

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpResponseParser

from frontiergate.config.load import secret
from frontiergate.config.schema import Upstream as UpstreamConfig
from frontiergate.gate.fields import ResponseFields

_MAX_INTERIM: Final = 8  # 1xx responses accepted before the final one
_MAX_FIELDS: Final = 256
_MAX_HEAD: Final = 256 << 10  # bytes read before the head must have ended


class Receiver(Protocol):
    """Who is told of an answer: an exchange."""

    def upstream_progress(self, connection: "UpstreamConnection") -> None:
        """A head, body or end has come; see the connection's attributes."""

    def upstream_lost(self, connection: "UpstreamConnection", why: str) -> None:
        """The answer will not be completed."""

    def upstream_blocked(self, blocked: bool) -> None:
        """The upstream stopped or resumed reading the request."""


class Upstream:
    """One upstream of the configuration: where it is, what it is sent, and its idle connections, newest first."""

    def __init__(self, name: str, config: UpstreamConfig, environ: Mapping[str, str]) -> None:
        url = urlsplit(config.url)
        self.name = name
        self.host = url.hostname or ""
        self.tls = url.scheme == "https"
        self.port = url.port or (443 if self.tls else 80)
        self._base = url.path.rstrip("/").encode("ascii")
        self._config = config
        self._context = ssl.create_default_context(cafile=config.ca) if self.tls else None
        self._idle: list[UpstreamConnection] = []
        self._open: set[UpstreamConnection] = set()
        self._dialling = 0
        self._closed = False
        self.fields = ResponseFields()
        authority = f"[{self.host}]" if ":" in self.host else self.host
        if url.port:
            authority += f":{url.port}"
        head = f"host: {authority}\r\naccept-encoding: identity"
        self.credential_header = b""
        if config.credential is not None:
            value = secret(config.credential.env, config.credential.file, environ)
            scheme = f"{config.credential.scheme} " if config.credential.scheme else ""
            head += f"\r\n{config.credential.header.lower()}: {scheme}{value}"
        self._fixed = b" HTTP/1.1\r\n" + head.encode("latin-1")
        self._heads: dict[tuple[bytes, bytes], bytes] = {}

    def request_head(self, method: bytes, path: bytes, query: bytes) -> bytes:
        """The request line and the fields that the gate sets, without the end of the last line."""
        if query:
            return b"%b %b%b?%b%b" % (method, self._base, path, query, self._fixed)
        head = self._heads.get((method, path))
        if head is None:
            # Operations are exact paths of the dialects' tables, so this dict is as small as they are.
            head = self._heads[(method, path)] = b"%b %b%b%b" % (method, self._base, path, self._fixed)
        return head

    def take(self) -> "UpstreamConnection | None":
        """An idle connection, or None."""
        return self._idle.pop() if self._idle else None

    @property
    def full(self) -> bool:
        """Whether no further connection may be opened."""
        return len(self._open) + self._dialling >= self._config.max_connections

    async def dial(self, deadline: float) -> "UpstreamConnection":
        """A new connection. Raises OSError (ssl.SSLError among them) or TimeoutError after `deadline` seconds."""
        self._dialling += 1
        try:
            async with asyncio.timeout(deadline):
                _, protocol = await asyncio.get_running_loop().create_connection(
                    lambda: UpstreamConnection(self),
                    self.host,
                    self.port,
                    ssl=self._context,
                    server_hostname=self.host if self.tls else None,
                )
        finally:
            self._dialling -= 1
        return protocol

    def put_back(self, connection: "UpstreamConnection") -> None:
        """Keep a connection that ended its exchange cleanly, or close it."""
        if self._closed or len(self._idle) >= self._config.idle_connections:
            connection.abort()
        else:
            self._idle.append(connection)

    def opened(self, connection: "UpstreamConnection") -> None:
        self._open.add(connection)

    def gone(self, connection: "UpstreamConnection") -> None:
        self._open.discard(connection)
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)

    def close(self) -> None:
        """Close what is idle now, and what is in use when it is given back."""
        self._closed = True
        for connection in list(self._idle):
            connection.abort()
        self._idle.clear()


class UpstreamConnection(asyncio.Protocol):
    """One connection and the answer that is being read from it.

    `status`, `head` (relayed fields, ready to be joined), `location`, `length` and `encoding` are set once `head_complete`;
    `body` collects what has come since the receiver last took it; `complete` tells that the message ended.
    """

    __slots__ = (
        "_dirty",
        "_fields",
        "_head_bytes",
        "_interim",
        "_keep_alive",
        "_known",
        "_parser",
        "_receiver",
        "_transport",
        "_until_close",
        "_upstream",
        "body",
        "chunked",
        "complete",
        "content_type",
        "encoding",
        "head",
        "head_complete",
        "length",
        "location",
        "status",
    )

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._known = upstream.fields.known
        self._receiver: Receiver | None = None
        self._transport: asyncio.Transport
        self._parser = HttpResponseParser(self)
        self._dirty = False
        self._expect_nothing()

    def _expect_nothing(self) -> None:
        self.head: list[bytes] = []
        self.body: list[bytes] = []
        self.head_complete = self.complete = self.chunked = self._until_close = self._keep_alive = False
        self.status = self._interim = self._head_bytes = self._fields = 0
        self.length: bytes | None = None
        self.location: bytes | None = None
        self.encoding: bytes | None = None
        self.content_type = b""

    # -- what an exchange does with it

    def send(self, receiver: Receiver, head: bytes, body: bytes) -> None:
        """Send one request and tell `receiver` of the answer."""
        self._receiver = receiver
        if len(body) <= 1 << 16:
            self._transport.write(head + body)  # one write, one segment where it fits
        else:
            self._transport.write(head)
            self._transport.write(body)

    def release(self) -> None:
        """The exchange has ended well: keep the connection if HTTP allows it and nothing is left over."""
        self._receiver = None
        reusable = (
            not self._dirty
            and not self._until_close
            and self._keep_alive
            and not self._transport.is_closing()
            and self._transport.get_write_buffer_size() == 0  # the request was not wholly taken: an early answer
        )
        if reusable:
            self._expect_nothing()
            self._transport.resume_reading()
            self._upstream.put_back(self)
        else:
            self.abort()

    def abort(self) -> None:
        """Close at once; the receiver is not told."""
        self._receiver = None
        self._transport.abort()

    def pause(self) -> None:
        self._transport.pause_reading()

    def resume(self) -> None:
        self._transport.resume_reading()

    # -- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._upstream.opened(self)

    def data_received(self, data: bytes) -> None:
        receiver = self._receiver
        if receiver is None:  # bytes that nobody asked for: never the beginning of another caller's answer
            self._transport.abort()
            return
        if not self.head_complete:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if not self.complete:
                self._fail("its answer is not valid HTTP" if not isinstance(error, HttpParserCallbackError) else str(error.__context__))
                return
            self._dirty = True
        if not self.head_complete and self._head_bytes > _MAX_HEAD:
            self._fail("its answer's head is too large")
            return
        if self.head_complete:
            receiver.upstream_progress(self)

    def eof_received(self) -> None:
        # A body that is delimited by the connection's end (RFC 9112 section 6.3, rule 8) ends here, and only by an orderly FIN.
        if self._receiver is not None and self._until_close and not self.complete:
            self.complete = True
            self._receiver.upstream_progress(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._upstream.gone(self)
        if self._receiver is not None and not self.complete:
            self._fail("it closed the connection before its answer had ended")

    def pause_writing(self) -> None:
        if self._receiver is not None:
            self._receiver.upstream_blocked(blocked=True)

    def resume_writing(self) -> None:
        if self._receiver is not None:
            self._receiver.upstream_blocked(blocked=False)

    def _fail(self, why: str) -> None:
        receiver, self._receiver = self._receiver, None
        self._transport.abort()
        if receiver is not None:
            receiver.upstream_lost(self, why)

    # -- llhttp

    def on_message_begin(self) -> None:
        if self.complete:
            self._dirty = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head_complete:  # trailers are not relayed
            return
        self._fields += 1
        line = self._known.get(name)
        if line is None:
            line = self._upstream.fields.classify(name)
        if line:
            self.head.append(line)
            self.head.append(value)
        role = _ROLES.get(len(name))
        if role is not None and name.lower() in role:
            role[name.lower()](self, value)

    def on_headers_complete(self) -> None:
        if self.complete:  # a second answer to one request: seen as dirty, never read
            return
        status = self._parser.get_status_code()
        if status < 200:
            self._interim += 1
            if status == 101 or self._interim > _MAX_INTERIM:
                raise ValueError("it sent an interim answer that was not asked for")
            self.head.clear()
            self.length = self.location = self.encoding = None
            return
        if self._fields > _MAX_FIELDS:
            raise ValueError("its answer has too many fields")
        self.status = status
        self.head_complete = True
        self._until_close = self.length is None and not self.chunked and status not in {204, 304}

    def on_body(self, body: bytes) -> None:
        if not self.complete:
            self.body.append(body)

    def on_message_complete(self) -> None:
        if self.head_complete:
            self.complete = True
            self._keep_alive = self._parser.should_keep_alive()  # llhttp knows it only here


def _content_length(connection: UpstreamConnection, value: bytes) -> None:
    connection.length = value.strip()


def _location(connection: UpstreamConnection, value: bytes) -> None:
    connection.location = value


def _encoding(connection: UpstreamConnection, value: bytes) -> None:
    connection.encoding = value


def _transfer(connection: UpstreamConnection, value: bytes) -> None:
    if value.strip().lower() != b"chunked":
        raise ValueError("its answer has a transfer coding other than chunked")
    connection.chunked = True


def _type(connection: UpstreamConnection, value: bytes) -> None:
    connection.content_type = value


# Fields that the gate itself reads, found by the name's length first: most fields of an answer are none of them.
_ROLES: Final[dict[int, dict[bytes, Callable[[UpstreamConnection, bytes], None]]]] = {
    8: {b"location": _location},
    12: {b"content-type": _type},
    14: {b"content-length": _content_length},
    16: {b"content-encoding": _encoding},
    17: {b"transfer-encoding": _transfer},
}
