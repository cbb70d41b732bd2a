"""The client connections of one worker, as far as they share something."""

import asyncio
import logging
import socket
import struct
from typing import TYPE_CHECKING, Final

from frontiergate.gate.body import Turns
from frontiergate.gate.gatekeeper import Gatekeeper

if TYPE_CHECKING:
    from frontiergate.gate.listener import ClientConnection

_log = logging.getLogger(__name__)
_NO_LINGER: Final = struct.pack("ii", 1, 0)


class Connections:
    """All client connections of one worker, with a coarse clock; deadlines are looked after once a sweep, not by a timer each."""

    SWEEP: Final = 0.25  # seconds; the grain of every deadline

    def __init__(self, keeper: Gatekeeper) -> None:
        self.keeper = keeper
        self.open: set[ClientConnection] = set()
        self.now = asyncio.get_running_loop().time()
        self.turns = Turns()
        self.buffered = 0  # bytes of bodies that are held, of whoever sent them: nobody has been asked for a credential yet

    def sweep(self) -> None:
        """Move the clock on and tell the connections whose deadline has passed. Called every SWEEP seconds."""
        self.now = now = asyncio.get_running_loop().time()
        for connection in [connection for connection in self.open if connection.deadline < now]:
            try:
                connection.deadline_passed()
            except Exception as defect:  # noqa: BLE001 - the last line of defence: it ends that connection, not the worker of all of them
                _log.error("fault at a deadline", exc_info=defect)
                connection.cut()

    def drain(self) -> None:
        """Close what is idle now, and each other connection after its exchange."""
        for connection in list(self.open):
            connection.drain()


def peer_of(transport: asyncio.BaseTransport) -> str:
    """The peer's address. Who connects through a Unix socket is on this host, so counts as 127.0.0.1."""
    peername = transport.get_extra_info("peername")
    return peername[0] if isinstance(peername, tuple) else "127.0.0.1"


def reset(transport: asyncio.Transport) -> None:
    """Close with a reset, at once."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family in {socket.AF_INET, socket.AF_INET6}:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()
