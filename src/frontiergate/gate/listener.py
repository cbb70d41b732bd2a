"""The data listener: client connections, one exchange at a time on each (DESIGN 5, 7; RFC 9112).

llhttp frames; this file keeps what it found in a `Request`, bounds and deadlines included, and runs exchanges in order.
"""

import asyncio
import logging
from collections import deque
from typing import Final, cast

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpRequestParser

from frontiergate.domain.reason import Reason
from frontiergate.gate.connections import Connections, peer_of, reset
from frontiergate.gate.exchange import Exchange
from frontiergate.gate.head import unreadable
from frontiergate.gate.refused import Refused
from frontiergate.gate.request import Request
from frontiergate.identity.address import client_address, unwrap
from frontiergate.wire import http1

_log = logging.getLogger(__name__)
_PIPELINED: Final = 16  # requests that may wait behind the one that is being answered
_SLOWEST_BODY: Final = 1024  # bytes/s that a body has to come at on average, after limits.body_timeout
_LINGER: Final = 5.0  # seconds for a caller to take the last answer while what it still sends is thrown away
_WAITING: Final = 1 << 16  # bytes of bodies that wait behind an exchange, from which on no more is read, not even that the caller leaves
_SMALL_BODY: Final = 1 << 16  # a refused request's body up to this size is read to its end, so that the connection lives on


class _NoMore(Exception):
    """Stops the parser: what follows on this connection is not read."""


