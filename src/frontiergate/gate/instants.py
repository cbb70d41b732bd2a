"""The worker's one timer for instants: what begins or ends at one takes effect on live sessions then (DESIGN 4.2; P4).

The timer stands at the next instant. It counts monotonic time, and an instant is of the wall clock: so `sweep`, four times a second,
looks whether that clock was set. Where it was, any session may have been decided for a time that is not now.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from frontiergate.gate.gatekeeper import Gatekeeper

_SOON: Final = 0.5  # seconds: what is further ahead is left to a later sweep
_SET: Final = 0.5  # seconds that the clocks drift apart between two sweeps, from which on it is no slewing


class Instants:
    """Meets the instants of a worker's live sessions."""

    def __init__(self, keeper: Gatekeeper) -> None:
        self._keeper = keeper
        self._timer: asyncio.TimerHandle | None = None
        self._work: asyncio.Task[None] | None = None
        self._ahead = _ahead()
        self._was_set = False  # and not every session has been decided since
        keeper.sessions.on_sooner = self._arm

    async def stop(self) -> None:
        self._keeper.sessions.on_sooner = lambda: None
        self._disarm()
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait({self._work})

    def sweep(self) -> None:
        """Called every quarter of a second. Raises what deciding a session raised, which is a defect."""
        if self._work is not None and self._work.done():
            ended, self._work = self._work, None
            ended.result()
        ahead = _ahead()
        if abs(ahead - self._ahead) > _SET:
            self._ahead, self._was_set = ahead, True
        self._meet()

    def _meet(self) -> None:
        """In a task: with many sessions it takes a while, and deadlines do not wait for it."""
        if self._work is not None:
            return
        sessions = self._keeper.sessions
        if self._was_set:
            self._was_set = False
            self._work = asyncio.create_task(self._do(sessions.redecide))
        elif sessions.due(self._keeper):
            self._work = asyncio.create_task(self._do(sessions.instant))
        else:
            self._arm()

    async def _do(self, decide: Callable[[Gatekeeper], Awaitable[int]]) -> None:
        await decide(self._keeper)
        self._arm()  # for what came meanwhile

    def _arm(self) -> None:
        """Have the timer at the next instant, if that is soon. Called for a request in some thousands: 1 µs."""
        self._disarm()
        delay = self._keeper.sessions.next_instant - time.time()
        if delay < _SOON:
            self._timer = asyncio.get_running_loop().call_later(max(delay, 0.0), self._ring)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        if self._work is not None and self._work.done() and self._work.exception() is None:
            self._work = None
        self._meet()


def _ahead() -> float:
    """How far the wall clock is ahead of the monotonic one."""
    return time.time() - time.monotonic()
