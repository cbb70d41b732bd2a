"""The client connections of one worker, as far as they share something."""

import asyncio
from typing import TYPE_CHECKING, Final

from frontiergate.gate.body import Turns
from frontiergate.gate.gatekeeper import Gatekeeper

if TYPE_CHECKING:
    from frontiergate.gate.listener import ClientConnection


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
            connection.deadline_passed()

    def drain(self) -> None:
        """Close what is idle now, and each other connection after its exchange."""
        for connection in list(self.open):
            connection.drain()


def peer_of(transport: asyncio.BaseTransport) -> str:
    """The peer's address. Who connects through a Unix socket is on this host, so counts as 127.0.0.1."""
    peername = transport.get_extra_info("peername")
    return peername[0] if isinstance(peername, tuple) else "127.0.0.1"
