"""A body that does not come in one small piece: kept in pieces, never as a whole where it is large, and read a little in each turn.

The loop serves everybody, so no body may stop it for long: whatever it is made of, its reader gets a few milliseconds of a turn,
shared by all large bodies of the worker, and a connection is not read on before what came on it has been (decision 0009).
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Final

from frontiergate.dialects.incremental import ModelReader
from frontiergate.dialects.models import ModelError, read_models
from frontiergate.dialects.operation import Operation
from frontiergate.domain.reason import Reason
from frontiergate.gate.refused import untold

if TYPE_CHECKING:
    from frontiergate.gate.request import Request

_log = logging.getLogger(__name__)
SMALL: Final = 64 << 10  # bytes, up to which any body is read at once: 6 ms if it is all that can be made of them
_LARGE: Final = 256 << 10  # bytes, from which on none is: up to 1 ms for ordinary JSON, which costs the reader of pieces 2 ms
_MOST_COMMAS: Final = 8192  # of one in between that is read at once; nothing costs time but what stands between commas
_BLOCK: Final = 64 << 10  # bytes; smaller pieces are put together, so that they weigh no more than what is in them
_STEP: Final = 32 << 10  # bytes read at once
_TURN: Final = 0.001  # seconds of a turn of the loop for all large bodies, and one step more
_FREED: Final = 8  # pieces
_MOST_TOLD: Final = 4  # connections that are read on in one turn, each up to 256 KiB: half a millisecond


class Body:
    """What has come of one body. It is read at once when it is complete; one that is too much for that, while it comes."""

    def __init__(self, operation: Operation) -> None:
        self.pieces: list[bytes] = []
        self.queued = False  # its turn to be read comes
        self._operation = operation
        self._gathered = bytearray()  # small pieces that came last
        self._size = 0  # of the pieces
        self._complete = False
        self._names: list[str] | None = None
        self._reader: ModelReader | None = None
        self._next = self._offset = 0  # what is to be read: the piece, and from where on

    def add(self, data: bytes) -> None:
        """Take a piece."""
        if len(data) < _BLOCK:
            self._gathered += data
            if len(self._gathered) < _BLOCK:
                return
            data = b""
        self._close_piece()
        if data:
            self.pieces.append(data)
            self._size += len(data)
        if self._reader is None and self._size > _LARGE:
            self._reader = ModelReader(self._operation)

    def end(self) -> None:
        """It is complete."""
        self._complete = True
        self._close_piece()
        if self._reader is None and (self._size > _LARGE or sum(piece.count(b",") for piece in self.pieces) > _MOST_COMMAS):
            self._reader = ModelReader(self._operation)

    def names(self) -> list[str]:
        """The models that it names, once nothing is unread. Raises ModelError."""
        if self._reader is None:
            return read_models(self._operation, b"".join(self.pieces))
        assert self._names is not None
        return self._names

    @property
    def unread(self) -> bool:
        """Whether `read` has something to do."""
        return self._reader is not None and (self._next < len(self.pieces) or (self._complete and self._names is None))

    def read(self) -> None:
        """Read a little, if there is something to read. Raises ModelError."""
        if self._reader is None:
            return
        if self._next < len(self.pieces):
            piece = self.pieces[self._next]
            self._reader.feed(piece[self._offset : self._offset + _STEP])
            self._offset += _STEP
            if self._offset >= len(piece):
                self._next, self._offset = self._next + 1, 0
        elif self._complete:
            self._names = self._reader.finish()

    def _close_piece(self) -> None:
        if self._gathered:
            self.pieces.append(bytes(self._gathered))
            self._size += len(self._gathered)
            self._gathered.clear()


def let_go(pieces: list[bytes]) -> None:
    """Free them, a few in each turn of the loop: to free 30 MB at once takes 4 ms."""
    del pieces[-_FREED:]
    if pieces:
        asyncio.get_running_loop().call_soon(let_go, pieces)


class Turns:
    """All bodies of a worker that are read while they come take turns, for a bounded time in each turn of the loop."""

    def __init__(self) -> None:
        self._queue: deque[tuple[Request, Callable[[Request], None]]] = deque()
        self._due = False  # `_turn` is called in the loop's next turn

    def read(self, request: "Request", then: Callable[["Request"], None]) -> bool:
        """Read what has come of the request's body when it is its turn, and `then` tell so. False where it is not large."""
        body = request.body
        if body is None or request.body_size <= SMALL:
            return False
        if not body.queued:
            body.queued = True
            self._queue.append((request, then))
            self._be_called()
        return True

    def _be_called(self) -> None:
        if self._queue and not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        until, told = perf_counter() + _TURN, 0
        self._due = False
        try:
            while self._queue and told < _MOST_TOLD and perf_counter() < until:
                request, then = self._queue.popleft()
                if _read_a_little(request):
                    self._queue.append((request, then))
                else:
                    then(request)
                    told += 1
        finally:
            self._be_called()


def _read_a_little(request: "Request") -> bool:
    """Whether there is more to read. The request may be refused for what was read."""
    body = request.body
    if body is None:  # refused meanwhile
        return False
    try:
        body.read()
    except ModelError as wrong:
        request.refuse(wrong.reason, untold(wrong))
        return False
    except Exception as defect:  # noqa: BLE001 - the last line of defence: a defect refuses, it never forwards or hangs
        _log.error("fault in reading a body", exc_info=defect)
        request.refuse(Reason.GATE_FAULT, "The gate failed to read this request. It has been logged.")
        return False
    body.queued = body.unread
    return body.queued
