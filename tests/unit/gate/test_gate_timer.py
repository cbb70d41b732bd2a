"""The worker's one timer: it stands at the next instant, whoever brings it forward, and a sweep catches what it cannot know."""

import asyncio
import math
import time
from types import SimpleNamespace

import pytest

from frontiergate.gate.instants import Instants


class Sessions:
    """Sessions that are due at `next_instant`, and what was done about them."""

    def __init__(self) -> None:
        self.next_instant = math.inf
        self.on_sooner = lambda: None
        self.done: list[str] = []
        self.rounds: asyncio.Queue[str] = asyncio.Queue()  # as they begin
        self.happened = asyncio.Event()
        self.held: asyncio.Event | None = None  # what deciding waits for
        self.then: list[float] = []  # instants that deciding brings about
        self.defect: Exception | None = None

    def add(self, seconds: float) -> None:
        self.next_instant = time.time() + seconds
        self.on_sooner()

    def due(self, keeper: object) -> bool:
        return time.time() >= self.next_instant

    async def instant(self, keeper: object) -> int:
        self.next_instant = math.inf
        return await self._decide("instant")

    async def redecide(self, keeper: object) -> int:
        return await self._decide("all")

    async def _decide(self, what: str) -> int:
        self.done.append(what)
        self.rounds.put_nowait(what)
        if self.held is not None:
            await self.held.wait()
        if self.defect is not None:
            raise self.defect
        if self.then:
            self.add(self.then.pop())
        self.happened.set()
        return 0


def played(story) -> None:
    async def main() -> None:
        sessions = Sessions()
        instants = Instants(SimpleNamespace(sessions=sessions))  # type: ignore[arg-type]  # the sessions are all that it needs
        try:
            async with asyncio.timeout(10):
                await story(sessions, instants)
        finally:
            await instants.stop()
        sessions.on_sooner()
        assert instants._timer is None or instants._timer.cancelled(), "a timer outlives it"

    asyncio.run(main())


@pytest.mark.parametrize("seconds", [0.05, 0.0, -5.0])
def test_an_instant_is_met_without_a_sweep(seconds: float) -> None:
    async def story(sessions: Sessions, instants: Instants) -> None:
        sessions.add(seconds)
        await sessions.happened.wait()
        assert time.time() >= sessions.next_instant or sessions.next_instant == math.inf
        assert sessions.done == ["instant"]

    played(story)


def test_an_instant_that_deciding_brings_about_is_met_too() -> None:
    async def story(sessions: Sessions, instants: Instants) -> None:
        sessions.then = [0.02, 0.02]
        sessions.add(0.02)
        for _ in range(3):
            await sessions.rounds.get()

    played(story)


def test_an_instant_that_comes_while_sessions_are_decided_is_met_afterwards() -> None:
    async def story(sessions: Sessions, instants: Instants) -> None:
        sessions.held = asyncio.Event()
        sessions.add(0.0)
        await sessions.rounds.get()
        sessions.add(0.0)
        instants.sweep()
        instants._ring()
        assert sessions.done == ["instant"]
        sessions.held.set()
        await sessions.rounds.get()

    played(story)


def test_one_far_ahead_has_no_timer_until_a_sweep_finds_it_near() -> None:
    async def story(sessions: Sessions, instants: Instants) -> None:
        sessions.add(1000.0)
        assert instants._timer is None
        sessions.next_instant = time.time() + 0.02
        instants.sweep()
        await sessions.happened.wait()

    played(story)


@pytest.mark.parametrize("seconds", [2.0, -2.0])
def test_a_clock_that_was_set_has_every_session_decided_again_once(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    true = time.time

    async def story(sessions: Sessions, instants: Instants) -> None:
        instants.sweep()
        monkeypatch.setattr("time.time", lambda: true() + seconds)
        instants.sweep()
        await sessions.happened.wait()
        await asyncio.sleep(0)
        for _ in range(3):
            instants.sweep()
        assert sessions.done == ["all"]

    played(story)


def test_a_clock_that_is_set_while_sessions_are_decided_has_all_of_them_decided_after_that(monkeypatch: pytest.MonkeyPatch) -> None:
    true = time.time

    async def story(sessions: Sessions, instants: Instants) -> None:
        sessions.held = asyncio.Event()
        sessions.add(0.0)
        await sessions.rounds.get()
        monkeypatch.setattr("time.time", lambda: true() - 2)
        instants.sweep()
        sessions.held.set()
        await sessions.happened.wait()
        await asyncio.sleep(0)
        instants.sweep()
        await sessions.rounds.get()
        assert sessions.done == ["instant", "all"]

    played(story)


def test_a_session_that_cannot_be_decided_is_a_defect_that_the_next_sweep_tells() -> None:
    async def story(sessions: Sessions, instants: Instants) -> None:
        sessions.defect = ValueError("the policy knows no model")
        sessions.add(0.0)
        await sessions.rounds.get()
        for _ in range(2):
            await asyncio.sleep(0)
        sessions.add(0.0)
        instants._ring()
        with pytest.raises(ValueError, match="knows no model"):
            instants.sweep()

    played(story)


def test_stopping_waits_for_nobody() -> None:
    async def story(sessions: Sessions, instants: Instants) -> None:
        sessions.held = asyncio.Event()
        sessions.add(0.0)
        await sessions.rounds.get()
        await instants.stop()

    played(story)
