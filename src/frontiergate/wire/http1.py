"""HTTP/1.1 heads as bytes; the framing itself is llhttp's (RFC 9112)."""

import email.utils
import http
from collections.abc import Iterable
from typing import Final

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"

STATUS_LINES: Final = {
    status: f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase if status in http.HTTPStatus._value2member_map_ else ''}".encode()
    for status in range(100, 600)
}


def response(status: int, fields: Iterable[tuple[str, str]], body: bytes, *, at: float, close: bool) -> bytes:
    """A whole response message of the gate's own. `at` (POSIX seconds) is its Date; field values must be free of CR and LF."""
    lines = [STATUS_LINES[status].decode(), f"date: {email.utils.formatdate(at, usegmt=True)}"]
    lines += [f"{name}: {value}" for name, value in fields]
    lines.append(f"content-length: {len(body)}")
    if close:
        lines.append("connection: close")
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body


def has_token(value: bytes, token: bytes) -> bool:
    """Whether the comma-separated list `value` has `token`, case-insensitively (RFC 9110 section 5.6.1)."""
    return any(member.strip(b" \t").lower() == token for member in value.split(b","))
