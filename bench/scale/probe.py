"""The loop's longest pause, as whoever else lives on it feels it: a task that does nothing but come round."""

import asyncio
import time
from types import TracebackType


class Probe:
    """`async with Probe() as probe`: `probe.longest` is the longest time between two of its turns, in seconds."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Probe":
        self._task = asyncio.create_task(self._turn())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._task is not None
        await asyncio.sleep(0)  # the last pause counts too
        self._task.cancel()

    async def _turn(self) -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            self.longest = max(self.longest, now - last)
            last = now
