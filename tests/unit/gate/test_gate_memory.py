"""What a large body costs a real worker's memory: itself, and little more (P8)."""

import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.gate import Gate

MIB = 1 << 20
SIZE = 30_000_000


class Sink:
    """An upstream that keeps nothing of a body and answers when it has come."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection = self._listening.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._take, args=(connection,), daemon=True).start()

    def _take(self, connection: socket.socket) -> None:
        with connection:
            came = b""
            while b"\r\n\r\n" not in came:
                came += connection.recv(1 << 16)
            head, _, body = came.partition(b"\r\n\r\n")
            length, taken = int(re.findall(rb"content-length: (\d+)", head)[0]), len(body)
            while taken < length:
                taken += len(connection.recv(1 << 18))
            connection.sendall(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}")

    def close(self) -> None:
        self._listening.close()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    sink = Sink()
    with Gate(tmp_path / "gate", sink) as gate:  # type: ignore[arg-type] - it has the URL, which is all that is asked of it
        yield gate
    sink.close()


def memory(gate: Gate, key: str) -> int:
    """A line of the worker's status, in bytes."""
    found = re.search(rf"{key}:\s+(\d+) kB", Path(f"/proc/{gate.worker_pids()[0]}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def send(gate: Gate, body: bytes, chunks: int | None) -> bytes:
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\nauthorization: Bearer {gate.token()}\r\n"
    with socket.create_connection(("127.0.0.1", gate.port), timeout=20) as sock:
        if chunks is None:
            sock.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode())
            sock.sendall(body)
        else:
            pieces = (body[at : at + chunks] for at in range(0, len(body), chunks))
            sock.sendall(f"{head}transfer-encoding: chunked\r\n\r\n".encode())
            sock.sendall(b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n")
        return sock.recv(1 << 16)


def test_a_large_body_is_held_once_and_a_refused_one_not_at_all(gate: Gate) -> None:
    """One after the other, as the high-water mark only rises. Bounds are wide: benches measure, this sees a second copy."""
    text = b"QUJD" * (SIZE // 4)
    good = b'{"model":"gpt-open","messages":[{"role":"user","content":"%b"}]}' % text
    wrong = good.replace(b'"messages"', b'"messages" "')
    assert send(gate, good[:1000] + b'"}]}', None).startswith(b"HTTP/1.1 200")
    idle = memory(gate, "VmRSS")
    peak = memory(gate, "VmHWM")
    assert send(gate, wrong, None).startswith(b"HTTP/1.1 400")
    assert memory(gate, "VmHWM") - peak < 4 * MIB
    for chunks in (None, 64 << 10, 1000):
        assert send(gate, good, chunks).startswith(b"HTTP/1.1 200")
        assert SIZE - 4 * MIB < memory(gate, "VmHWM") - idle < SIZE + 6 * MIB
