"""The relay: an upstream's answer on its way to the caller, framed anew (DESIGN 5; RFC 9112 section 6).

A stream of events passes without being parsed. Only the end of each piece is looked at: an event that is not whole yet waits for
its rest, so that what was sent always stands at an event boundary, where the stream can be severed at once.
"""

import re
from typing import Final

from frontiergate.gate.upstream import Answer
from frontiergate.wire import http1, sse

_HELD: Final = 1 << 16  # bytes of an unfinished event that are held back; a longer one passes as it comes
_BODILESS: Final = frozenset({204, 304})
# A path of this host in plain ASCII: URL parsers drop tabs, and take `\\` for `/` and `//` for another host (WHATWG URL 4.4).
_WITHIN: Final = re.compile(rb"/(?!/)[!-\[\]-~]*")
_OF_OUR_CREDENTIAL: Final = frozenset({401, 407})  # such answers speak of the gate's own credential, and some quote it (P6)


def unacceptable(answer: Answer) -> str | None:
    """Why an upstream's answer must not reach the caller, or None."""
    if answer.status in _OF_OUR_CREDENTIAL:
        return "The model's upstream did not accept this gate's credential; the operator has to look."
    if answer.location is not None and not _WITHIN.fullmatch(answer.location):
        return "The model's upstream redirected to another place; redirects are not followed."
    return None


class Relay:
    """One answer. `bytes_out` counts what of its body was sent."""

    __slots__ = ("_chunked", "_events", "_held", "_whole", "bytes_out")

    def __init__(self) -> None:
        self.bytes_out = 0
        self._chunked = self._events = False
        self._held = b""
        self._whole = True  # what was sent ends with a whole event

    def begin(self, answer: Answer, out: list[bytes], request_id: str, *, one_zero: bool, close: bool) -> bool:
        """Append the head. True where only the end of the connection can end the body: a caller of HTTP/1.0 (RFC 9112 section 6.3)."""
        until_close = False
        out.append(http1.STATUS_LINES[answer.status])
        out += answer.fields
        out.append(b"\r\nx-gate-verdict: forward\r\nx-gate-request-id: ")
        out.append(request_id.encode())
        length = answer.length
        if answer.status in _BODILESS:
            pass
        elif length is not None:
            out.append(b"\r\ncontent-length: ")
            out.append(length)
        elif one_zero:
            until_close = True
        else:
            self._chunked = True
            out.append(b"\r\ntransfer-encoding: chunked")
        self._events = answer.content_type.startswith(b"text/event-stream") and answer.encoding is None
        out.append(b"\r\nconnection: close\r\n\r\n" if close or until_close else b"\r\n\r\n")
        return until_close

    def body(self, pieces: list[bytes], out: list[bytes]) -> None:
        """Append what has come of the body."""
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if self._events:
            data = self._whole_events(data)
        self._frame(data, out)

    def end(self, out: list[bytes]) -> None:
        """Append the end that the upstream sent."""
        if self._held:
            self._frame(self._held, out)
        if self._chunked:
            out.append(http1.LAST_CHUNK)

    @property
    def at_boundary(self) -> bool:
        """Whether the stream can end here and now with an event of the gate's."""
        return self._events and self._whole and self._chunked

    def last(self, event: bytes) -> bytes:
        """What ends a stream that stands at a boundary with `event`."""
        return b"%x\r\n%b\r\n%b" % (len(event), event, http1.LAST_CHUNK)

    def _frame(self, data: bytes, out: list[bytes]) -> None:
        if data:
            self.bytes_out += len(data)
            if self._chunked:
                out += (b"%x\r\n" % len(data), data, b"\r\n")
            else:
                out.append(data)

    def _whole_events(self, data: bytes) -> bytes:
        """What of `data` may pass now."""
        if self._held:
            data = self._held + data
            self._held = b""
        if sse.at_event_boundary(data[-3:]):
            self._whole = True
            return data
        boundary = sse.last_boundary(data)
        if len(data) - boundary > _HELD or not self._whole:
            # Too long to hold: it passes as it comes, and until its end a severed stream is cut instead.
            self._whole = False
            return data
        self._held = data[boundary:]
        return data[:boundary]
