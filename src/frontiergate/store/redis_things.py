"""The things that changes are about, in Redis: where to look for one, and the commands that write it."""

from typing import assert_never

from frontiergate.domain.vetting import Grant, GrantState
from frontiergate.store.effects import Lineage, Thing, subject_of
from frontiergate.store.protocol import Change, Entry, KeyCreated, KeyRecord, Pause, StoredDirective
from frontiergate.store.redis_layout import Keys
from frontiergate.store.rows import GRANT, KEY, PAUSE, STORED_DIRECTIVE, decode, encode

_LIVE = (GrantState.ACTIVE, GrantState.SUSPENDED)


def where(keys: Keys, change: Change) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the script LOOK is to be asked for the thing that `change` is about: its keys and arguments."""
    kind, name = subject_of(change)
    match kind:
        case "directive":
            return (keys.meta, keys.directives), (name,)
        case "model":
            return (keys.meta, keys.pauses), (name,)
        case "grant":
            return (keys.meta, keys.grants), (name,)
        case "key":
            sha256 = change.key.sha256 if isinstance(change, KeyCreated) else ""
            return (keys.meta, keys.keys, keys.key_ids), (sha256, name)
        case "log":
            return (keys.meta, keys.meta), (name,)
        case _:
            assert_never(kind)


def read(change: Change, body: bytes | None) -> Thing | None:
    """The thing from what LOOK found."""
    if body is None:
        return None
    kind, name = subject_of(change)
    match kind:
        case "directive":
            return decode(STORED_DIRECTIVE, body, f"directive {name}")
        case "model":
            return decode(PAUSE, body, f"pause of {name}")
        case "grant":
            return decode(GRANT, body, f"grant {name}")
        case "key":
            return decode(KEY, body, f"key {name}")
        case "log":
            return Lineage(body.decode())
        case _:
            assert_never(kind)


def commands(keys: Keys, entry: Entry, now: Thing | None) -> list[list[str]]:
    """What makes the thing be `now`; None: gone. The second word of each is its key."""
    kind, name = subject_of(entry.change)
    match now:
        case StoredDirective():
            written = [["HSET", keys.directives, name, _text(now)]]
        case Pause():
            written = [["HSET", keys.pauses, name, _text(now)]]
        case Grant():
            live = keys.live(now.principal)
            written = [
                ["HSET", keys.grants, name, _text(now)],
                ["ZADD", keys.grant_ids, "0", name],
                ["SADD" if now.state in _LIVE else "SREM", live, name],
            ]
        case KeyRecord():
            written = [["HSET", keys.keys, now.sha256, _text(now)], ["HSET", keys.key_ids, name, now.sha256]]
        case Lineage(text):
            written = [["HSET", keys.meta, name, text]]
        case None:
            written = [["HDEL", keys.directives if kind == "directive" else keys.pauses, name]]
        case _:
            assert_never(now)
    if kind == "directive":
        written.append(["RPUSH", keys.history(name), str(entry.epoch)])
    return written


def _text(thing: StoredDirective | Pause | Grant | KeyRecord) -> str:
    return encode(thing).decode()
