"""Live streams decided again, 10,000 on one worker: the time until the epoch is enforced, and the loop's longest pause meanwhile.

A real worker with everything on, driven without sockets (see `bench.inside`): each stream was admitted on a token and a grant and has
had its first event. Three epochs: one that concerns nobody here, one that everybody must be judged by and satisfies, a withdrawal.
"""

import asyncio
import gc
import time

import uvloop

from bench.inside import Wire, inside
from bench.machine import BenchError
from bench.scale.decisions import grant_of
from bench.scale.probe import Probe
from bench.world import ISSUER, MODEL, World
from frontiergate.domain.directive import Directive, Order
from frontiergate.domain.requirement import Requirement
from frontiergate.gate.listener import ClientConnection, Connections
from frontiergate.gate.upstream import UpstreamConnection
from frontiergate.identity.token import SignatureBudget
from frontiergate.store.protocol import Change, DirectiveAdded, GrantIssued
from frontiergate.store.registry import open_store
from frontiergate.worker import Worker

_ORDER = Order(authority="Bureau of Industry and Security", reference="IS-2026-015")
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_EVENT = b"9\r\ndata: 1\n\n\r\n"


class _Stream(Wire):
    """One side of a stream, which may be ended."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._protocol = protocol
        self._closing = False
        protocol.connection_made(self)

    def is_closing(self) -> bool:
        return self._closing

    def abort(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    close = abort


def point(streams: int, callers: int) -> dict[str, float]:
    """One point: ms."""
    return uvloop.run(_point(streams, callers))


async def _point(streams: int, callers: int) -> dict[str, float]:
    async with inside() as driven:
        worker, world = driven.worker, driven.world
        worker._callers._budget = SignatureBudget(10**9)  # how many new ones a second is not the question
        tokens = [await _known(world, worker, f"user-{number}") for number in range(callers)]
        connections = Connections(driven.keeper)
        kept = [_begin(worker, connections, world.request, tokens[number % callers]) for number in range(streams)]
        live = len(driven.keeper.sessions)
        if live != streams:
            raise BenchError(f"{live} of {streams} streams flow")
        gc.collect()
        gc.freeze()  # as a worker does
        satisfied = Directive(id="all", order=_ORDER, models=(MODEL,), require=Requirement(us_person=True))
        withdrawn = Directive(id="none", order=_ORDER, models=(MODEL,), withdraw=True)
        found: dict[str, float] = {}
        for name, change, left in (
            ("unconcerned", GrantIssued(grant_of("nobody", time.time())), streams),
            ("satisfied", DirectiveAdded(satisfied), streams),
            ("withdrawn", DirectiveAdded(withdrawn), 0),
        ):
            found |= await _enforced(name, driven.worker, str(world.directory / "state.db"), change)
            live = len(driven.keeper.sessions)
            if live != left:
                raise BenchError(f"{live} streams flow, not {left}")
        if not all(b"policy_withdrawn" in client.written for client, _ in kept):
            raise BenchError("a stream ended without its error event")
        return found | {what: max(value for key, value in found.items() if key.endswith(what)) for what in ("pause_ms", "held_ms")}


async def _known(world: World, worker: Worker, subject: str) -> str:
    """A caller's token, once the worker knows the caller."""
    token = world.token_of(subject, ["US"], us_person=True)
    caller = await worker._callers.establish(token.encode(), time.time())
    caller.grants = (grant_of(f"{ISSUER}|{subject}", time.time()),)
    return token


def _begin(worker: Worker, connections: Connections, body: bytes, token: str) -> tuple[_Stream, _Stream]:
    """A stream that flows."""
    upstream = worker._keeper.ground.upstreams["u"]
    there, here = UpstreamConnection(upstream), ClientConnection(connections)
    to_upstream, to_caller = _Stream(there), _Stream(here)
    upstream.put_back(there)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n"
    here.data_received(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    there.data_received(_HEAD + _EVENT)
    return to_caller, to_upstream


async def _enforced(name: str, worker: Worker, path: str, change: Change) -> dict[str, float]:
    """From the append until every stream is decided and, where it must be, severed."""
    store = open_store(f"sqlite://{path}")
    await store.open()
    entry = await store.append(change, actor="bench", reason="bench")
    async with Probe() as probe:
        began = time.perf_counter()
        while worker._feed._enforced_epoch < entry.epoch:
            await worker._feed.poll()
        took = time.perf_counter() - began
    await store.close()
    return {f"{name}_ms": took * 1e3, f"{name}_pause_ms": probe.longest * 1e3, f"{name}_held_ms": probe.held * 1e3}
