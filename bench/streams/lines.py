"""The generators of streams as children of a bench, by default on the load's core, led by lines on their pipes."""

import json
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import IO, Any, Self

from bench.machine import CORES, LOAD_CORE, BenchError
from bench.processes import ask
from bench.running import Running
from bench.world import World


class Child:
    """A generator that is told things on its standard input and tells things on its standard output."""

    def __init__(self, module: str, *arguments: object, cores: Sequence[int] = (LOAD_CORE,)) -> None:
        argv = ["taskset", "-c", ",".join(map(str, cores)), sys.executable, "-m", module, *map(str, arguments)]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input: IO[str] = self._process.stdin
        self._output: IO[str] = self._process.stdout

    def tell(self, line: str) -> None:
        """One line to its standard input."""
        self._input.write(line + "\n")
        self._input.flush()

    def hear(self) -> str:
        """The next line of its standard output. Raises BenchError where it ended instead; what it said is on standard error."""
        line = self._output.readline()
        if not line:
            raise BenchError(f"{self._process.args!r} ended with {self._process.wait(30)}")
        return line.rstrip()

    def hear_json(self) -> dict[str, Any]:
        """The next line, as the object that it is."""
        heard: dict[str, Any] = json.loads(self.hear())
        return heard

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._input.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()


class _Upstream(Child):
    """A generator where the world says that the upstream is."""

    def __init__(self, module: str, world: World, *arguments: object, cores: Sequence[int]) -> None:
        plain = world.directory / "answer.json"
        plain.write_bytes(world.answer)
        super().__init__(module, world.port, plain, *arguments, cores=cores)

    def wait_listening(self, world: World) -> None:
        """Returns once it answers."""
        while True:
            try:
                ask(world.port, world.request, {})
            except ConnectionError:
                if self.ended:
                    raise BenchError("the upstream of streams did not start") from None
            else:
                return


class EndlessUpstream(_Upstream):
    """One whose streams only the gate ends, with an event each `pace` ms. On any core."""

    def __init__(self, world: World, *, pace: int) -> None:
        super().__init__("bench.streams.endless", world, "--pace", pace, cores=CORES)


class StreamUpstream(_Upstream):
    """One whose streams have so many events, one each `pace` ms, once they are let flow."""

    def __init__(self, world: World, *, events: int = 0, pace: int = 20) -> None:
        super().__init__("bench.streams.upstream", world, "--events", events, "--pace", pace, cores=(LOAD_CORE,))

    def flow(self) -> None:
        """Let all streams flow to their ends."""
        self.tell("flow")


class Callers(Child):
    """Callers of a running candidate, or of the upstream itself; each has had its first event when this returns."""

    def __init__(self, world: World, run: Running | None, streams: int, *, idle: bool = False) -> None:
        body = world.request_of(90, stream=True)
        headers = dict(run.setup.headers if run else {})
        fields = {"host": "127.0.0.1", "content-type": "application/json", **headers, "content-length": len(body)}
        path = world.directory / "stream.http"
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        path.write_bytes(f"POST /v1/chat/completions HTTP/1.1\r\n{head}\r\n".encode() + body)
        super().__init__("bench.streams.callers", run.port if run else world.port, path, streams, *(["--idle"] if idle else []))

    def wait_ready(self) -> None:
        """Returns once every stream has begun."""
        if self.hear() != "ready":
            raise BenchError("the callers are confused")

    def result(self) -> dict[str, Any]:
        """What they saw, once all streams have ended."""
        return self.hear_json()
