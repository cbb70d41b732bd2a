"""What Redis's replies say of the log: where it stands, and its entries."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from frontiergate.errors import StoreError, StoreUnavailable
from frontiergate.store import redis_layout
from frontiergate.store.protocol import Entry, Position
from frontiergate.store.rows import CHANGE, decode

_LAYOUT = re.compile(rb"([1-9][0-9]{0,3})(?:>([1-9][0-9]{0,3}))?")


class Head(msgspec.Struct, frozen=True):
    """Where the log stands, and the mark of its last entry. No lineage: there is no log."""

    position: Position
    mark: bytes


class OlderLayout(StoreUnavailable):
    """What the store holds is to be brought forward before this version can use it (redis_forward)."""


def layout_of(name: str, value: bytes | None) -> tuple[int, int]:
    """From which layout to which the store called `name` is on its way; it is whole where they are the same.

    Raises StoreUnavailable where this version does not know the one that it comes to.
    """
    found = _LAYOUT.fullmatch(value or b"")
    if found is None:
        raise damaged(name, "its layout")
    source, target = int(found[1]), int(found[2] or found[1])
    if target > redis_layout.LAYOUT:
        raise StoreUnavailable(
            f"{name} was written by a newer Frontier Gate (layout {target}; this one knows {redis_layout.LAYOUT}): "
            "upgrade, or restore the backup taken before the upgrade"
        )
    return source, target


def require_layout(name: str, value: bytes | None) -> None:
    """Raises StoreUnavailable where the store called `name` has another layout than ours; one that holds no log has none."""
    if value is not None and layout_of(name, value) != (redis_layout.LAYOUT, redis_layout.LAYOUT):
        raise OlderLayout(
            f"{name} has the layout of an older Frontier Gate ({value.decode()}; this one's is {redis_layout.LAYOUT}): "
            "a gate of this version brings it forward when it starts; ask again then"
        )


def head_of(name: str, values: Sequence[bytes | None]) -> Head:
    """From the fields that `redis_layout.HEAD` names. Raises StoreUnavailable where the store called `name` has not our layout."""
    layout, lineage, epoch, mark = values
    if values.count(None) == len(values):
        return Head(Position("", 0), b"")
    if layout is None or lineage is None or epoch is None or mark is None or not epoch.isdigit():
        raise damaged(name, "the head of its log")
    require_layout(name, layout)
    return Head(Position(lineage.decode(errors="replace"), int(epoch)), mark)


def damaged(name: str, what: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"{name}: {what} is not as we write it: another program uses the same keys, or somebody edited them; "
        "restore a backup, or choose another prefix with ?prefix=NAME"
    )


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
