"""Reads a store from end to end: its log into a ledger, and whether the store holds exactly what the log adds up to.

The log only ever grows, so this may be done while gates use the store: what they change meanwhile is followed to the end.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Literal, TypeVar

import msgspec

from frontiergate.domain.vetting import Grant
from frontiergate.errors import StoreError
from frontiergate.store.ledger import Holding, Ledger
from frontiergate.store.protocol import KeyRecord, Store

T = TypeVar("T")
_PAGE = 1000
_AT_ONCE = 64  # questions on the way; a store answers so many in turn or together, as it can
_MOST = 100  # differences after which no more are looked for
_PATIENCE = 3.0  # seconds; a replica that lives reports each second

Kind = Literal["directive", "pause", "grant", "key"]
_SUBJECTS: dict[Kind, str] = {"directive": "directive", "pause": "model", "grant": "grant", "key": "key"}  # as the log names them
Difference = tuple[str, str]  # what it is about, as `kind/name`, and what is wrong
Comparison = Callable[[Store, Ledger], AsyncIterator[Difference]]


class Survey(msgspec.Struct, frozen=True):
    """What was found, at the epoch to which the ledger came."""

    holding: Holding
    differences: tuple[str, ...]


async def survey(store: Store, ledger: Ledger, *compare: Comparison) -> Survey:
    """Read the log, and compare what it adds up to with the rest. Raises StoreError where the log itself cannot be followed."""
    before = await store.position()
    if not before.lineage:
        raise StoreError("there is no policy log in the store: name the right one in `store`, or start the gate once to begin one")
    await _follow(store, ledger, before.epoch)
    found: list[Difference] = []
    since = ledger.epoch
    for comparison in compare:
        async for difference in comparison(store, ledger):
            if len(found) == _MOST:
                break
            found.append(difference)
    now = await store.position()
    if now.lineage != before.lineage or now.epoch < ledger.epoch:
        raise StoreError("another log was put into the store while it was read: repeat it")
    await _follow(store, ledger, now.epoch)
    changed = ledger.subjects(since)  # of these, what was read may be older or newer than what it was held against
    return Survey(ledger.holding(before.lineage), tuple(text for subject, text in found if subject not in changed))


async def users(store: Store) -> list[str]:
    """The replicas that report while we look on: whatever clocks say, those are alive."""

    async def reports() -> dict[str, tuple[str, float]]:
        return {report.name: (report.instance, report.heartbeat) for report in await store.replicas()}

    until = time.monotonic() + _PATIENCE
    first = await reports()
    while first and time.monotonic() < until:
        await asyncio.sleep(0.1)
        moved = [name for name, report in (await reports()).items() if first.get(name) != report]
        if moved:
            return moved
    return []


async def _follow(store: Store, ledger: Ledger, epoch: int) -> None:
    """Read the log into `ledger` up to `epoch`."""
    while ledger.epoch < epoch:
        page = await store.entries(ledger.epoch, min(_PAGE, epoch - ledger.epoch))
        if not page:
            raise StoreError(f"the log ends with entry {ledger.epoch}, but the store says that it goes up to {epoch}")
        for entry in page:
            ledger.append(entry)


async def things(store: Store, ledger: Ledger) -> AsyncIterator[Difference]:
    """All that is in force, by its id."""
    state = await store.state()
    await _follow(store, ledger, state.epoch)
    for difference in (
        *_unlike("directive", ledger.directives(), state.directives, lambda stored: stored.directive.id),
        *_unlike("pause", ledger.pauses(), state.pauses, lambda pause: pause.model),
        *_unlike("key", ledger.issued_keys(), await store.keys(), _id),
    ):
        yield difference
    async for difference in _grants(store, ledger):
        yield difference


async def _grants(store: Store, ledger: Ledger) -> AsyncIterator[Difference]:
    after = ""
    while page := await store.grants(after=after, limit=_PAGE):
        last = page[-1].id
        for difference in _unlike("grant", ledger.grants(after, last), page, _id):
            yield difference
        after = last
    for grant in ledger.grants(after):
        yield _missing("grant", grant.id)


async def look_ups(store: Store, ledger: Ledger) -> AsyncIterator[Difference]:
    """What gates ask for by another name than the id must lead to the same things."""
    for some in _batches(ledger.live()):
        found = await asyncio.gather(*(store.grants_of(principal) for principal, _ in some))
        for (principal, ids), grants in zip(some, found, strict=True):
            for name in sorted({*ids} ^ {grant.id for grant in grants}):
                done = "is not found" if name in ids else "is found"
                yield f"grant/{name}", f"grant {name!r} {done} when {principal!r} calls, but the log says otherwise"
    for keys in _batches(ledger.issued_keys()):
        for key, held in zip(keys, await asyncio.gather(*(store.key(key.sha256) for key in keys)), strict=True):
            if held != key:
                yield f"key/{key.id}", f"key {key.id!r} is not found by its digest as the log says"
    for histories in _batches(ledger.histories()):
        kept = await asyncio.gather(*(store.directive_history(name) for name, _ in histories))
        for (name, epochs), entries in zip(histories, kept, strict=True):
            if [entry.epoch for entry in entries] != epochs:
                yield f"directive/{name}", f"the history of directive {name!r} is not as the log says"


def _unlike(kind: Kind, told: Iterable[T], held: Iterable[T], name_of: Callable[[T], str]) -> Iterator[Difference]:
    """Where what the log says and what the store holds are not the same."""
    say, have = ({name_of(thing): thing for thing in things} for things in (told, held))
    for name in sorted(say.keys() | have.keys()):
        if name not in have:
            yield _missing(kind, name)
        elif say.get(name) != have[name]:
            what = "is another than the log says" if name in say else "is held, but the log does not say so"
            yield f"{_SUBJECTS[kind]}/{name}", f"{kind} {name!r} {what}"


def _missing(kind: Kind, name: str) -> Difference:
    return f"{_SUBJECTS[kind]}/{name}", f"{kind} {name!r} is not held, but the log says so"


def _id(thing: Grant | KeyRecord) -> str:
    return thing.id


def _batches(all: Iterable[T]) -> Iterator[Sequence[T]]:
    left = iter(all)
    while some := list(itertools.islice(left, _AT_ONCE)):
        yield some
