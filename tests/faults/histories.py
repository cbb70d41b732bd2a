"""What generated histories of a store are held against: a list of what was acknowledged, and dictionaries of what it adds up to."""

import asyncio
import pathlib
from collections.abc import Callable, Sequence

import hypothesis.strategies as st

from frontiergate.domain.vetting import TRANSITIONS, GrantState
from frontiergate.errors import Conflict, NotFound, StoreError
from frontiergate.store.feed import Feed
from frontiergate.store.lineage import stands_for
from frontiergate.store.protocol import (
    Change,
    DirectiveAdded,
    DirectiveLifted,
    Entry,
    GrantChanged,
    GrantIssued,
    KeyCreated,
    KeyRevoked,
    ModelPaused,
    ModelResumed,
    PolicyState,
    Store,
    StoreAccepted,
)
from frontiergate.store.reporter import Replica
from tests.unit.store.store_contract import directive, grant, key, pause

LEASE = 10.0  # seconds of the histories' own clock
_IDS, _PRINCIPALS = st.sampled_from("abcd"), st.sampled_from("pq")

CHANGES: st.SearchStrategy[Change] = st.one_of(
    _IDS.map(lambda name: DirectiveAdded(directive(name))),
    _IDS.map(DirectiveLifted),
    _IDS.map(lambda model: ModelPaused(pause(model))),
    _IDS.map(ModelResumed),
    st.builds(lambda name, principal: GrantIssued(grant(name, principal)), _IDS, _PRINCIPALS),
    st.builds(lambda name, to, principal: GrantChanged(name, to.value, principal), _IDS, st.sampled_from(GrantState), _PRINCIPALS),
    _IDS.map(lambda name: KeyCreated(key(name))),
    _IDS.map(KeyRevoked),
)
WISHES = st.lists(CHANGES, min_size=4, max_size=4)  # of which the first that can be made is
EXPECTED = st.none() | st.integers(0, 12)  # the epoch that whoever changes something says to have seen


class World:
    """What a log adds up to."""

    def __init__(self, log: Sequence[Entry] = ()) -> None:
        self.head = 0
        self.directives: dict[str, int] = {}
        self.pauses: set[str] = set()
        self.grants: dict[str, tuple[str, GrantState]] = {}
        self.keys: dict[str, bool] = {}
        for entry in log:
            self._apply(entry)

    def _apply(self, entry: Entry) -> None:
        self.head = entry.epoch
        match entry.change:
            case DirectiveAdded(added):
                self.directives[added.id] = entry.epoch
            case DirectiveLifted(id):
                del self.directives[id]
            case ModelPaused(paused):
                self.pauses.add(paused.model)
            case ModelResumed(model):
                self.pauses.remove(model)
            case GrantIssued(issued):
                self.grants[issued.id] = (issued.principal, GrantState.ACTIVE)
            case GrantChanged(id, state, principal):
                self.grants[id] = (principal, GrantState(state))
            case KeyCreated(created):
                self.keys[created.id] = False
            case KeyRevoked(id):
                self.keys[id] = True
            case StoreAccepted():
                pass

    def refusal(self, change: Change, expect: int | None) -> type[StoreError] | None:
        """What must come of `change` here; None: it is made."""
        if isinstance(change, DirectiveLifted) and change.id not in self.directives:
            return NotFound
        seen = {self.head, self.directives[change.id]} if isinstance(change, DirectiveLifted) else {self.head}
        if expect is not None and expect not in seen:
            return Conflict
        match change:
            case DirectiveAdded(added):
                return Conflict if added.id in self.directives else None
            case ModelPaused(paused):
                return Conflict if paused.model in self.pauses else None
            case ModelResumed(model):
                return None if model in self.pauses else NotFound
            case GrantIssued(issued):
                return Conflict if issued.id in self.grants else None
            case GrantChanged(id, state, principal):
                if id not in self.grants:
                    return NotFound
                owner, now = self.grants[id]
                return None if owner == principal and GrantState(state) in TRANSITIONS[now] else Conflict
            case KeyCreated(created):
                return Conflict if created.id in self.keys else None
            case KeyRevoked(id):
                return NotFound if id not in self.keys else Conflict if self.keys[id] else None
        return None

    def possible(self, wishes: Sequence[Change]) -> Change | None:
        """The first of `wishes` that can be made here."""
        return next((change for change in wishes if self.refusal(change, None) is None), None)

    def is_that_of(self, state: PolicyState) -> bool:
        held = {stored.directive.id: stored.epoch for stored in state.directives}
        return held == self.directives and {p.model for p in state.pauses} == self.pauses


