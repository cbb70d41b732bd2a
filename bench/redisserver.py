"""A real redis-server for a bench: its append-only file synced each second, nothing else saved, and what it says that it used."""

import contextlib
import logging
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import msgspec

from bench.machine import BenchError
from bench.processes import Command, Processes, free_port, wait_told

_READY = "Ready to accept connections"
_PATIENCE = 60.0  # seconds


class Usage(msgspec.Struct, frozen=True):
    """What a server has used so far: seconds of CPU, bytes from and to its clients."""

    cpu: float
    received: int
    sent: int

    def __sub__(self, other: "Usage") -> "Usage":
        return Usage(self.cpu - other.cpu, self.received - other.received, self.sent - other.sent)


class Redis:
    """A server that runs, and one connection to it of the bench's own."""

    def __init__(self, port: int, process: int) -> None:
        self.port = port
        self.process = process
        self.url = f"redis://127.0.0.1:{port}"
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)
        self._replies = self._socket.makefile("rb")

    def send(self, commands: bytes) -> None:
        """Commands in Redis's protocol, as many as one likes."""
        self._socket.sendall(commands)

    def expect(self, replies: int) -> None:
        """Reads so many replies that are lines. Raises BenchError where one is an error."""
        for _ in range(replies):
            line = self._replies.readline()
            if not line or line.startswith(b"-"):
                raise BenchError(f"Redis said {line!r}")
            if line.startswith(b"$"):
                self._replies.read(int(line[1:]) + 2)

    def call(self, *words: str | int) -> str:
        """One command whose reply is a line or a text. Raises BenchError where it is an error."""
        self.send(command(*words))
        line = self._replies.readline()
        if not line or line.startswith(b"-"):
            raise BenchError(f"Redis said {line!r} to {words!r}")
        return self._replies.read(int(line[1:]) + 2).decode() if line.startswith(b"$") else line[1:].decode().strip()

    def told(self, section: str) -> dict[str, str]:
        """One section of INFO."""
        lines = self.call("INFO", section).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def usage(self) -> Usage:
        """So far. Asking costs some 30 µs itself."""
        cpu, stats = self.told("cpu"), self.told("stats")
        return Usage(
            float(cpu["used_cpu_sys"]) + float(cpu["used_cpu_user"]),
            int(stats["total_net_input_bytes"]),
            int(stats["total_net_output_bytes"]),
        )

    def memory(self) -> int:
        """Bytes that its data, and the connections to it, take."""
        return int(self.told("memory")["used_memory"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._replies.close()
        self._socket.close()


def command(*words: str | int | bytes) -> bytes:
    """A command in Redis's protocol (RESP, arrays of bulk strings)."""
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


@contextlib.contextmanager
def redis_server(directory: Path, cores: int | Sequence[int], *, durable: bool = True) -> Iterator[Redis]:
    """The server of a folder. `durable`: with an append-only file, synced each second."""
    logging.getLogger("frontiergate.store").setLevel(logging.ERROR)  # each of a thousand stores would tell the risks of these settings
    directory.mkdir(exist_ok=True)
    port = free_port()
    settings = ("--bind", "127.0.0.1", "--port", str(port), "--dir", str(directory), "--save", "", "--maxmemory-policy", "noeviction")
    kept = ("--appendonly", "yes", "--appendfsync", "everysec") if durable else ("--appendonly", "no")
    log = directory / f"redis-{port}.log"
    with Processes((Command(("redis-server", *settings, *kept)),), cores, log) as processes:
        wait_told(processes, log, _READY, 1)
        with Redis(port, processes.pids()[0]) as server:
            yield server
