"""The composition root of the control process: `python -m frontiergate.control_worker --config F` (DESIGN 7)."""

import argparse
import asyncio
import logging
import os
import signal
import ssl
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from aiohttp import web

from frontiergate.config.load import load_config, read_snapshot
from frontiergate.config.schema import Address, Config
from frontiergate.config.tls import server_context
from frontiergate.control.app import build_app
from frontiergate.control.plane import Plane, Setup, set_up
from frontiergate.errors import ConfigError, GateError, StoreError
from frontiergate.store.registry import open_store
from frontiergate.telemetry import logs
from frontiergate.telemetry.metrics import Metrics

log = logging.getLogger(__name__)
RETRY = 1.0  # seconds between two attempts to open the store
GRACE = 2.0  # seconds that requests in flight have at the end


class ControlProcess:
    """The control plane while it runs: its listener, its store and its reloads."""

    def __init__(self, load: Callable[[], Config], environ: Mapping[str, str], retry: float = RETRY) -> None:
        """`load` reads the configuration, now and at each reload. Raises ConfigError or StoreError where it cannot even begin."""
        self._read = load
        self._environ = environ
        self._retry = retry
        setup = self._load()
        self._listening_on = setup.config.listen.control
        self._ssl = server_context(self._listening_on, "listen.control")
        self._store_url = setup.config.store
        self._metrics = Metrics()
        self.listening = asyncio.Event()
        self.plane = Plane(setup, open_store(self._store_url), self._metrics, clock=time.time)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`. A store that cannot be reached is tried again and again; /readyz says why meanwhile."""
        runner = web.AppRunner(build_app(self.plane), access_log=None, shutdown_timeout=GRACE)
        opening = asyncio.create_task(self._open_store())
        try:
            await runner.setup()
            await _site(runner, self._listening_on, self._ssl).start()
            self.listening.set()
            log.info("control plane serves", extra={"addresses": [str(address) for address in runner.addresses]})
            await stop.wait()
        finally:
            opening.cancel()
            await asyncio.wait({opening})
            await runner.cleanup()
            await self.plane.store.close()
            log.info("control plane stopped")

    def reload(self) -> bool:
        """Put the config file in force; where it cannot be used, keep the old one and say why. True where it was taken."""
        try:
            setup = self._load()
        except ConfigError as error:
            log.error("configuration refused; the one in force is kept", extra={"problems": error.problems})  # noqa: TRY400 - no trace wanted
            self.reload_refused()
            return False
        _warn_of_restart(setup.config, self._listening_on, self._store_url)
        self.plane.setup = setup
        self._metrics.config_reload(True)
        log.info("configuration reloaded")
        return True

    def reload_refused(self) -> None:
        """A reload was refused, here or by the supervisor: an alert can be set on that."""
        self._metrics.config_reload(False)

    def _load(self) -> Setup:
        return set_up(self._read(), self._environ)

    async def _open_store(self) -> None:
        while True:
            try:
                await self.plane.store.open()
            except StoreError as error:
                if self.plane.trouble != str(error):  # once, not every second
                    log.warning("the store cannot be opened: trying again", extra={"error": str(error)})
                self.plane.trouble = str(error)
                await asyncio.sleep(self._retry)
            else:
                self.plane.trouble = None
                log.info("the store is open")
                return


def _warn_of_restart(config: Config, listening_on: Address, store_url: str) -> None:
    """What a reload cannot change must not look as if it had."""
    if config.listen.control != listening_on:
        log.warning("listen.control changed: that takes a restart")
    if config.store != store_url:
        log.warning("store changed: that takes a restart")


def _site(runner: web.AppRunner, address: Address, context: ssl.SSLContext | None) -> web.BaseSite:
    if address.unix is not None:
        return web.UnixSite(runner, address.unix, ssl_context=context)
    return web.TCPSite(runner, address.host, address.port, ssl_context=context)


def read_config(path: str | None, source: str | None, environ: Mapping[str, str]) -> Config:
    """The operator's file; or, under a supervisor, its snapshot of that file."""
    if path is None or source is None:
        return load_config(path, environ)
    return read_snapshot(path, source)


async def serve(load: Callable[[], Config], environ: Mapping[str, str], supervised: int | None) -> None:
    """Run until SIGTERM; SIGHUP reloads. `supervised`: a file descriptor whose end says that the supervisor is gone."""
    process = ControlProcess(load, environ)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    # Ctrl-C reaches the whole group: under a supervisor, that one says when.
    loop.add_signal_handler(signal.SIGINT, stop.set if supervised is None else lambda: None)
    loop.add_signal_handler(signal.SIGHUP, process.reload)
    loop.add_signal_handler(signal.SIGUSR1, process.reload_refused)
    if supervised is not None:
        loop.add_reader(supervised, os._exit, 1)
    await process.run(stop)


def main(argv: Sequence[str] | None = None) -> int:
    """0 after a clean stop, 1 where the process could not begin."""
    parser = argparse.ArgumentParser(prog="python -m frontiergate.control_worker", description="The control process of a gate.")
    parser.add_argument("--config", metavar="FILE", help="the configuration, or the supervisor's snapshot of it")
    parser.add_argument("--source", metavar="FILE", help="the operator's file that the snapshot was made from")
    parser.add_argument("--supervised", type=int, metavar="FD", help="a file descriptor that ends with the supervisor")
    given = parser.parse_args(argv)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the supervisor blocks what it waits for
    logs.set_up()
    load = partial(read_config, given.config, given.source, os.environ)
    try:
        asyncio.run(serve(load, os.environ, given.supervised))
    except (GateError, OSError) as error:
        log.critical("cannot serve", extra={"problem": str(error)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
