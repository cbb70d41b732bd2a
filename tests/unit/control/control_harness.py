"""A control plane under test: the real application on a free port, with a real store, driven by real HTTP."""

import asyncio
import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from frontiergate.config.load import parse_config
from frontiergate.config.schema import Config
from frontiergate.control.app import build_app
from frontiergate.control.plane import Plane, set_up
from frontiergate.store.protocol import Enforced, ReplicaReport
from frontiergate.store.sqlite import SqliteStore
from frontiergate.telemetry.metrics import Metrics

T = TypeVar("T")
ENVIRON = {name.upper(): name for name in ("viewer-token", "operator-token", "reviewer-token", "admin-token")}
CONFIG = """
upstreams: {up: {url: "http://127.0.0.1:9"}}
models:
  - {id: acme/frontier-5, names: [frontier-5], dialects: [openai], upstream: up, tags: [cyber]}
  - {id: acme/frontier-6, dialects: [openai], upstream: up, tags: [cyber, bio]}
  - {id: acme/small, dialects: [openai], upstream: up}
identity:
  issuers: [{issuer: "https://idp.example", jwks: "https://idp.example/jwks.json", audiences: [gate]}]
programmes: {caisi: {title: "CAISI user review", grant: 90d}}
directives:
  - id: from-file
    order: {authority: Bureau, reference: IS-1}
    models: [acme/small]
    require: {us_person: true}
    otherwise: refuse
    unknown: {vet: caisi}
control:
  operators:
    - {name: vera, roles: [viewer], token_env: VIEWER-TOKEN}
    - {name: olga, roles: [operator], token_env: OPERATOR-TOKEN}
    - {name: rita, roles: [reviewer], token_env: REVIEWER-TOKEN}
    - {name: ada, roles: [admin], token_env: ADMIN-TOKEN}
"""


class Answer:
    """One response."""

    def __init__(self, status: int, headers: dict[str, str], raw: bytes) -> None:
        self.status = status
        self.headers = headers
        self.raw = raw

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def kind(self) -> str:
        """The last part of a problem's type."""
        assert (
            self.headers["Content-Type"] == "application/problem+json; charset=utf-8"
            or self.headers["Content-Type"] == "application/problem+json"
        )
        return str(self.json["type"]).rpartition("#")[2]


class Desk:
    """The running control plane and its callers."""

    def __init__(self, plane: Plane, port: int, loop: asyncio.AbstractEventLoop) -> None:
        self.plane = plane
        self.port = port
        self._loop = loop

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        who: str | None = "operator",
        headers: dict[str, str] | None = None,
        raw: bytes | None = None,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        sent = {} if who is None else {"Authorization": f"Bearer {who}-token"}
        content = raw
        if body is not None:
            content = json.dumps(body).encode()
        if content is not None:
            sent["Content-Type"] = "application/json"
        try:
            connection.request(method, path, content, {**sent, **(headers or {})})
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def report(self, name: str, epoch: int, *, at: float | None = None, severed: int = 0, before: int = 0, **more: Any) -> None:
        """A data worker acknowledges `epoch`, having severed `before` on the way to the epoch before."""
        now = time.time() if at is None else at
        lineage = more.pop("lineage", None) or self.run(self.plane.store.position()).lineage
        self.run(
            self.plane.store.report(
                ReplicaReport(
                    name=name,
                    instance="i1",
                    version="0.1.0",
                    enforced=(Enforced(epoch - 1, now - 1, before), Enforced(epoch, now, severed)),
                    heartbeat=now,
                    live_sessions=3,
                    config="c0ffee",
                    lineage=lineage,
                    **more,
                )
            )
        )

    def reconfigure(self, change: Callable[[str], str]) -> None:
        self.plane.setup = set_up(parse_config(change(CONFIG), "test.yaml"), ENVIRON)


def config_of(text: str = CONFIG) -> Config:
    return parse_config(text, "test.yaml")


@contextlib.contextmanager
def running_desk(folder: Path, text: str = CONFIG, *, opened: bool = True) -> Iterator[Desk]:
    """A control plane on its own thread."""
    started: list[Desk] = []
    ready, stop = threading.Event(), []

    async def serve() -> None:
        store = SqliteStore(str(folder / "state.db"))
        plane = Plane(set_up(config_of(text), ENVIRON), store, Metrics(), time.time)
        if opened:
            await store.open()
            plane.trouble = None
        runner = web.AppRunner(build_app(plane), access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(ended.set))
        started.append(Desk(plane, runner.addresses[0][1], loop))
        ready.set()
        await ended.wait()
        await runner.cleanup()
        await store.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    try:
        yield started[0]
    finally:
        stop[0]()
        thread.join(10)
