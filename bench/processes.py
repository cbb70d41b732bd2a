"""Processes under test: started on one core, waited for, and weighed with all their descendants."""

import contextlib
import http.client
import os
import re
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import msgspec

from bench.machine import BenchError

_TICK = os.sysconf("SC_CLK_TCK")
_START = 120.0  # seconds that the slowest peer may take to start
_STOP = 15.0
_IN_A_ROW = 10


class Command(msgspec.Struct, frozen=True):
    """What to run, with what added to the environment."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = {}


class Cpu(msgspec.Struct, frozen=True):
    """Seconds of processor time."""

    user: float
    system: float

    @property
    def total(self) -> float:
        return self.user + self.system

    def __sub__(self, other: "Cpu") -> "Cpu":
        return Cpu(self.user - other.user, self.system - other.system)


class Processes:
    """Some commands pinned to `core` while they run: a proxy and whatever belongs to it. What they say goes to `log`."""

    def __init__(self, commands: Sequence[Command], core: int | Sequence[int], log: Path) -> None:
        self._commands = commands
        self._cores = str(core) if isinstance(core, int) else ",".join(map(str, core))
        self._log = log
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            for command in self._commands:
                argv = ["taskset", "-c", self._cores, *command.argv]
                environment = {**os.environ, **command.environment}
                self._started.append(subprocess.Popen(argv, env=environment, stdout=log, stderr=log, start_new_session=True))
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._started):
            self._stop(process)

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # a session of its own, so its group is the process and its descendants
            process.wait()

    def check(self) -> None:
        """Raises BenchError where one has ended."""
        for process in self._started:
            if process.poll() is not None:
                raise BenchError(f"{process.args!r} ended with {process.returncode}; see {self._log}:\n{self._log.read_text()[-2000:]}")

    def pids(self) -> list[int]:
        """All processes of the tree."""
        found = [process.pid for process in self._started]
        for pid in found:
            found += children(pid)
        return found

    def cpu(self) -> Cpu:
        """What the whole tree has used so far, descendants that have ended included."""
        used = [cpu_of(pid) for pid in self.pids()]
        return Cpu(sum(one.user for one in used), sum(one.system for one in used))

    def rss(self) -> float:
        """Resident memory of the whole tree in MiB; what processes share is counted once for each."""
        return sum(status(pid, "VmRSS") for pid in self.pids()) / 1024

    def worker(self, name: str) -> int:
        """The one process whose command line has `name` in it."""
        return self.workers(name)[0]

    def workers(self, name: str) -> list[int]:
        """The processes whose command line has `name` in it."""
        return [pid for pid in self.pids() if name.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()]


def children(pid: int) -> list[int]:
    """The children of all threads of a process; none where it is gone."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, path.read_text().split())
    return found


def cpu_of(pid: int) -> Cpu:
    """What one process has used so far, with its children that have ended; nothing where it is gone."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return Cpu((int(fields[11]) + int(fields[13])) / _TICK, (int(fields[12]) + int(fields[14])) / _TICK)
    return Cpu(0.0, 0.0)


def status(pid: int, key: str) -> int:
    """A line of /proc/PID/status in KiB: VmRSS now, VmHWM at most."""
    match = re.search(rf"{key}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(match[1]) if match else 0


def free_port() -> int:
    """A port of the loopback that was free a moment ago, below those that the kernel hands out: while nobody listens on one of those,
    a connection to it can become its own other end."""
    while True:
        port = 12_000 + secrets.randbelow(20_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def ask(
    port: int, body: bytes, headers: Mapping[str, str], *, source: str = "127.0.0.1", timeout: float = 20.0
) -> tuple[int, dict[str, str], bytes]:
    """One request on a connection of its own: status, headers, body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout, source_address=(source, 0))
    try:
        connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json", **headers})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def wait_told(processes: Processes, log: Path, text: str, times: int) -> None:
    """Returns once the log says `text` so often. Raises BenchError where it does not."""
    deadline = time.monotonic() + _START
    while log.read_text().count(text) < times:
        processes.check()
        if time.monotonic() > deadline:
            raise BenchError(f"{log} does not say {text!r} {times} times within {_START:g} s")
        time.sleep(0.05)


def wait_answering(processes: Processes, port: int, body: bytes, headers: Mapping[str, str]) -> None:
    """Returns once good requests are answered with 200, several in a row: each may reach another worker. Raises BenchError else."""
    deadline = time.monotonic() + _START
    last = "nothing listens"
    good = 0
    while time.monotonic() < deadline:
        processes.check()
        try:
            answered, _, content = ask(port, body, headers)
        except (OSError, http.client.HTTPException) as error:
            good, last = 0, str(error)
        else:
            good, last = (good + 1, "") if answered == 200 else (0, f"{answered} {content[:500]!r}")
        if good == _IN_A_ROW:
            return
        if not good:
            time.sleep(0.05)
    raise BenchError(f"no 200 from port {port} within {_START:g} s: {last}")
