"""Long work on the event loop, in slices: between two of them, everybody else has a turn."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

SLICE: Final = 0.003  # seconds; with what others then do in their turn, the loop is back well within 10 ms


class Slices:
    """One piece of long work: `if slices.over: await slices.rest()` after each small step of it (0.1 µs where it is not over)."""

    __slots__ = ("_clock", "_end", "_length")

    def __init__(self, length: float = SLICE, clock: Callable[[], float] = time.perf_counter) -> None:
        self._length = length
        self._clock = clock
        self._end = clock() + length

    @property
    def over(self) -> bool:
        """Whether this slice's time is used up."""
        return self._clock() >= self._end

    async def rest(self, seconds: float = 0.0) -> None:
        """Let everybody else have a turn, other processes too for so many seconds, then begin the next slice."""
        await asyncio.sleep(seconds)
        self._end = self._clock() + self._length
