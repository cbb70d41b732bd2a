"""How an older layout in Redis is brought forward: in steps, by whoever opens the store first, while gates may run (docs/decisions/0019).

    1 ── shut ──→ 1>2, at "" ── step ──→ 1>2, at … ── … ── the last step ──→ 2

Shut means: a version that knows only layout 1 sees one that it does not know, and from then on neither appends nor believes what it
reads. Each step is one script that makes its commands and says how far they came, if nobody was faster. So any number of processes may
bring the same store forward, and any of them may die: the next one goes on from there.
"""

import logging
from collections.abc import Awaitable, Callable

import msgspec

from frontiergate.store import redis_layout
from frontiergate.store.redis_layout import SHUT, STEP, Keys
from frontiergate.store.redis_link import Link
from frontiergate.store.redis_replies import layout_of
from frontiergate.store.rows import encode

_log = logging.getLogger(__name__)


class Step(msgspec.Struct, frozen=True):
    """Some commands, the second word of each its key, and where the next step begins; None: there is no next one."""

    commands: list[list[str]]
    then: str | None


Migration = Callable[[Link, Keys, str], Awaitable[Step]]
"""Reads what is in the store from a place on, "" at first, and says what to write. A thousand commands hold the server for some
milliseconds. What a step commands that `redis_layout.trial` does not try must be added there, and to the permissions in the docs.
The replicas' reports keep their form in every layout: a version that may touch nothing else still tells there that it refuses."""

# The n-th leads from layout n to layout n + 1. Never edited once released; the next one is added below it, and redis_layout.LAYOUT raised.
MIGRATIONS: tuple[Migration, ...] = ()


async def bring_forward(link: Link, keys: Keys, name: str) -> None:
    """Make the layout of the store called `name` be ours. Raises StoreUnavailable where it is newer, and as `Link` does."""
    assert len(MIGRATIONS) == redis_layout.LAYOUT - 1
    while True:
        ((layout, at),) = await link.ask(("HMGET", keys.meta, "layout", "at"))
        source, target = layout_of(name, layout)
        if source == target == redis_layout.LAYOUT:
            return
        if source == target:
            if await link.run(SHUT, [keys.meta], [source, source + 1, keys.changed]):
                _log.warning("%s: its layout %d is brought forward; gates that do not know layout %d refuse it", name, source, source + 1)
            continue
        step = await MIGRATIONS[source - 1](link, keys, at.decode())
        assert step.then != at.decode(), "a step that comes nowhere"
        now = f"{source}>{target}"
        after = (target, "") if step.then is None else (now, step.then)
        written = [keys.meta, *dict.fromkeys(command[1] for command in step.commands)]
        await link.run(STEP, written, [now, at, *after, encode(step.commands)])