async def check_all(store: Store, log: list[Entry]) -> None:
    """Every reading of the store shows the world of `log`."""
    world = World(log)
    assert list(await store.entries(0)) == log
    state = await store.state()
    assert state.epoch == (await store.position()).epoch == len(log)
    assert world.is_that_of(state)
    assert {g.id: (g.principal, g.state) for g in await store.grants()} == world.grants
    for principal in "pq":
        usable = (GrantState.ACTIVE, GrantState.SUSPENDED)
        live = {name for name, (owner, now) in world.grants.items() if owner == principal and now in usable}
        assert {g.id for g in await store.grants_of(principal)} == live
    assert {k.id: k.revoked_at is not None for k in await store.keys()} == world.keys
    for name in "abcd":
        about = [e for e in log if isinstance(e.change, DirectiveAdded | DirectiveLifted) and _named(e.change) == name]
        assert list(await store.directive_history(name)) == about


def _named(change: DirectiveAdded | DirectiveLifted) -> str:
    return change.directive.id if isinstance(change, DirectiveAdded) else change.id


class Past:
    """The log as it was seen last, what may yet appear in it, and how it stood at each moment."""

    def __init__(self) -> None:
        self.lineage = ""
        self.log: list[Entry] = []
        self.unknown: dict[tuple[str, str], Change] = {}  # by lineage and mark: sent, and nobody knows what came of it
        self._stood: list[tuple[float, str, tuple[Entry, ...]]] = []

    def grows(self, entries: Sequence[Entry], acknowledged: Entry | None, lineage: str, now: float) -> None:
        """The log is `entries` by now. Nothing is undone, and nothing is new that nobody asked for."""
        assert [entry.epoch for entry in entries] == list(range(1, len(entries) + 1)), "a gap"
        assert list(entries[: len(self.log)]) == self.log, "what was in the log is not there any more"
        assert self.lineage in ("", lineage)
        new = entries[len(self.log) :]
        for entry in new:
            if entry != acknowledged:
                assert self.unknown.pop((lineage, entry.reason), None) == entry.change, f"nobody knows of {entry}"
        assert acknowledged is None or acknowledged in new, "acknowledged, and not there"
        self.log, self.lineage = list(entries), lineage
        self.stands(now)

    def begins_anew(self, log: Sequence[Entry], lineage: str, now: float) -> None:
        """The store was flushed, or restored from a backup."""
        self.log, self.lineage = list(log), lineage
        self.stands(now)

    def is_accepted(self, entry: Entry, lineage: str, now: float) -> None:
        """An operator took the log as it is: from `entry` on it is another one, in the place of those that replicas followed."""
        assert entry.epoch == len(self.log) + 1
        self.log, self.lineage = [*self.log, entry], lineage
        self.stands(now)

    def stands(self, now: float) -> None:
        self._stood.append((now, self.lineage, tuple(self.log)))

    def stood_so(self, lineage: str, log: tuple[Entry, ...], since: float) -> bool:
        """Whether the log was `log` at some moment from `since` on."""
        ends = [began for began, *_ in self._stood[1:]] + [float("inf")]
        return any(end >= since and stood[1:] == (lineage, log) for stood, end in zip(self._stood, ends, strict=True))


class Follower:
    """A replica: a real feed on a store of its own; `known` is the log that its policy rests on."""

    def __init__(self, name: str, connect: Callable[[], Store], folder: pathlib.Path, now: Callable[[], float]) -> None:
        self.name = name
        self._connect = connect
        self._saved = str(folder / f"{name}.json")
        self._now = now
        self._instances = 0
        self.known: tuple[Entry, ...] = ()
        self.lineage = ""
        self.feed: Feed[PolicyState] | None = None  # None: it never had a policy, and admits nobody
        self.store = connect()

    async def restart(self) -> bool:
        """kill -9 and a start; whether it reached the store."""
        await self.close()
        self.store = self._connect()
        self._instances += 1
        me = Replica(name=self.name, instance=f"i{self._instances}", version="0", config=str, live_sessions=lambda: 0)
        feed = Feed(self.store, self._compile, lambda *_: None, self._enforce, me, lease=LEASE, monotonic=self._now, saved=self._saved)
        self.feed = feed if await feed.start() else None
        return not feed.stale(self._now())

    async def _compile(self, state: PolicyState) -> PolicyState:
        return state

    async def _enforce(self) -> int:
        return 0

    def learns(self, log: Sequence[Entry], lineage: str) -> None:
        assert self.feed is not None
        self.known, self.lineage = tuple(log[: self.feed.epoch]), lineage

    def can_go_on_from(self, past: Past) -> bool:
        """Whether the store holds what this replica has enforced, or an operator accepted that it does not."""
        if not self.lineage or stands_for(past.lineage, self.lineage):
            return True
        return self.lineage == past.lineage and self.known == tuple(past.log[: len(self.known)])

    @property
    def confirmed(self) -> bool:
        """Whether it would admit anybody now."""
        return self.feed is not None and not self.feed.stale(self._now())

    async def close(self) -> None:
        await self.store.close()
        self.feed = None


async def until(condition: Callable[[], object], turn: Callable[[], object], seconds: float = 20) -> None:
    """Take turns until it holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await turn()  # type: ignore[misc]
