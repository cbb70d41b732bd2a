"""A data worker: the composition root of the data plane, the only place that knows all its parts (DESIGN 7).

Run by the supervisor as `python -m frontiergate.worker`. SIGTERM drains; SIGHUP takes the configuration's new snapshot.
"""

import argparse
import asyncio
import contextlib
import gc
import hashlib
import logging
import os
import secrets
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import msgspec
import uvloop

from frontiergate import __version__
from frontiergate.config.check_policy import groups_of
from frontiergate.config.load import read_snapshot
from frontiergate.config.schema import Address, Config
from frontiergate.config.tls import server_context
from frontiergate.domain.groups import resolve_groups
from frontiergate.domain.policy import Policy
from frontiergate.errors import GateError
from frontiergate.gate.connections import Connections
from frontiergate.gate.gatekeeper import Gatekeeper
from frontiergate.gate.ground import Ground, prepare
from frontiergate.gate.instants import Instants
from frontiergate.gate.listener import ClientConnection
from frontiergate.gate.preamble import Preamble
from frontiergate.identity.caller import Callers
from frontiergate.identity.geoip import Locator
from frontiergate.store.compiled import Compiler, compile_state
from frontiergate.store.feed import Feed
from frontiergate.store.protocol import Entry, PolicyState, StoredDirective
from frontiergate.store.registry import open_store
from frontiergate.store.reporter import Replica
from frontiergate.telemetry import logs
from frontiergate.telemetry.audit import AuditLog
from frontiergate.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)
_BACKLOG = 1024
_HOUSEKEEPING = 5.0  # seconds between looks at files that may have been replaced
_RETRY = 0.5  # seconds between attempts to get the first policy


class _Ruling(NamedTuple):
    """A policy with the ground that it was compiled for: neither is ever in force without the other."""

    ground: Ground
    policy: Policy


