"""Raw exchanges with a running gate, and what of them reached the upstream."""

import contextlib
import json
import socket
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar

import httptools

from tests.fixtures.gate import ORDER, Gate, Reply
from tests.fixtures.upstream import Received, Upstream

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
JSON = "Content-Type: application/json"
T = TypeVar("T")


class Line:
    """One client connection, written byte by byte as a test likes, and read strictly."""

    def __init__(self, port: int, source: str = "127.0.0.1", timeout: float = 5, buffer: int | None = None) -> None:
        self.sock = socket.socket()
        if buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.sock.settimeout(timeout)
        self.sock.bind((source, 0))
        self.sock.connect(("127.0.0.1", port))
        self._answers: list[Reply] = []
        self._open: Reply | None = None
        self._until_close = False
        self._parser = httptools.HttpResponseParser(self)
        self.received = b""
        self.interim: list[int] = []
        self.cut = False  # the gate reset the connection
        self.over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> Self:
        """All of it, unless the gate stops taking it."""
        with contextlib.suppress(ConnectionError):
            self.sock.sendall(data)
        return self

    def answer(self) -> Reply:
        """The next final answer, read to its end. One that does not come, or does not end, has the status 0."""
        while not self._answers and self._read():
            pass
        if self._answers:
            return self._answers.pop(0)
        return Reply(0, {}, b"")

    def head(self) -> Reply:
        """The answer that is coming, as soon as its head is there."""
        while self._open is None and not self._answers and self._read():
            pass
        return self._answers[0] if self._answers else self._open or Reply(0, {}, b"")

    def ended(self) -> bool:
        """Reads until the gate closes; whether nothing more than the answers taken came."""
        while self._read():
            pass
        return not self._answers and self._open is None

    def read_until(self, wanted: bytes) -> bytes:
        """Reads until `wanted` is among the bytes received, or the end."""
        while wanted not in self.received and self._read():
            pass
        return self.received

    def _read(self) -> bool:
        if self.over:
            return False
        try:
            data = self.sock.recv(1 << 16)
        except ConnectionResetError:
            self.over = self.cut = True
            return False
        if not data:
            self.over = True
            return False
        self.received += data
        self._parser.feed_data(data)
        return True

    # -- llhttp

    def on_message_begin(self) -> None:
        self._headers: dict[str, str] = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self.interim.append(status)
        else:
            self._open = Reply(status, self._headers, b"")

    def on_body(self, data: bytes) -> None:
        assert self._open is not None
        self._open.body += data

    def on_message_complete(self) -> None:
        if self._open is not None:
            self._answers.append(self._open)
            self._open = None


