"""Event boundaries of a server-sent event stream: where it can be severed (WHATWG HTML 9.2.5, 9.2.6).

A line ends in CRLF, LF or CR; a blank line ends an event. Three bytes of what was sent last tell where the stream stands.
"""

import re

_BOUNDARY = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")  # atomic: the two halves of one CRLF are one line's end
_TAIL = 3  # a line's end, and a blank line ended by CRLF


def tail(before: bytes, chunk: bytes) -> bytes:
    """The tail of the stream once `chunk` went out, `before` being its tail until then (b"" at the start)."""
    return chunk[-_TAIL:] if len(chunk) >= _TAIL else (before + chunk)[-_TAIL:]


def at_event_boundary(sent: bytes) -> bool:
    """Whether what was sent, of which `sent` is the tail, ends with a whole event; nothing sent is a boundary too."""
    if sent.endswith(b"\n\n") or not sent:  # what nearly every server writes, first
        return True
    if sent.endswith(b"\r\n"):
        return sent[-3:-2] in (b"\r", b"\n")
    return sent[-1:] in (b"\r", b"\n") and sent[-2:-1] in (b"\r", b"\n")


def first_boundary(sent: bytes, chunk: bytes) -> int | None:
    """How many bytes of `chunk` complete the event that the stream with the tail `sent` is in; None where it goes on."""
    joined = sent + chunk
    for match in _BOUNDARY.finditer(joined):
        if match.end() > len(sent):
            return match.end() - len(sent)
    return None


def last_boundary(data: bytes) -> int:
    """How many bytes of `data`, which begins at a boundary, are whole events."""
    end = 0
    for match in _BOUNDARY.finditer(data):
        end = match.end()
    return end
