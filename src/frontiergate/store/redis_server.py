"""What the server says of itself: whether it is a master to be believed, and what is at risk with its settings."""

import re
from collections.abc import Iterator
from typing import Any

from redis.exceptions import ResponseError

from frontiergate.config.store_url import RedisUrl
from frontiergate.errors import StoreError, StoreUnavailable
from frontiergate.store.redis_wire import Command, Wire

REPLICATION: Command = ("INFO", "replication")
_OUT_OF_TOUCH = 3  # seconds since a replica's last word, which comes each second, after which it does not count
_REPLICA = re.compile(rb"^slave\d+:.*\bstate=online\b.*\blag=(\d+)", re.MULTILINE)
_SETTINGS = ("appendonly", "appendfsync", "maxmemory-policy")


def check_master(name: str, info: Any, copies: int) -> None:
    """Raises StoreUnavailable unless `info`, the reply to REPLICATION, is a master's that is in touch with `copies` replicas.

    A master that lost touch with its replicas may have been replaced without knowing it. Where INFO is not permitted nothing can
    be told, which `copies` does not allow.
    """
    if isinstance(info, ResponseError):
        if copies:
            raise StoreUnavailable(f"store {name}: wait and waitaof need INFO, to see the replicas; permit +info ({info})")
        return
    if b"role:master" not in info:
        raise StoreUnavailable(f"store {name}: it is a replica, which may be behind; name the master, or use redis+sentinel://")
    in_touch = sum(int(lag) <= _OUT_OF_TOUCH for lag in _REPLICA.findall(info))
    if in_touch < copies:
        raise StoreUnavailable(
            f"store {name}: it is in touch with {in_touch} replicas of the {copies} that the URL asks for, "
            "and may have been replaced; bring them back"
        )


async def look_over(wire: Wire, url: RedisUrl, deadline: float) -> list[str]:
    """What is at risk with this server, a line each with what to do. Raises StoreError where it may not be used at all."""
    asked = (REPLICATION, ("INFO", "persistence"), ("INFO", "memory"), *(("CONFIG", "GET", name) for name in _SETTINGS))
    info, persistence, memory, *configured = await wire.exchange(deadline, *asked)
    check_master(wire.name, info, 0)
    if url.waitaof is not None:
        (reply,) = await wire.exchange(deadline, ("WAITAOF", 1, 0, 1))
        if isinstance(reply, ResponseError):
            raise StoreError(f"store {wire.name}: waitaof needs Redis 7.2 or Valkey, with appendonly yes; else use wait ({reply})")
    settings = {name: _setting(reply) for name, reply in zip(_SETTINGS, configured, strict=True)}
    settings["appendonly"] = settings["appendonly"] or {"1": "yes", "0": "no"}.get(_told(persistence, "aof_enabled") or "")
    settings["maxmemory-policy"] = settings["maxmemory-policy"] or _told(memory, "maxmemory_policy")
    return [*_risks(settings, url), *([] if url.copies else _risk_of_failover(info))]


def _setting(reply: Any) -> str | None:
    """The value in a reply to CONFIG GET; None where that is not permitted, or there is no such setting."""
    return None if isinstance(reply, ResponseError) or not reply else reply[1].decode()


def _told(info: Any, field: str) -> str | None:
    found = None if isinstance(info, ResponseError) else re.search(rf"^{field}:(\S+)".encode(), info, re.MULTILINE)
    return found[1].decode() if found else None


def _risks(settings: dict[str, str | None], url: RedisUrl) -> Iterator[str]:
    if settings["appendonly"] == "no":
        yield "appendonly is no: a restart of the server loses the changes since its last snapshot; set appendonly yes"
    elif settings["appendfsync"] not in ("always", None) and url.waitaof is None:
        yield (
            f"appendfsync is {settings['appendfsync']}: when its machine fails, acknowledged changes of the last second or more are lost; "
            "set appendfsync always, or ?waitaof= in the URL"
        )
    policy = settings["maxmemory-policy"] or ""
    if policy.startswith("allkeys"):
        yield f"maxmemory-policy is {policy}: when memory is short the server drops policy; set maxmemory-policy noeviction"
    untold = [name for name, value in settings.items() if value is None]
    if untold:
        yield f"it does not tell {', '.join(untold)}: see that they are yes, always and noeviction, or permit +config|get and +info"


def _risk_of_failover(info: Any) -> Iterator[str]:
    if _told(info, "connected_slaves") not in (None, "0"):
        yield "it has replicas, and the URL waits for none: a failover can lose acknowledged changes; add ?wait=1"
