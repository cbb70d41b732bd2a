"""The pause of a worker's loop as a caller feels it: a keep-alive connection that asks for what the gate answers by itself.

Pings follow each other a millisecond apart until standard input ends; then the longest and the 99th percentile are printed as JSON, in ms.
Run as `python -m bench.scale.ping PORT TOKEN`, with a higher priority than what it shares its core with, where we may.
"""

import contextlib
import json
import os
import select
import socket
import sys
import time

from bench.machine import quantile

_APART = 0.001  # seconds between an answer and the next ping
_RECEIVE = 1 << 16


def main() -> int:
    port, token = int(sys.argv[1]), sys.argv[2]
    with contextlib.suppress(PermissionError):
        os.nice(-15)
    request = f"GET /v1/models HTTP/1.1\r\nhost: ping\r\nauthorization: Bearer {token}\r\n\r\n".encode()
    took: list[float] = []
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        print("ready", flush=True)
        while not select.select([sys.stdin], [], [], _APART)[0]:
            began = time.perf_counter()
            sock.sendall(request)
            answer = sock.recv(_RECEIVE)
            took.append(time.perf_counter() - began)
            if not answer.startswith(b"HTTP/1.1 200"):
                print(f"not a 200: {answer[:200]!r}", file=sys.stderr)
                return 1
    took.sort()
    print(json.dumps({"pings": len(took), "longest_ms": took[-1] * 1e3, "p99_ms": quantile(took, 0.99) * 1e3}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