class ClientConnection:
    """One client connection. An asyncio.Protocol in all but its base, which would cost the compiled class its slots."""

    __slots__ = (
        "_address",
        "_began",
        "_connections",
        "_exchange",
        "_fields",
        "_ground",
        "_keeper",
        "_last",
        "_length",
        "_limits",
        "_parser",
        "_peer",
        "_pending",
        "_received",
        "_receiving",
        "_request",
        "_target",
        "_transport",
        "blocked",
        "deadline",
        "stream_idle",
    )

    def __init__(self, connections: Connections, source: str | None = None) -> None:
        self._connections = connections
        self._keeper = connections.keeper
        self._transport: asyncio.Transport
        self._parser = HttpRequestParser(self)
        self._exchange: Exchange | None = None
        self._pending: deque[Request] = deque()
        self._receiving = False  # a request has begun to come
        self._request: Request | None = None  # the one that is being received, once its head is complete
        self._target = b""
        self._fields: list[bytes] = []
        self._length = 0
        self._last = False  # nothing that comes on this connection is read any more
        self._received = 0  # bytes since the request began, or since its body last grew
        self._began = 0.0
        self._peer = source  # from the PROXY protocol's header, else the socket's peer
        self._address: str | None = None  # the client's, where no header can say otherwise
        self.blocked = False
        self.deadline = 0.0  # by the loop's clock
        self._take_ground()

    def _take_ground(self) -> None:
        """Take what the configuration says; anew at the first request after a reload."""
        self._ground = ground = self._keeper.ground
        self._limits = ground.config.limits
        self.stream_idle: float = self._limits.stream_idle
        self._address = None
        if self._peer and not ground.trusted.contains(self._peer):
            self._address = unwrap(self._peer)

    # -- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.set_deadline(self._limits.idle)
        if len(self._connections.open) >= self._limits.connections:
            # No answer: under a flood, writing one to each is what the flood is for.
            self._last = True
            self._transport.abort()
            return
        self._connections.open.add(self)
        if self._peer is None:
            self._peer = peer_of(transport)
            self._take_ground()

    def data_received(self, data: bytes) -> None:
        if self._last:  # one read in a turn of the loop, else it reads 8 MiB at once
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._transport.resume_reading)
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserCallbackError as ours:
            if not isinstance(ours.__context__, _NoMore):
                _log.error("fault in the listener", exc_info=ours.__context__)
                self._unreadable(Refused(Reason.GATE_FAULT, "The gate failed to read this request. It has been logged."))
        except (HttpParserError, HttpParserUpgrade) as error:
            if not self._last:
                self._unreadable(Refused(Reason.CALLER_REQUEST_MALFORMED, f"This is not a valid HTTP/1.1 request: {_plain(error)}."))
        else:
            if self._receiving:
                self._await_rest()
        if self._pending and self._too_much_waits():
            self._transport.pause_reading()

    def eof_received(self) -> None:
        """A caller that closes its side is gone: the transport closes, `connection_lost` follows."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.open.discard(self)
        self._last = True
        self._drop_pending()
        if self._request is not None:
            self.body_freed(self._request)
        if self._exchange is not None:
            self._exchange.client_gone()

    def pause_writing(self) -> None:
        self.blocked = True
        self.set_deadline(self.stream_idle)
        if self._exchange is not None:
            self._exchange.client_blocked(True)

    def resume_writing(self) -> None:
        self.blocked = False
        if self._exchange is not None:
            self._exchange.client_blocked(False)

    def _await_rest(self) -> None:
        """A request has come in part."""
        request = self._request
        if request is not None and request.body is not None:
            self._read_body(request)
        if self._received > self._limits.head:
            # After the head too: endless trailers and chunk extensions are no part of a body, so its limit does not stop them.
            part = "chunk extensions or trailers are" if request is not None else "head is"
            self._unreadable(Refused(Reason.CALLER_HEAD_TOO_LARGE, f"The request's {part} larger than {self._limits.head} bytes."))
        elif self._exchange is None:
            if request is not None:
                self.deadline = self._began + self._limits.body_timeout + request.body_size / _SLOWEST_BODY
            else:
                self.deadline = self._began + self._limits.head_timeout

    # -- llhttp

    def on_message_begin(self) -> None:
        if self._last:
            raise _NoMore
        if self._ground is not self._keeper.ground:
            self._take_ground()
        self._receiving = True
        self._target = b""
        self._fields = []
        self._length = 0
        self._began = self._connections.now

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) == 14 and name.lower() == b"content-length":  # of a request's fields, the one that differs from the last one's
            # llhttp has checked that it is one, of digits, and below 2**64; but int() fails at 4,300 digits, zeros before it included.
            self._length = int(value.lstrip(b"0") or b"0")
        else:
            self._fields += (name, value)

    def on_headers_complete(self) -> None:
        parser = self._parser
        line = (parser.get_method(), self._target, parser.get_http_version())
        head = self._ground.heads.read(self._ground, line, self._fields, keep_alive=parser.should_keep_alive())
        self._fields = []  # trailers are read past, never used
        self._request = request = Request(head, self._length, self._limits.body)
        if request.refused is not None:
            if parser.should_upgrade() or request.length is None or request.length > _SMALL_BODY or head.expects:
                self._answer_early(request)
        elif head.expects and self._exchange is None:
            self._invite(request)
        self._began = self._connections.now

    def _invite(self, request: Request) -> None:
        """Ask for the body, where the caller waits to be asked and has HTTP/1.1 (RFC 9110 section 10.1.1)."""
        if request.head.expects and request.length != 0 and not request.body_size and not request.head.one_zero:
            self._transport.write(http1.CONTINUE)

    def on_body(self, data: bytes) -> None:
        request = self._request
        if request is None or self._last:
            return
        self._received = 0
        request.held += len(data)
        self._connections.buffered += len(data)
        if self._connections.buffered > self._limits.bodies:
            request.refuse(Reason.GATE_OVERLOADED, "This gate holds as many requests' bodies as it can.")
        request.take_body(data)
        if request.refused is not None and request.body_size > _SMALL_BODY:
            self._answer_early(request)

    def on_message_complete(self) -> None:
        request = self._request
        if request is None or self._last:
            return
        self._request = None
        self._receiving = False
        self._received = 0
        request.complete = True
        if request.body is not None:
            request.end_body()
            self._connections.turns.read(request, self._body_read)
        self._next(request)

    def _read_body(self, request: Request) -> None:
        """No more is taken of a large body until what has come of it is read, and only so much in one turn of the loop."""
        if self._connections.turns.read(request, self._body_read):
            self._transport.pause_reading()

    def _body_read(self, request: Request) -> None:
        if self._transport.is_closing():
            return
        if self._exchange is not None and self._exchange.request is request and self._exchange.waits:
            self._exchange.waits = False
            self._begin(self._exchange)
        elif request.refused is not None and request is self._request:
            self._answer_early(request)
        if not self._too_much_waits():
            self._transport.resume_reading()

    # -- exchanges, in order

    def _next(self, request: Request) -> None:
        if self._exchange is None:
            self._run(request)
        elif len(self._pending) < _PIPELINED:
            self._pending.append(request)
        else:
            self._last = True  # those that wait are answered; then the connection closes
            self.body_freed(request)

    def _run(self, request: Request) -> None:
        self._exchange = exchange = Exchange(self, self._keeper, request)
        self._begin(exchange)

    def _begin(self, exchange: Exchange) -> None:
        try:
            exchange.begin()
        except Exception as error:  # noqa: BLE001 - the last line of defence: a defect refuses, it never forwards or hangs
            exchange.fault(error)

    def exchange_ended(self, exchange: Exchange, *, cut: bool) -> None:
        """The exchange has had its outcome: go on with the next request, or close."""
        self._exchange = None
        self.body_freed(exchange.request)
        self._keeper.sessions.discard(exchange)
        if self._transport.is_closing():
            return
        if cut:
            self.cut()
        elif self.closing_after(exchange.request):
            self._finish(exchange.request)
        elif self._pending:
            asyncio.get_running_loop().call_soon(self._go_on)
        elif self._receiving:
            if self._request is not None:
                self._invite(self._request)
            self._began = self._connections.now
            self._await_rest()
        else:
            self.set_deadline(self._limits.idle)

    def _go_on(self) -> None:
        if self._exchange is None and self._pending and not self._transport.is_closing():
            self._run(self._pending.popleft())
            if not self._pending:
                self._transport.resume_reading()

    def closing_after(self, request: Request) -> bool:
        """Whether the connection closes after the answer to `request`."""
        return request.close or not request.complete or self._keeper.draining or (self._last and not self._pending)

    def _answer_early(self, request: Request) -> None:
        """Answer a refused request without reading its body to the end; what still comes is thrown away."""
        self._last = True
        self._request = None
        self._receiving = False
        request.close = True
        self._next_or_close(request)

    def _unreadable(self, refused: Refused) -> None:
        """What came cannot be framed: answer once, after what was asked before, and close."""
        request = self._request or Request(unreadable(refused), 0, 0)
        request.refused = refused
        self._answer_early(request)

    def _next_or_close(self, request: Request) -> None:
        if self._exchange is None and not self._pending:
            self._run(request)
        elif len(self._pending) < _PIPELINED:
            self._pending.append(request)
        else:
            self.body_freed(request)

    def _drop_pending(self) -> None:
        for request in self._pending:
            self.body_freed(request)
        self._pending.clear()

    def _too_much_waits(self) -> bool:
        return sum(request.body_size for request in self._pending) > _WAITING

    # -- what exchanges use

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def body_freed(self, request: Request) -> None:
        """The request's body is not held any more."""
        if request.body is not None:
            request.drop_body()
        self._connections.buffered -= request.held
        request.held = 0

    def set_deadline(self, seconds: float) -> None:
        """Something else must have happened `seconds` from now, give or take a sweep."""
        self.deadline = self._connections.now + seconds

    def address(self, request: Request) -> str:
        """The client's address. Raises AddressError where a trusted proxy's header cannot be read."""
        if self._address is not None:
            return self._address
        ground = self._keeper.ground
        return client_address(self._peer or "", request.head.forwarding, ground.trusted, ground.config.clients.forwarded)

    # -- ends

    def deadline_passed(self) -> None:
        """Called by the sweep."""
        exchange = self._exchange
        if exchange is not None:
            exchange.deadline_passed()
            if self._exchange is exchange:  # it waits for somebody who has a deadline of his own
                self.set_deadline(self._limits.head_timeout)
        elif self._last or not self._receiving:
            self._transport.abort()
        else:
            self._unreadable(Refused(Reason.CALLER_TOO_SLOW, "The request did not come in time."))

    def drain(self) -> None:
        """The worker stops: an idle connection closes."""
        if self._exchange is None and not self._receiving and not self._pending:
            self._transport.close()

    def abort(self) -> None:
        """The worker's patience is over: an exchange that still goes on is severed, for the gate's own reason."""
        if self._exchange is not None:
            self._exchange.drained()
        else:
            self._transport.abort()

    def _finish(self, request: Request) -> None:
        self._last = True
        self._drop_pending()
        if request.complete:
            self._transport.close()
        else:
            # The caller is still sending. A close now would make its kernel throw the answer away (RFC 9112 section 9.6).
            self.set_deadline(_LINGER)
            if self._transport.can_write_eof():
                self._transport.write_eof()

    def cut(self) -> None:
        """Close so that nobody can take it for an orderly end."""
        reset(self._transport)


def _plain(error: Exception) -> str:
    return str(error).replace("`", "") or type(error).__name__
