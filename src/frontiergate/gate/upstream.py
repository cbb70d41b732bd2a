"""An upstream: its keep-alive connections, and reading its answers (DESIGN 5, "what always holds in an exchange").

A connection is used again only if both messages ended exactly and no byte was left over. A request is never sent twice.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Final, Protocol, cast
from urllib.parse import urlsplit

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpResponseParser

from frontiergate.config.load import secret
from frontiergate.config.schema import Upstream as UpstreamConfig
from frontiergate.config.tls import client_context
from frontiergate.gate.body import let_go
from frontiergate.gate.fields import CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, TRANSFER_ENCODING, ResponseFields

_MAX_INTERIM: Final = 8  # 1xx responses accepted before the final one
_MAX_FIELDS: Final = 512  # names and values of relayed fields
_MAX_HEAD: Final = 256 << 10  # bytes of a head, or between two pieces of a body: chunk extensions and trailers
_STATUSES: Final = range(100, 600)  # RFC 9110 section 15


class Receiver(Protocol):
    """Who is told of an answer: an exchange."""

    def upstream_progress(self, connection: "UpstreamConnection", answer: "Answer") -> None:
        """More of the answer has come; its head is complete."""

    def request_sent(self) -> None:
        """All pieces of a large body have been sent."""

    def upstream_lost(self, why: str) -> None:
        """The answer will not be completed."""

    def fault(self, error: BaseException | None) -> None:
        """A defect of ours while it was told."""


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
        self._context = client_context(config.ca, f"upstreams.{name}") if self.tls else None
        self._idle: list[UpstreamConnection] = []
        self._open: set[UpstreamConnection] = set()
        self._dialling = 0
        self._closed = False
        self.fields = ResponseFields()
        authority = f"[{self.host}]" if ":" in self.host else self.host
        if url.port:
            authority += f":{url.port}"
        head = f"host: {authority}\r\naccept-encoding: identity"
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
        while self._idle:
            connection = self._idle.pop()
            if not connection.closing:  # the upstream has ended it in this very turn of the loop
                return connection
        return None

    @property
    def connections(self) -> int:
        """How many connections are open, idle ones included."""
        return len(self._open)

    @property
    def full(self) -> bool:
        """Whether no further connection may be opened."""
        return len(self._open) + self._dialling >= self._config.max_connections

    async def dial(self, deadline: float) -> "UpstreamConnection":
        """A new connection. Raises OSError (ssl.SSLError among them) or TimeoutError after `deadline` seconds."""
        connection = UpstreamConnection(self)
        self._dialling += 1
        try:
            async with asyncio.timeout(deadline):
                await asyncio.get_running_loop().create_connection(
                    lambda: cast(asyncio.Protocol, connection),
                    self.host,
                    self.port,
                    ssl=self._context,
                    server_hostname=self.host if self.tls else None,
                )
        except BaseException:
            if connection in self._open:  # cancelled just when it had been made, it would belong to nobody
                connection.abort()
            raise
        finally:
            self._dialling -= 1
        return connection

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


class Answer:
    """What has been read of one answer. `fields` are the relayed ones, ready to be joined; `body` collects what has come since the
    receiver last took it. Class attributes are the defaults: an ordinary answer sets a few."""

    status: int = 0
    length: bytes | None = None
    location: bytes | None = None
    encoding: bytes | None = None
    content_type: bytes = b""
    chunked: bool = False
    head_complete: bool = False
    complete: bool = False  # the message ended
    until_close: bool = False  # only the connection's end can end it
    keep_alive: bool = False
    interim: int = 0
    nominated: frozenset[bytes] = frozenset()  # beginnings of the lines that are of this hop only

    def __init__(self) -> None:
        self.fields: list[bytes] = []
        self.body: list[bytes] = []

    def take_field(self, role: int, value: bytes) -> None:
        """Take a field that the gate reads itself. Raises ValueError where it is none that an answer may have."""
        if role == CONTENT_LENGTH:
            self.length = value.strip()
        elif role == CONTENT_TYPE:
            self.content_type = value
            self.fields += (b"\r\ncontent-type: ", value)
        elif role == TRANSFER_ENCODING:
            if value.strip().lower() != b"chunked" or self.chunked:
                raise ValueError("its answer has a transfer coding other than chunked")
            self.chunked = True
        elif role == LOCATION:
            if self.location is not None:  # only one of two could be looked at
                raise ValueError("its answer has two Location fields")
            self.location = value
            self.fields += (b"\r\nlocation: ", value)
        elif role == CONTENT_ENCODING:
            self.encoding = value
            self.fields += (b"\r\ncontent-encoding: ", value)
        elif role == CONNECTION and value.lower() not in {b"keep-alive", b"close"}:
            self.nominated |= {b"\r\n%b: " % name.strip(b" \t") for name in value.lower().split(b",")}

    def drop_nominated(self) -> None:
        """Relay no field that Connection names (RFC 9110 section 7.6.1)."""
        pairs = zip(self.fields[::2], self.fields[1::2], strict=True)
        self.fields = [part for pair in pairs if pair[0] not in self.nominated for part in pair]


class UpstreamConnection:
    """One connection, and in `answer` the answer that is being read from it. An asyncio.Protocol in all but its base, which
    would cost the compiled class its slots."""

    __slots__ = (
        "_dirty",
        "_known",
        "_parser",
        "_paused",
        "_receiver",
        "_stuck",
        "_transport",
        "_unframed",
        "_unsent",
        "_upstream",
        "answer",
    )

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._known = upstream.fields.known
        self._receiver: Receiver | None = None
        self._transport: asyncio.Transport
        self._parser = HttpResponseParser(self)
        self._dirty = self._paused = self._stuck = False
        self._unsent: list[bytes] = []  # what is still to be sent of a large body, last piece first
        self._unframed = 0  # bytes since the answer began, or since its body last grew
        self.answer = Answer()

    # -- what an exchange does with it

    def send(self, receiver: Receiver, head: bytes, body: bytes) -> None:
        """Send one request, whose body is small, and tell `receiver` of the answer."""
        self._receiver = receiver
        self._transport.write(head + body)  # one write, one segment where it fits

    def send_pieces(self, receiver: Receiver, head: bytes, pieces: list[bytes]) -> None:
        """Send a request whose body is in pieces: one in a turn of the loop, as the upstream takes them; each is let go then."""
        self._receiver = receiver
        self._unsent = pieces[::-1]
        self._transport.write(head)
        self._send_on()

    def _send_on(self) -> None:
        if self._unsent and not self._stuck:
            self._transport.write(self._unsent.pop())
            if self._unsent:
                asyncio.get_running_loop().call_soon(self._send_on)
            elif self._receiver is not None:
                self._receiver.request_sent()

    def _forget_unsent(self) -> None:
        if self._unsent:
            let_go(self._unsent)
            self._unsent = []

    def release(self) -> None:
        """The exchange has ended well: keep the connection if HTTP allows it and nothing is left over."""
        self._receiver = None
        answer, transport = self.answer, self._transport
        if (
            answer.keep_alive
            and not answer.until_close
            and not self._dirty
            and not self._unsent
            and not transport.is_closing()
            and transport.get_write_buffer_size() == 0  # else the request was not wholly taken: an early answer
        ):
            self.answer = Answer()
            self._unframed = 0
            if self._paused:
                self.resume()
            self._upstream.put_back(self)
        else:
            self.abort()

    def leave(self) -> None:
        """Nobody wants more of the answer; what still comes closes the connection."""
        self._receiver = None

    def abort(self) -> None:
        """Close at once; the receiver is not told."""
        self._receiver = None
        self._forget_unsent()
        self._transport.abort()

    @property
    def closing(self) -> bool:
        """Whether nothing more can be sent on it."""
        return self._transport.is_closing()

    def pause(self) -> None:
        """Read no more: the caller has stopped reading."""
        self._paused = True
        self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        self._transport.resume_reading()

    # -- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._upstream.opened(self)

    def data_received(self, data: bytes) -> None:
        if self._receiver is None:  # bytes that nobody asked for: never the beginning of another caller's answer
            self._transport.abort()
            return
        self._unframed += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if not self.answer.complete:
                self._fail("its answer is not valid HTTP" if not isinstance(error, HttpParserCallbackError) else str(error.__context__))
                return
            self._dirty = True
        answer = self.answer  # only now: an interim answer has been replaced by what follows it
        if self._unframed > _MAX_HEAD and not answer.complete:
            self._fail("its answer's head, chunk extensions or trailers are too large")
        elif answer.head_complete:
            self._tell(answer)

    def eof_received(self) -> None:
        # A body that is delimited by the connection's end (RFC 9112 section 6.3, rule 8) ends here, and only by an orderly FIN.
        answer = self.answer
        if self._receiver is not None and answer.until_close and not answer.complete:
            answer.complete = True
            self._tell(answer)

    def pause_writing(self) -> None:
        self._stuck = True

    def resume_writing(self) -> None:
        self._stuck = False
        self._send_on()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_unsent()
        self._upstream.gone(self)
        if self._receiver is not None and not self.answer.complete:
            self._fail("it closed the connection before its answer had ended")

    def _tell(self, answer: Answer) -> None:
        receiver = self._receiver
        assert receiver is not None
        try:
            receiver.upstream_progress(self, answer)
        except Exception as error:  # noqa: BLE001 - the last line of defence: else the loop logs it and the caller waits for ever
            receiver.fault(error)

    def _fail(self, why: str) -> None:
        receiver, self._receiver = self._receiver, None
        self._transport.abort()
        if receiver is not None:
            receiver.upstream_lost(why)

    # -- llhttp

    def on_message_begin(self) -> None:
        if self.answer.complete:
            self._dirty = True

    def on_header(self, name: bytes, value: bytes) -> None:
        field = self._known.get(name)
        if field is None:
            field = self._upstream.fields.classify(name)
        if isinstance(field, bytes):
            answer = self.answer
            if not answer.head_complete:  # trailers, and a second answer's fields, are not relayed
                answer.fields += (field, value)
        elif field and not self.answer.head_complete:
            self.answer.take_field(field, value)

    def on_headers_complete(self) -> None:
        answer = self.answer
        if answer.complete:  # a second answer to one request: seen as dirty, never read
            return
        status = self._parser.get_status_code()
        if status not in _STATUSES:
            raise ValueError("its answer has a status that HTTP does not have")
        if status < 200:
            if status == 101 or answer.interim >= _MAX_INTERIM:
                raise ValueError("it sent an interim answer that was not asked for")
            self.answer = Answer()
            self.answer.interim = answer.interim + 1
            return
        if len(answer.fields) > _MAX_FIELDS:
            raise ValueError("its answer has too many fields")
        if answer.nominated:
            answer.drop_nominated()
        answer.status = status
        answer.head_complete = True
        answer.until_close = answer.length is None and not answer.chunked and status not in {204, 304}

    def on_body(self, body: bytes) -> None:
        answer = self.answer
        if not answer.complete:
            self._unframed = 0
            answer.body.append(body)

    def on_message_complete(self) -> None:
        answer = self.answer
        if answer.head_complete and not answer.complete:
            answer.complete = True
            answer.keep_alive = self._parser.should_keep_alive()  # llhttp knows it only here
