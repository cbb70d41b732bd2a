"""Which server holds the store now: the URL's own, the one that the Sentinels name, or the Cluster node that our keys belong to.

All our keys are in one slot, so that a Cluster, like a set of Sentinels, is only a way to find one server.
"""

import asyncio
from collections import Counter

from redis.exceptions import MovedError, ResponseError

from frontiergate.config.store_url import Host
from frontiergate.errors import StoreUnavailable
from frontiergate.store.redis_dialer import Dialer
from frontiergate.store.redis_errors import refused
from frontiergate.store.redis_wire import Wire

_HOPS = 5  # from node to node, while a Cluster changes


async def find_master(dialer: Dialer, key: str, deadline: float) -> Host:
    """The server that answers for `key`. Raises StoreUnavailable."""
    match dialer.url.layout:
        case "server":
            return dialer.url.hosts[0]
        case "sentinel":
            return await _ask_sentinels(dialer, deadline)
        case "cluster":
            return await _ask_cluster(dialer, key, deadline)


async def _ask_sentinels(dialer: Dialer, deadline: float) -> Host:
    """The master that most of the Sentinels name: one that is cut off from the others may not know of a failover."""
    hosts, votes, troubles = dialer.url.hosts, Counter[Host](), []
    asked = [asyncio.create_task(_ask_sentinel(dialer, host, deadline)) for host in hosts]
    try:
        for answer in asyncio.as_completed(asked):
            try:
                votes[await answer] += 1
            except StoreUnavailable as error:
                troubles.append(str(error))
            if votes and 2 * max(votes.values()) > len(hosts):
                break
    finally:
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    if not votes:
        raise StoreUnavailable(f"store {dialer.url}: no Sentinel names a master: {'; '.join(sorted(troubles))}")
    return votes.most_common(1)[0][0]


async def _ask_sentinel(dialer: Dialer, host: Host, deadline: float) -> Host:
    wire = Wire(dialer, host, sentinel=True)
    now = asyncio.get_running_loop().time()
    try:  # half of the time: the master itself is to be asked yet
        (reply,) = await wire.exchange(now + (deadline - now) / 2, ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", dialer.url.service))
    finally:
        await wire.close()
    if isinstance(reply, ResponseError):
        raise StoreUnavailable(str(refused(wire.name, reply)))
    if reply is None:
        raise StoreUnavailable(f"store {wire.name}: this Sentinel knows no master {dialer.url.service!r}; correct the name in the URL")
    return reply[0].decode(), int(reply[1])


async def _ask_cluster(dialer: Dialer, key: str, deadline: float) -> Host:
    """Any node answers for its own slots and names the owner of the others (MOVED)."""
    troubles = []
    for seed in dialer.url.hosts:
        host = seed
        now = asyncio.get_running_loop().time()
        try:
            for _ in range(_HOPS):
                reply = await _ask_node(dialer, host, key, now + (deadline - now) / 2)
                if not isinstance(reply, MovedError):
                    return host
                host = (reply.host or host[0], reply.port)  # a node that does not know its own name leaves it out
        except StoreUnavailable as error:
            troubles.append(str(error))
    raise StoreUnavailable(f"store {dialer.url}: no node leads to our keys: {'; '.join(troubles) or 'they send us in circles'}")


async def _ask_node(dialer: Dialer, host: Host, key: str, deadline: float) -> MovedError | None:
    wire = Wire(dialer, host)
    try:
        (reply,) = await wire.exchange(deadline, ("EXISTS", key))
    finally:
        await wire.close()
    if isinstance(reply, MovedError):
        return reply
    if isinstance(reply, ResponseError):
        raise StoreUnavailable(str(refused(wire.name, reply)))
    return None