class Probe:
    """One test's view: everything that reaches the upstream from here on is counted, and must be expected."""

    def __init__(self, gate: Gate, upstream: Upstream, alice: str, mallory: str) -> None:
        self.gate, self.upstream = gate, upstream
        self.alice = alice  # a US person, whom every directive admits
        self.mallory = mallory  # a national of CN, no US person
        self._requests, self._bytes, self._connections = len(upstream.requests), len(upstream.raw), upstream.connections

    @property
    def seen(self) -> int:
        """How many requests had reached the upstream at the last look."""
        return self._requests

    # -- writing requests

    def head(
        self,
        *fields: str,
        method: str = "POST",
        path: str = CHAT,
        version: str = "HTTP/1.1",
        token: str | None = "alice",
        host: bool = True,
    ) -> bytes:
        """A request's head. `token`: whose credential, or None."""
        lines = [f"{method} {path} {version}", *(["Host: gate.example"] if host else [])]
        if token is not None:
            lines.append(f"Authorization: Bearer {getattr(self, token, token)}")
        return "\r\n".join([*lines, *fields]).encode("latin-1") + b"\r\n\r\n"

    def post(self, body: Any, *fields: str, typed: bool = True, **head: Any) -> bytes:
        """A whole request with a Content-Length. `body`: bytes, or a JSON value."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.head(*([JSON] if typed else []), *fields, f"Content-Length: {len(data)}", **head) + data

    def chunked(self, *chunks: bytes, trailers: str = "", end: bytes | None = None, fields: Sequence[str] = (), **head: Any) -> bytes:
        """A whole request in chunks."""
        body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
        return self.head(JSON, *fields, "Transfer-Encoding: chunked", **head) + body + (end or f"0\r\n{trailers}\r\n".encode())

    # -- exchanges

    def line(self, **options: Any) -> Line:
        return Line(self.gate.port, **options)

    def ask(self, data: bytes, source: str = "127.0.0.1") -> Reply:
        """One request, one answer."""
        with self.line(source=source) as line:
            return line.send(data).answer()

    def refused(
        self, data: bytes, status: int | tuple[int, ...], reason: str | tuple[str, ...] | None = None, source: str = "127.0.0.1"
    ) -> Reply:
        """Sends `data`, expects this refusal, and that nothing at all reached the upstream."""
        reply = self.ask(data, source)
        self.is_refusal(reply, status, reason)
        return reply

    def is_refusal(self, reply: Reply, status: int | tuple[int, ...], reason: str | tuple[str, ...] | None = None) -> None:
        assert reply.status in ((status,) if isinstance(status, int) else status), reply
        if reason is not None:
            assert reply.reason in ((reason,) if isinstance(reason, str) else reason), reply
        self.nothing_sent()

    def unframed(self, data: bytes, status: int | tuple[int, ...] = 400, reason: str = "caller_request_malformed") -> None:
        """Expects that `data` cannot be framed: one refusal, and nothing after it is read, least of all as a request."""
        with self.line() as line:
            line.send(data + self.post({"model": "gpt-open"}))
            self.is_refusal(line.answer(), status, reason)
            assert line.ended()
        self.nothing_sent()

    def forwarded(self, data: bytes, source: str = "127.0.0.1") -> Received:
        """Sends `data`, expects that it is answered by the upstream, which got exactly one request; that one."""
        reply = self.ask(data, source)
        assert reply.status == 200, reply
        return self.sent(1)[0]

    def sent(self, count: int) -> list[Received]:
        """The requests that reached the upstream since the last look: exactly `count`, and not a byte besides."""
        new = self.upstream.requests[self._requests :]
        assert len(new) == count, new
        assert sum(len(request.raw) for request in new) == len(self.upstream.raw) - self._bytes
        self._requests += count
        self._bytes, self._connections = len(self.upstream.raw), self.upstream.connections
        return new

    def nothing_sent(self) -> None:
        """No request, no byte and no connection reached the upstream."""
        assert self.upstream.requests[self._requests :] == []
        assert self.upstream.raw[self._bytes :] == b""
        assert self.upstream.connections == self._connections


def eventually(what: Callable[[], T], good: Callable[[T], bool] = bool, tries: int = 4000) -> T:
    """Asks again and again, without a pause, until the answer is good: for changes that the gate announces nowhere."""
    for _ in range(tries):
        value = what()
        if good(value):
            return value
    raise AssertionError(f"still {value!r}")


def enforced(gate: Gate, reply: Reply) -> Reply:
    """The operator's `reply`, once every worker enforces it."""
    assert reply.status in {200, 201}, reply
    assert gate.admin("GET", f"/admin/v1/replicas?epoch={reply.json['epoch']}&wait=20").json["complete"]
    return reply


def restrict(gate: Gate, model: str, name: str, **directive: Any) -> Reply:
    """A directive on `model`, in force on every worker; by default it is withdrawn."""
    asked = {"id": name, "order": ORDER, "models": [model], "require": {"never": True}, "otherwise": "withdraw", **directive}
    return enforced(gate, gate.admin("POST", "/admin/v1/directives", {"directive": asked, "reason": "a test"}))
