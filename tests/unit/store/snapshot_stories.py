"""What the snapshots' tests share: keys, a history with one of everything, and the two operations."""

import asyncio
import pathlib
from collections.abc import Iterable, Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from frontiergate.errors import Conflict, NotFound
from frontiergate.store import snapshot
from frontiergate.store.ledger import scratch
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
    Position,
    Store,
)
from frontiergate.store.registry import open_store
from frontiergate.store.snapshot_export import existing, export
from frontiergate.store.snapshot_import import put_into
from frontiergate.store.snapshot_keys import signing_key, verifying_key
from tests.unit.store.store_contract import append, directive, grant, key, pause

ALICE = "https://idp.example|alice"
HISTORY: tuple[Change, ...] = (
    DirectiveAdded(directive("kept")),
    DirectiveAdded(directive("lifted")),
    GrantIssued(grant("g1")),
    GrantIssued(grant("g2", "key|k1", case="case-1", reason="urgent")),
    GrantIssued(grant("g3")),
    GrantChanged("g1", "suspended", ALICE),
    GrantChanged("g2", "revoked", "key|k1"),
    KeyCreated(key("k1")),
    KeyCreated(key("k2")),
    KeyRevoked("k1"),
    ModelPaused(pause("m/one")),
    ModelPaused(pause("m/two")),
    ModelResumed("m/one"),
    DirectiveLifted("lifted"),
)


class Held:
    """All that a store answers."""

    def __init__(self, position: Position, state: PolicyState, entries: Sequence[Entry], rest: tuple[object, ...]) -> None:
        self.position = position
        self._rest = (state, list(entries), rest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Held) and (self.position, self._rest) == (other.position, other._rest)

    __hash__ = None


async def look(store: Store) -> Held:
    grants = await store.grants(limit=1000)
    live = {grant.principal: await store.grants_of(grant.principal) for grant in grants}
    keys = await store.keys()
    found = [await store.key(key.sha256) for key in keys]
    histories = [await store.directive_history(name) for name in ("kept", "lifted", "other")]
    rest = (tuple(grants), live, tuple(keys), found, histories)
    return Held(await store.position(), await store.state(), await store.entries(0), rest)


def held(url: str) -> Held:
    async def main() -> Held:
        store = open_store(url)
        await store.open()
        try:
            return await look(store)
        finally:
            await store.close()

    return asyncio.run(main())


def stands(url: str) -> Position:
    """Where its log stands."""

    async def main() -> Position:
        async with existing(url, {}) as store:
            return await store.position()

    return asyncio.run(main())


def fill(url: str, changes: Iterable[Change] = HISTORY) -> None:
    """Append what can be appended."""

    async def main() -> None:
        store = open_store(url)
        await store.open()
        for change in changes:
            try:
                await append(store, change)
            except (Conflict, NotFound):
                continue
        await store.close()

    asyncio.run(main())


class Keys:
    """A pair in files, as openssl makes one."""

    def __init__(self, folder: pathlib.Path, name: str = "signer") -> None:
        made = Ed25519PrivateKey.generate()
        self.private, self.public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
        self.private.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.public.write_bytes(made.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        self.signing = signing_key(str(self.private), None, {})
        self.verifying = verifying_key(str(self.public), None, {})


def take_out(url: str, path: pathlib.Path, keys: Keys, *, from_log: bool = False) -> snapshot.Head:
    async def main() -> snapshot.Head:
        async with existing(url, {}) as store:
            return await export(store, path, keys.signing, from_log=from_log)

    return asyncio.run(main())


def make(path: pathlib.Path, keys: Keys, changes: Iterable[Change]) -> snapshot.Head:
    """A snapshot of a store that never was."""
    with scratch() as ledger:
        for epoch, change in enumerate(changes, 1):
            ledger.append(Entry(epoch=epoch, at=epoch + 0.25, actor="olga", reason="because", change=change))
        return snapshot.write(path, ledger, "feedfacecafebeef", keys.signing)


def take_in(url: str, path: pathlib.Path, keys: Keys, replace: Position | None = None) -> Position:
    with snapshot.opened(path, keys.verifying) as found:
        return asyncio.run(put_into(url, {}, found, replace))
