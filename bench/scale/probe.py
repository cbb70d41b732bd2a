"""The loop's longest pause, as whoever else lives on it feels it: a task that does nothing but come round."""

import asyncio
import time
from types import TracebackType


class Probe:
    """`async with Probe() as probe`: `longest` is the longest time between two of its turns, `held` the most that the loop's own thread
    worked between two of them; both in seconds. On a machine that does other things, only the second is the gate's own doing."""

    def __init__(self) -> None:
        self.longest = self.held = 0.0
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
        last, worked = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(0)
            now, work = time.perf_counter(), time.thread_time()
            self.longest, self.held = max(self.longest, now - last), max(self.held, work - worked)
            last, worked = now, work
