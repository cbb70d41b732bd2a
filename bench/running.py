"""Starting a candidate, warm and proved: a good request passes, and each refusal that it owes is given."""

import contextlib
from collections.abc import Iterator, Sequence

from bench.candidates.candidate import Candidate, Refusal, Setup
from bench.machine import LOAD_CORE, PROXY_CORE, BenchError
from bench.processes import Processes, ask, free_port, wait_answering, wait_told
from bench.world import ABROAD, World

_REFUSED = {401, 403, 451}


class Running:
    """A candidate that listens on `port`."""

    def __init__(self, world: World, candidate: Candidate, setup: Setup, port: int, processes: Processes) -> None:
        self.world = world
        self.candidate = candidate
        self.setup = setup
        self.port = port
        self.processes = processes

    def prove(self) -> None:
        """Raises BenchError unless the good caller gets the upstream's answer and the others what they are owed."""
        status, _, body = ask(self.port, self.world.request, self.setup.headers)
        if status != 200 or b"x" * 300 not in body:
            raise BenchError(f"{self.candidate.name} gave {status} {body[:300]!r} to a good request")
        for refusal in self.candidate.owes:
            refused = self._refused(refusal)
            if refused not in _REFUSED:
                raise BenchError(f"{self.candidate.name} gave {refused} to the control request {refusal!r}")

    def _refused(self, refusal: Refusal) -> int:
        token = {"foreign": self.world.foreign, "tampered": self.world.tampered, "abroad": self.world.token}[refusal]
        source = ABROAD if refusal == "abroad" else "127.0.0.1"
        return ask(self.port, self.world.request, {**self.setup.headers, **self.world.bearer(token)}, source=source)[0]


@contextlib.contextmanager
def running(world: World, candidate: Candidate, cores: int | Sequence[int] = PROXY_CORE) -> Iterator[Running]:
    """The candidate, started on its core, answering and proved; stopped in the end."""
    port = free_port()
    setup = candidate.prepare(world, port)
    log = world.directory / f"{candidate.name}.log"
    log.unlink(missing_ok=True)
    with Processes(setup.commands, cores, log) as processes:
        wait_told(processes, log, *setup.told)
        wait_answering(processes, port, world.request, setup.headers)
        run = Running(world, candidate, setup, port, processes)
        run.prove()
        yield run


@contextlib.contextmanager
def upstream(world: World, core: int = LOAD_CORE) -> Iterator[Processes]:
    """The fixed upstream, answering."""
    with Processes((world.upstream(),), core, world.directory / "upstream.log") as processes:
        wait_answering(processes, world.port, world.request, {})
        yield processes