class Worker:
    """One process of the data plane."""

    def __init__(self, config: Config, environ: Mapping[str, str], number: int) -> None:
        self._environ = environ
        self._number = number
        self._config = config
        self._name = replica_name(config.listen.data, number)
        self._digest = digest(config)
        self._ground = prepare(config, environ)
        self._groups = resolve_groups(groups_of(config))
        self._store = open_store(config.store)
        self._metrics = Metrics()
        self._audit = AuditLog(config.audit.path, f"{number}")
        self._locator = Locator(config.geoip.country, config.geoip.anonymous, config.geoip.max_age)
        self._callers = Callers(config.identity, self._store.key, pseudonym_key(config))
        self._compiler = Compiler()
        self._named: tuple[StoredDirective, ...] = ()  # whose directives the metrics know
        self._reloading = asyncio.Lock()
        self._feed: Feed[_Ruling] = Feed(
            self._store,
            self._compile,
            self._take,
            self._enforce,
            Replica(
                name=self._name,
                instance=secrets.token_hex(8),
                version=__version__,
                config=lambda: self._digest,
                live_sessions=lambda: len(self._keeper.sessions),
            ),
            lease=config.enforcement.lease,
            clock_skew=config.enforcement.clock_skew,
            saved=str(Path(config.audit.path) / f"policy-{number}.json"),
            on_enforced=self._metrics.enforcement_seconds,
        )
        self._keeper = Gatekeeper(
            self._ground,
            callers=self._callers,
            locator=self._locator,
            policy=compile_state(self._ground.catalogue, config.directives, self._groups, PolicyState(0, (), ())),
            lease=self._feed.lease,
            grants_of=self._store.grants_of,
            metrics=self._metrics,
            audit=self._audit,
            worker=self._name,
        )
        self._connections: Connections
        self._instants: Instants
        self._server: asyncio.Server
        self._tasks: list[asyncio.Task[None]] = []
        self._configure_metrics()

    # -- policy

    async def _compile(self, state: PolicyState) -> _Ruling:
        ground, config, groups = self._ground, self._config, self._groups
        if state.directives is not self._named:  # a millisecond for 10,000
            self._named = state.directives
            self._metrics.configure(directives=[stored.directive.id for stored in state.directives])
        return _Ruling(ground, await self._compiler.compile(ground.catalogue, config.directives, groups, state))

    def _take(self, ruling: _Ruling, entries: Sequence[Entry] | None) -> None:
        self._keeper.take_ground(ruling.ground)
        self._keeper.policy = ruling.policy
        self._keeper.sessions.take(self._keeper, entries)

    async def _enforce(self) -> int:
        epoch = self._keeper.policy.epoch
        severed = await self._keeper.sessions.redecide(self._keeper)
        self._metrics.policy_epoch(epoch)
        return severed

    async def reload(self, config: Config) -> None:
        """Take a new configuration. Raises ConfigError, DatabaseError or ValueError, and then nothing has changed."""
        async with self._reloading:
            await self._reload(config)

    async def _reload(self, config: Config) -> None:
        ground = prepare(config, self._environ)
        groups = resolve_groups(groups_of(config))
        locator = Locator(config.geoip.country, config.geoip.anonymous, config.geoip.max_age)
        old = self._config, self._ground, self._groups
        self._config, self._ground, self._groups = config, ground, groups
        try:
            await self._feed.recompile()  # first: a directive in the store may need what the new file does not have any more
        except ValueError:
            self._config, self._ground, self._groups = old
            raise
        self._digest = digest(config)
        self._feed.bound(lease=config.enforcement.lease, clock_skew=config.enforcement.clock_skew)
        self._locator = self._keeper.locator = locator
        self._configure_metrics()
        await self._callers.reconfigure(config.identity)
        await self._keeper.sessions.redecide(self._keeper)  # callers of an issuer that is gone have ended
        for upstream in old[1].upstreams.values():
            upstream.close()
        _log.info("configuration taken", extra={"config": self._digest})

    def _configure_metrics(self) -> None:
        config = self._config
        self._metrics.configure(
            models=[model.id for model in config.models],
            dialects=[dialect for model in config.models for dialect in model.dialects],
            directives=[directive.id for directive in config.directives],
            upstreams=config.upstreams,
        )

    # -- life

    async def start(self) -> None:
        """Listen and follow the store. Returns where the store cannot be used, too: gated traffic is refused until it can."""
        self._connections = Connections(self._keeper)
        self._instants = Instants(self._keeper)
        self._metrics.start()
        await self._callers.start()
        loaded = await self._feed.start()  # before the port is shared: until then other workers, if there are any, take the callers
        self._server = await self._listen()
        _log.info("listening", extra={"who": f"worker {self._number}"})
        self._tasks = [asyncio.create_task(work) for work in (self._follow(loaded), self._tick(), self._housekeep())]

    async def failed(self) -> None:
        """Returns, or raises, when one of the worker's own tasks has ended, which none does in good order."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def stop(self) -> None:
        """Drain, and leave in good order."""
        await self._drain()
        for task in self._tasks:
            task.cancel()
        await self._instants.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._feed.stop()
        await self._callers.stop()
        await self._store.close()
        for upstream in self._ground.upstreams.values():
            upstream.close()
        self._audit.close()
        self._metrics.stop()

    async def _listen(self) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        address = self._config.listen.data
        context = server_context(address, "listen.data")
        try:
            if self._config.clients.forwarded == "proxy-protocol":
                return await _bind(loop, lambda: Preamble(self._connections, context), address, None)
            return await _bind(loop, lambda: cast(asyncio.Protocol, ClientConnection(self._connections)), address, context)
        except OSError as error:
            place = address.unix or f"{address.host}:{address.port}"
            raise GateError(f"listen.data: cannot listen on {place}: {error.strerror or error}; free it, or change it") from error

    async def _follow(self, loaded: bool) -> None:
        while not loaded:
            await asyncio.sleep(_RETRY)
            loaded = await self._feed.start()
        _log.info("serving", extra={"who": f"worker {self._number}", "epoch": self._feed.epoch})
        await self._feed.follow()

    async def _tick(self) -> None:
        """The worker's one timer: deadlines, instants, levels."""
        while True:
            await asyncio.sleep(Connections.SWEEP)
            self._connections.sweep()
            self._instants.sweep()
            self._metrics.live_sessions(self._keeper.sessions.by_model())
            self._metrics.client_connections(len(self._connections.open))
            self._metrics.upstream_connections({name: upstream.connections for name, upstream in self._ground.upstreams.items()})
            now, feed = time.monotonic(), self._feed
            self._metrics.replica(lag=feed.lease.age(now), stale=feed.stale(now), clock_offset=feed.clock.offset)

    async def _housekeep(self) -> None:
        dropped = 0
        while True:
            for problem in self._locator.refresh():
                _log.error("GeoIP database refused; the one in use is kept", extra={"problem": str(problem)})
            age = self._locator.age(time.time())
            if age is not None:
                self._metrics.geoip_age(age)
            self._metrics.audit_dropped(self._audit.dropped - dropped)
            dropped = self._audit.dropped
            await asyncio.sleep(_HOUSEKEEPING)

    async def _drain(self) -> None:
        """Take no more, let live exchanges end, cut those that do not in time."""
        self._server.close()
        self._keeper.draining = True
        self._connections.drain()
        until = time.monotonic() + self._config.limits.drain
        while self._connections.open and time.monotonic() < until:
            await asyncio.sleep(Connections.SWEEP / 5)
            self._connections.sweep()
        for connection in list(self._connections.open):
            connection.abort()


