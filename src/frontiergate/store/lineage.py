"""Which log is it, and is it where it was? What tells one log from another, and one history of it from another (decision 0018).

A lineage is ids with blanks between them: the log's own, drawn at random when it began, then those of the logs in whose place an
operator put it. So whoever followed one of those can see that a person decided it.
"""

import hashlib
import secrets
from collections.abc import Iterable

from frontiergate.store.effects import subject_of
from frontiergate.store.protocol import Entry


def log_of(lineage: str) -> str:
    """The log's own id; empty where there is no log."""
    return lineage.partition(" ")[0]


def stands_for(lineage: str, known: str) -> bool:
    """Whether an operator put the log of `lineage` in the place of the one that `known` was."""
    return log_of(known) in lineage.split()[1:]


def accepted(lineage: str, others: Iterable[str]) -> str:
    """A new lineage for the log of `lineage`, in the place of what it was and of `others`."""
    logs = [log for each in (lineage, *others) for log in each.split()]
    return " ".join([secrets.token_hex(8), *dict.fromkeys(logs)])


def mark_of(entry: Entry | None) -> str | None:
    """Tells `entry` from any other that could stand at its epoch; not by its encoding, which may change with an upgrade."""
    if entry is None:
        return None
    said = (entry.epoch, entry.at, entry.actor, entry.reason, type(entry.change).__name__, *subject_of(entry.change))
    return hashlib.sha256(repr(said).encode()).hexdigest()[:16]
