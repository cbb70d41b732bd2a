"""P5: what was acknowledged survives kill -9 of the process that appended it."""

import asyncio
import pathlib
import random
import signal
import subprocess
import sys

import pytest

from frontiergate.store.sqlite import SqliteStore

_APPENDER = """
import asyncio, sys
from frontiergate.store.protocol import ModelPaused, ModelResumed, Pause
from frontiergate.store.sqlite import SqliteStore

async def main():
    store = SqliteStore(sys.argv[1])
    await store.open()
    while True:
        paused = bool((await store.state()).pauses)
        change = ModelResumed("m") if paused else ModelPaused(Pause(model="m", reason="r", by="b", since=1.0))
        entry = await store.append(change, actor="child", reason="r")
        print(entry.epoch, flush=True)

asyncio.run(main())
"""


def acknowledged_until_killed(path: pathlib.Path, lines: int) -> int:
    """The last epoch that a child acknowledged before it was killed, at any point after its `lines`-th."""
    with subprocess.Popen([sys.executable, "-c", _APPENDER, str(path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        last = [child.stdout.readline() for _ in range(lines)][-1]
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read()
    complete = rest[: rest.rfind("\n") + 1].split()
    return int(complete[-1] if complete else last)


@pytest.mark.parametrize("seed", range(3))
def test_every_acknowledged_change_survives_kill_9(tmp_path: pathlib.Path, seed: int) -> None:
    chance = random.Random(seed)
    path = tmp_path / "state.db"

    async def look() -> tuple[list[int], bool]:
        store = SqliteStore(str(path))
        await store.open()
        try:
            entries = await store.entries(0, 1_000_000)
            return [entry.epoch for entry in entries], bool((await store.state()).pauses)
        finally:
            await store.close()

    known = 0
    for _ in range(4):
        known = max(known, acknowledged_until_killed(path, chance.randrange(1, 40)))
        epochs, paused = asyncio.run(look())
        assert epochs == list(range(1, len(epochs) + 1)), "no gap, nothing twice"
        assert len(epochs) >= known
        assert paused == bool(len(epochs) % 2), "the effect and its entry are one"
        known = len(epochs)
