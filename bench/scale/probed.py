"""A real worker, sockets and all, with a probe on its loop: what the loop's own thread works in one go.

Each line on standard input is answered with that since the line before, as JSON in ms. Ends when standard input does.
Run as `python -m bench.scale.probed CONFIGURATION`.
"""

import asyncio
import gc
import json
import os
import sys

import uvloop

from bench.compiled import compiled
from bench.machine import PROXY_CORE
from bench.scale.probe import Probe
from frontiergate import supervisor
from frontiergate.config.load import read_snapshot
from frontiergate.worker import Worker


async def serve(path: str) -> None:
    """As `frontiergate.worker` does, until standard input ends."""
    worker = Worker(read_snapshot(path, path), os.environ, 0)
    await worker.start()
    gc.collect()
    gc.freeze()
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    print("ready", flush=True)
    line = b"\n"
    while line:
        async with Probe() as probe:
            line = await commands.readline()
        print(json.dumps({"held_ms": probe.held * 1e3, "longest_ms": probe.longest * 1e3}), flush=True)
    await worker.stop()


if __name__ == "__main__":
    package = str(compiled())
    if os.environ.get("PYTHONPATH") != package:  # only a new interpreter imports the compiled modules, and allocates as a worker does
        argv = [sys.executable, "-m", "bench.scale.probed", *sys.argv[1:]]
        os.execve(sys.executable, argv, {**os.environ, **supervisor._MALLOC, "PYTHONPATH": package})
    os.sched_setaffinity(0, {PROXY_CORE})
    uvloop.run(serve(sys.argv[1]))
