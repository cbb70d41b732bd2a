"""Is this host's clock right? It is held against the store's, by whose instants all replicas go (DESIGN 6; decision 0017).

Directives, grants, tokens and evidence begin and end at instants: a replica whose clock is wrong lets some of them last too long.
"""

import time
from collections.abc import Callable

from frontiergate.store.protocol import Position, Store


class StoreClock:
    """Compares the two each time that a position is read, at no cost: the answer carries the store's time."""

    def __init__(self, bound: float, clock: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.bound = bound
        self._clock = clock
        self._monotonic = monotonic
        self._doubt = 0.0
        self.offset = 0.0  # seconds that ours is ahead of the store's

    async def ask(self, store: Store) -> Position:
        """The store's position. Its clock was read at some point of the round trip: half of it is the best guess, and the error at most."""
        began = self._monotonic()
        bearing = await store.bearing()
        half = (self._monotonic() - began) / 2
        self.offset, self._doubt = self._clock() - half - bearing.at, half
        return bearing.position

    def now(self) -> float:
        """POSIX seconds by the store's clock."""
        return self._clock() - self.offset

    @property
    def problem(self) -> str | None:
        """What is wrong, where the two are certainly further apart than the bound."""
        if abs(self.offset) - self._doubt <= self.bound:
            return None
        return (
            f"this host's clock is {abs(self.offset):.0f} s {'ahead of' if self.offset > 0 else 'behind'} the store's, more than "
            f"enforcement.clock_skew ({self.bound:g} s): what begins or ends at an instant would do so at the wrong time. "
            "Set the wrong one of the two right (NTP); gated traffic is refused until then"
        )
