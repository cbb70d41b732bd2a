"""What Redis's replies say of the log: where it stands, and its entries."""

from collections.abc import Sequence
from typing import Any

import msgspec

from frontiergate.errors import StoreError, StoreUnavailable
from frontiergate.store.protocol import Entry, Position
from frontiergate.store.redis_layout import LAYOUT
from frontiergate.store.rows import CHANGE, decode


class Head(msgspec.Struct, frozen=True):
    """Where the log stands, and the mark of its last entry. No lineage: there is no log."""

    position: Position
    mark: bytes


def head_of(name: str, values: Sequence[bytes | None]) -> Head:
    """From the fields that `redis_layout.HEAD` names. Raises StoreError where the store called `name` has not our layout."""
    layout, lineage, epoch, mark = values
    if layout not in (None, LAYOUT):
        raise StoreError(
            f"{name} was written by a newer Frontier Gate (layout {layout.decode(errors='replace')}; this one knows "
            f"{LAYOUT.decode()}): upgrade, or restore the backup taken before the upgrade"
        )
    return Head(Position((lineage or b"").decode(errors="replace"), int(epoch or 0)), mark or b"")


def require_log(name: str, values: Sequence[bytes | None]) -> Head:
    """As `head_of`. Raises StoreUnavailable where there is no log."""
    head = head_of(name, values)
    if not head.position.lineage:
        raise StoreUnavailable(
            f"{name}: it holds no policy log any more (flushed, evicted, or restarted without persistence): "
            "restore it, or begin a new one with `frontiergate store accept`"
        )
    return head


def instant_of(time: Sequence[bytes]) -> float:
    """POSIX seconds, from the reply to TIME: seconds and microseconds."""
    return int(time[0]) + int(time[1]) / 1e6


def pairs(flat: Sequence[Any]) -> list[tuple[str, Any]]:
    """Names and values of a reply that lists them in turn, in the order of the names."""
    named = ((name.decode(errors="replace"), value) for name, value in zip(flat[::2], flat[1::2], strict=True))
    return sorted(named, key=lambda pair: pair[0])


def mark_of(reply: Any) -> bytes:
    """The mark of an entry of the stream."""
    return bytes(dict(pairs(reply[1])).get("mark", b""))


def entry_of(reply: Any) -> Entry:
    """An entry of the stream: its id, and its fields in turn. Raises StoreError where somebody edited it into nonsense."""
    epoch, fields = int(reply[0].partition(b"-")[0]), dict(pairs(reply[1]))
    try:
        return Entry(
            epoch=epoch,
            at=float(fields["at"]),
            actor=fields["actor"].decode(),
            reason=fields["reason"].decode(),
            change=decode(CHANGE, fields["change"], f"log entry {epoch}"),
        )
    except (KeyError, ValueError) as error:
        raise StoreError(f"the store's log entry {epoch} is unreadable ({error!r}): restore a backup") from error