async def _bind(
    loop: asyncio.AbstractEventLoop, factory: Callable[[], asyncio.Protocol], address: Address, context: ssl.SSLContext | None
) -> asyncio.Server:
    if address.unix is not None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(address.unix)
        return await loop.create_unix_server(factory, address.unix, ssl=context, backlog=_BACKLOG)
    return await loop.create_server(factory, address.host, address.port or 0, reuse_port=True, ssl=context, backlog=_BACKLOG)


def replica_name(address: Address, number: int) -> str:
    """Of all workers that share a store, and the same after a restart: gates on one host differ in where they listen."""
    return f"{socket.gethostname()}:{address.port if address.unix is None else address.unix}/{number}"


def digest(config: Config) -> str:
    """A short digest of a configuration, to see whether replicas run the same."""
    return hashlib.sha256(msgspec.json.encode(config, enc_hook=_plain)).hexdigest()[:12]


def _plain(value: object) -> object:
    return float(value) if isinstance(value, float) else int(value)  # type: ignore[call-overload]


def pseudonym_key(config: Config) -> bytes:
    """The key that pseudonyms in the audit log are made with: kept beside it, made at first use, by one worker for all."""
    path = Path(config.audit.path) / "pseudonym.key"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            mine = path.with_name(f".pseudonym.key.{secrets.token_hex(8)}")
            descriptor = os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(32))
            with contextlib.suppress(FileExistsError):
                os.link(mine, path)  # whole or not at all, and the first one counts
            mine.unlink()
        return path.read_bytes()
    except OSError as error:
        raise GateError(f"{path} cannot be made or read: {error.strerror}; check the folder, or change audit.path") from error


async def _serve(snapshot: str, source: str, number: int, supervised: int | None) -> None:
    """Run a worker until a signal, or the supervisor's end, says to stop."""
    loop = asyncio.get_running_loop()
    worker = Worker(read_snapshot(snapshot, source), os.environ, number)
    stopping = asyncio.Event()
    reloads: set[asyncio.Task[None]] = set()  # the loop itself keeps no task alive

    async def reload() -> None:
        try:
            await worker.reload(read_snapshot(snapshot, source))
        except (GateError, ValueError, OSError) as error:
            _log.error("configuration refused; the one in force is kept", extra={"problem": str(error)})

    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # Ctrl-C reaches the whole group; the supervisor says when
    loop.add_signal_handler(signal.SIGHUP, lambda: reloads.add(loop.create_task(reload())))
    loop.add_signal_handler(signal.SIGUSR1, lambda: None)  # a reload was refused: the control process counts it
    if supervised is not None:
        loop.add_reader(supervised, os._exit, 1)  # the supervisor is gone: a gate that nobody can reload must not go on
    gc.freeze()  # modules and policy stay: full collections, which stop the loop, need not look at them (measured: 30 ms each)
    await worker.start()
    gc.collect()
    gc.freeze()
    failed, told = asyncio.create_task(worker.failed()), asyncio.create_task(stopping.wait())
    await asyncio.wait({failed, told}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if stopping.is_set():
        failed.cancel()
    await worker.stop()
    if not failed.cancelled():
        await failed  # a defect ended it: the supervisor starts another worker


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m frontiergate.worker`; for the supervisor, not for people."""
    parser = argparse.ArgumentParser(prog="frontiergate.worker")
    parser.add_argument("--config", required=True, help="the supervisor's snapshot")
    parser.add_argument("--source", required=True, help="the operator's file")
    parser.add_argument("--number", type=int, default=0)
    parser.add_argument("--supervised", type=int, help="a file descriptor that ends with the supervisor")
    given = parser.parse_args(arguments)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the supervisor blocks what it waits for
    logs.set_up()

    try:
        uvloop.run(_serve(given.config, given.source, given.number, given.supervised))
    except GateError as error:
        _log.critical("cannot serve", extra={"problem": str(error)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
