"""The store's narrow seam: one append path, consistent reads, replicas' reports (DESIGN 6; P4, P5).

Every mutation is one `Change`, appended in one transaction with its effect; the log's position after it is the epoch.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from frontiergate.domain.directive import Directive
from frontiergate.domain.evidence import Evidence
from frontiergate.domain.vetting import Grant


class Pause(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An operational stop of one model (503); no legal claim."""

    model: str
    reason: str
    by: str
    since: float


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A gate-issued API key as stored: SHA-256 of its secret, never the secret."""

    id: str
    sha256: str
    name: str
    evidence: tuple[Evidence, ...] = ()
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None


class DirectiveAdded(msgspec.Struct, frozen=True, tag="directive_added"):
    directive: Directive


class DirectiveLifted(msgspec.Struct, frozen=True, tag="directive_lifted"):
    id: str


class ModelPaused(msgspec.Struct, frozen=True, tag="model_paused"):
    pause: Pause


class ModelResumed(msgspec.Struct, frozen=True, tag="model_resumed"):
    model: str


class GrantIssued(msgspec.Struct, frozen=True, tag="grant_issued"):
    grant: Grant


class GrantChanged(msgspec.Struct, frozen=True, tag="grant_changed"):
    """Suspend, resume, revoke; Conflict where the transition is not in `vetting`'s table."""

    id: str
    state: str
    principal: str  # so that caches are invalidated exactly


class KeyCreated(msgspec.Struct, frozen=True, tag="key_created"):
    key: KeyRecord


class KeyRevoked(msgspec.Struct, frozen=True, tag="key_revoked"):
    id: str


class StoreAccepted(msgspec.Struct, frozen=True, tag="store_accepted"):
    """An operator takes this log as it is, though replicas enforced what is not in it (decision 0018)."""

    lineage: str  # the log's from here on: a new one, in the place of those that replicas followed


Change = (
    DirectiveAdded | DirectiveLifted | ModelPaused | ModelResumed | GrantIssued | GrantChanged | KeyCreated | KeyRevoked | StoreAccepted
)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One position of the policy log."""

    epoch: int
    at: float  # POSIX seconds, the store's clock
    actor: str
    reason: str
    change: Change


class StoredDirective(msgspec.Struct, frozen=True, gc=False):
    """A runtime directive with the epoch that last changed it (its ETag)."""

    directive: Directive
    epoch: int
    actor: str
    at: float


class Position(msgspec.Struct, frozen=True):
    """Where a log stands, and which log it is (`lineage`)."""

    lineage: str
    epoch: int


class Bearing(msgspec.Struct, frozen=True):
    """Where a log stands, and what the store's clock says."""

    position: Position
    at: float  # POSIX seconds


class PolicyState(msgspec.Struct, frozen=True):
    """All runtime policy at one epoch of one lineage, read in one transaction."""

    epoch: int
    directives: tuple[StoredDirective, ...]
    pauses: tuple[Pause, ...]
    lineage: str = ""


class Enforced(msgspec.Struct, frozen=True):
    """From `at` on every decision of a worker, and every live session on it, reflects `epoch`."""

    epoch: int
    at: float  # POSIX seconds, the store's clock
    severed: int  # sessions, on the way there


FORGOTTEN = 3600  # seconds after which a replica that stopped reporting is not listed any more


class ReplicaReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker last said of itself. Instants are the store's, as far as the worker can tell."""

    name: str  # host/worker-number, stable across restarts
    instance: str  # new at every start
    version: str
    enforced: tuple[Enforced, ...]  # the last few, in order; at least one
    heartbeat: float
    live_sessions: int
    config: str  # short digest of the configuration in force
    lineage: str  # the log that it follows
    regressed: bool = False  # the store went back behind what it enforces, and nobody has accepted that
    stale: bool = False  # it refuses gated traffic, for
    problem: str = ""
    clock_offset: float = 0.0  # seconds that its clock is ahead of the store's

    @property
    def epoch(self) -> int:
        return self.enforced[-1].epoch

    def reached(self, epoch: int) -> Enforced:
        """How it came to enforce `epoch`, though others may have come since; what it did last, where that is not known."""
        return next((each for each in self.enforced if each.epoch >= epoch), self.enforced[-1])


class Store(Protocol):
    """SQLite or Redis. Methods raise StoreUnavailable where the store cannot be reached, Conflict and NotFound as named."""

    lag: float  # seconds: how old it can be what `changed` says when it says no

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    async def append(self, change: Change, *, actor: str, reason: str, expect: int | None = None) -> Entry:
        """Append and take effect, durably, before returning. `expect`: the epoch of the log, or of the thing changed
        (directive), that the caller saw; Conflict where it is another by now."""
        ...

    async def head(self) -> int:
        """The log's last epoch; 0 where it is empty."""
        ...

    async def position(self) -> Position:
        """Lineage and head in one read, so that a follower notices another store in the place of the one it knows."""
        ...

    async def bearing(self) -> Bearing:
        """As `position`, with the store's time in the same round trip, so that a follower notices that its own clock is wrong."""
        ...

    async def changed(self) -> bool:
        """Whether the store may have changed since the last call; cheap enough to ask every 10 ms."""
        ...

    async def state(self) -> PolicyState: ...
    async def entries(self, after: int, limit: int = 1000) -> Sequence[Entry]:
        """The entries with an epoch above `after`, in order."""
        ...

    async def directive_history(self, id: str) -> Sequence[Entry]: ...
    async def grant(self, id: str) -> Grant: ...
    async def grants_of(self, principal: str) -> tuple[Grant, ...]:
        """Its grants that are active or suspended. One indexed look-up."""
        ...

    async def grants(self, *, after: str = "", limit: int = 100) -> Sequence[Grant]: ...
    async def key(self, sha256: str) -> KeyRecord | None:
        """The key with this digest, revoked or not."""
        ...

    async def keys(self) -> Sequence[KeyRecord]: ...
    async def report(self, report: ReplicaReport) -> None: ...
    async def forget_replica(self, name: str, instance: str) -> None:
        """A replica that stopped in good order."""
        ...

    async def replicas(self) -> Sequence[ReplicaReport]: ...
