"""Open-loop load: requests fall due at random instants of a given rate, whether or not earlier ones have been answered.

A request's latency counts from the instant when it was due, so a proxy that stalls is charged with everything that had to wait
(no coordinated omission). select(2) is used because its timeouts are in µs, epoll's in ms.

Run as `python -m bench.openloop PORT REQUEST-FILE END --rate R --seconds S --connections C`; prints JSON, latencies in µs.
"""

import argparse
import json
import random
import select
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.machine import quantile

_RECEIVE = 1 << 16
_PATIENCE = 5.0  # seconds for the last answers


class Line:
    """One keep-alive connection and the request on it."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self.received = b""


def instants(rate: float, seconds: float, seed: int) -> Iterator[float]:
    """When requests fall due: a Poisson process, the same for every candidate of the same seed."""
    chance = random.Random(seed)
    at = chance.expovariate(rate)
    while at < seconds:
        yield at
        at += chance.expovariate(rate)


def latencies(port: int, request: bytes, end: bytes, dues: Iterator[float], connections: int) -> list[float]:
    """Seconds from due to answered, one for each request. Raises ValueError at an answer other than 200."""
    idle = [Line(port) for _ in range(connections)]
    busy: dict[socket.socket, Line] = {}
    taken: list[float] = []
    clock = time.perf_counter
    start = clock()
    due = next(dues, None)
    while due is not None or busy:
        now = clock() - start
        while due is not None and due <= now and idle:
            line = idle.pop()
            line.due, line.received = due, b""
            line.sock.sendall(request)
            busy[line.sock] = line
            due = next(dues, None)
        patience = max(0.0, due - (clock() - start)) if due is not None and idle else _PATIENCE
        readable, _, _ = select.select(busy, (), (), patience)
        if not readable and (due is None or not idle):
            raise ValueError("answers are missing")
        for sock in readable:
            line = busy[sock]
            line.received += sock.recv(_RECEIVE)
            if line.received.endswith(end):
                taken.append(clock() - start - line.due)
                if line.received[9:12] != b"200":
                    raise ValueError(f"not a 200: {line.received[:200]!r}")
                del busy[sock]
                idle.append(line)
    for line in idle:
        line.sock.close()
    return taken


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.openloop")
    parser.add_argument("port", type=int)
    parser.add_argument("request", type=Path)
    parser.add_argument("end", help="how each answer ends")
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    dues = instants(given.rate, given.seconds, given.seed)
    try:
        taken = sorted(latencies(given.port, given.request.read_bytes(), given.end.encode(), dues, given.connections))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    tell = {"requests": len(taken), "p50_us": quantile(taken, 0.5) * 1e6, "p99_us": quantile(taken, 0.99) * 1e6}
    print(json.dumps(tell))
    return 0


if __name__ == "__main__":
    sys.exit(main())
