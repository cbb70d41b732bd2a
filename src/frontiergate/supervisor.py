"""The supervisor: starts the workers and the control process, restarts a dead one, hands on signals (DESIGN 6).

SIGTERM and SIGINT drain and stop. SIGHUP reads the configuration again: a good one is handed to every process as one snapshot, so
that all of them, and those restarted later, run the same; a bad one changes nothing. It keeps to a few modules: it holds no state
that a caller depends on, and its memory is paid once more for each gate.
"""

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from frontiergate.config.check import check_config
from frontiergate.config.load import parse_config, placed, read_text, resolve_paths
from frontiergate.config.schema import Config
from frontiergate.dialects.registry import DIALECTS
from frontiergate.errors import ConfigError
from frontiergate.telemetry import logs

_log = logging.getLogger(__name__)
_WATCHED: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD})
_BACKOFF: Final = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0)  # seconds before the n-th restart in a row
_STEADY: Final = 30.0  # seconds after which a process counts as having started well
_FIXED: Final = ("listen", "workers", "store", "audit")  # what a reload must not look as if it had changed
_GRACE: Final = 5.0  # seconds beyond limits.drain before SIGKILL
# glibc: a large body's pieces go back to the system one by one. Left to itself it gives them back all at once, which takes 20 ms of a loop.
_MALLOC: Final = {"MALLOC_MMAP_THRESHOLD_": str(128 << 10)}


class Child:
    """One process that is kept running."""

    def __init__(self, name: str, arguments: list[str]) -> None:
        self.name = name
        self.arguments = arguments
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0
        self.failures = 0
        self.due = 0.0  # by the monotonic clock; when it is to be started


class Supervisor:
    """Runs until it is told to stop; `run` returns the exit status."""

    def __init__(self, path: str | None) -> None:
        self._path = path or os.environ.get("FRONTIERGATE_CONFIG") or ""
        self._text, self._config = self._read()
        self._directory = Path(tempfile.mkdtemp(prefix="frontiergate-"))
        self._snapshot = self._directory / "config.yaml"
        # Its read end in each child: end of file there means that the supervisor is gone, however it died.
        self._life_read, self._life_write = os.pipe()
        metrics = self._directory / "metrics"
        metrics.mkdir()
        self._environment = _MALLOC | os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(metrics)}
        common = ["--config", str(self._snapshot), "--source", self._path, "--supervised", str(self._life_read)]
        self._children = [
            Child(f"worker {number}", ["-m", "frontiergate.worker", *common, "--number", str(number)])
            for number in range(self._config.workers)
        ]
        self._children.append(Child("control", ["-m", "frontiergate.control_worker", *common]))

    def run(self) -> int:
        """Blocks. Signals are taken one at a time by sigtimedwait, so no handler interrupts anything."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        self._write_snapshot()
        try:
            while True:
                self._start_due()
                taken = signal.sigtimedwait(_WATCHED, self._patience())
                if taken is None:
                    continue
                if taken.si_signo in {signal.SIGTERM, signal.SIGINT}:
                    self._stop()
                    return 0
                if taken.si_signo == signal.SIGHUP:
                    self._reload()
                else:
                    self._reap()
        finally:
            os.close(self._life_write)
            shutil.rmtree(self._directory, ignore_errors=True)

    def _read(self) -> tuple[str, Config]:
        """The file's text, and what it says; read once, so that what is proved is what the processes get. Raises ConfigError."""
        if not self._path:
            raise ConfigError(["no configuration file is named; pass --config FILE or set FRONTIERGATE_CONFIG"])
        text = read_text(self._path)
        config = resolve_paths(parse_config(text, self._path), Path(self._path).absolute().parent)
        problems = check_config(config, DIALECTS.keys(), time.time(), os.environ)
        errors = [problem for problem in problems if problem.level == "error"]
        if errors:
            place = placed(text, self._path)
            raise ConfigError([f"{place(problem.path)}: {problem.path}: {problem.message}" for problem in errors])
        for problem in problems:
            _log.warning("configuration", extra={"path": problem.path, "problem": problem.message})
        return text, config

    def _write_snapshot(self) -> None:
        temporary = self._snapshot.with_suffix(".new")
        temporary.write_text(self._text, "utf-8")
        temporary.replace(self._snapshot)

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if child.process is None and child.due <= now:
                child.process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                    [sys.executable, *child.arguments], env=self._environment, pass_fds=(self._life_read,), stdin=subprocess.DEVNULL
                )
                child.started = now

    def _patience(self) -> float:
        now = time.monotonic()
        return max(0.0, min((child.due - now for child in self._children if child.process is None), default=3600.0))

    def _reap(self) -> None:
        for child in self._children:
            if child.process is None or child.process.poll() is None:
                continue
            now = time.monotonic()
            child.failures = 0 if now - child.started > _STEADY else child.failures + 1
            delay = _BACKOFF[min(child.failures, len(_BACKOFF) - 1)]
            _log.error("process died", extra={"who": child.name, "status": child.process.returncode, "restart_in_s": delay})
            self._forget_metrics(child.process.pid)
            child.process, child.due = None, now + delay

    def _forget_metrics(self, pid: int) -> None:
        """A dead process has no live sessions; its counters stay."""
        from frontiergate.telemetry.metrics import forget_process  # its memory is paid only where a process died

        forget_process(pid, self._environment["PROMETHEUS_MULTIPROC_DIR"])

    def _reload(self) -> None:
        before = self._config
        try:
            self._text, self._config = self._read()
        except ConfigError as error:
            _log.error("configuration refused; the one in force is kept", extra={"problems": error.problems})
            self._signal(signal.SIGUSR1)
            return
        for name in _FIXED:
            if getattr(self._config, name) != getattr(before, name):
                _log.warning("a change that takes a restart; the gate goes on without it", extra={"key": name})
        self._write_snapshot()
        self._signal(signal.SIGHUP)

    def _signal(self, number: signal.Signals) -> None:
        for child in self._children:
            if child.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    child.process.send_signal(number)

    def _stop(self) -> None:
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + self._config.limits.drain + _GRACE
        for child in self._children:
            if child.process is None:
                continue
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _log.error("process did not stop in time; killed", extra={"who": child.name})
                child.process.kill()
                child.process.wait()


def run(path: str | None) -> int:
    """Serve the configuration at `path` until told to stop. Raises ConfigError if it cannot be used."""
    logs.set_up()
    return Supervisor(path).run()
