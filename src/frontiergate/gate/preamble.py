"""The PROXY protocol before a connection: read its header, then hand the connection over (BYPASSES 53).

It is read only where the configuration says so and the peer is a trusted proxy; anyone else is closed without an answer. TLS, where
there is any, begins after the header.
"""

import asyncio
import logging
import ssl
from typing import Final, cast

from frontiergate.gate.connections import Connections, peer_of
from frontiergate.gate.listener import ClientConnection
from frontiergate.wire.proxyprotocol import ProxyProtocolError, parse

_log = logging.getLogger(__name__)
_PATIENCE: Final = 5.0  # seconds for the header to come


class Preamble(asyncio.Protocol):
    """Stands where the client connection will, until the header has come."""

    def __init__(self, connections: Connections, context: ssl.SSLContext | None) -> None:
        self._connections = connections
        self._context = context
        self._transport: asyncio.Transport
        self._read = b""
        self._peer = ""
        self._timer: asyncio.TimerHandle
        self._handing_over: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._timer = asyncio.get_running_loop().call_later(_PATIENCE, self._transport.abort)
        self._peer = peer_of(transport)
        if not self._connections.keeper.ground.trusted.contains(self._peer):
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._read += data
        if self._handing_over is not None:  # the handshake is over, but whoever waits for it has not had his turn yet
            return
        try:
            header = parse(self._read)
        except ProxyProtocolError as error:
            _log.warning("PROXY protocol header refused", extra={"problem": str(error)})
            self._transport.abort()
            return
        if header is None:
            return
        self._timer.cancel()
        connection = ClientConnection(self._connections, header.source or self._peer)
        rest, self._read = self._read[header.consumed :], b""
        if self._context is None:
            self._hand_over(connection, self._transport, rest)
        else:
            self._transport.pause_reading()
            self._handing_over = asyncio.get_running_loop().create_task(self._begin_tls(connection, self._context, rest))

    def _hand_over(self, connection: ClientConnection, transport: asyncio.Transport, rest: bytes) -> None:
        transport.set_protocol(cast(asyncio.Protocol, connection))
        connection.connection_made(transport)
        if rest:
            connection.data_received(rest)

    async def _begin_tls(self, connection: ClientConnection, context: ssl.SSLContext, rest: bytes) -> None:
        loop = asyncio.get_running_loop()
        handshake = loop.create_task(loop.start_tls(self._transport, self, context, server_side=True))
        try:
            # Proxies send their header and the caller's first bytes in one segment. What was read with the header is handed to
            # the TLS layer as soon as that stands on the transport: two turns of the loop, and reading resumes only after.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            tls = cast(asyncio.BufferedProtocol, self._transport.get_protocol())
            while rest:
                buffer = memoryview(tls.get_buffer(len(rest)))
                taken = min(len(buffer), len(rest))
                buffer[:taken] = rest[:taken]
                tls.buffer_updated(taken)
                rest = rest[taken:]
            transport = await handshake
        except (OSError, ssl.SSLError) as error:
            _log.info("TLS handshake failed", extra={"error": type(error).__name__})
            self._transport.abort()
        else:
            self._hand_over(connection, cast(asyncio.Transport, transport), self._read)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
