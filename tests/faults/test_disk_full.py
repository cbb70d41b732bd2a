"""The disk is full: what cannot be written is refused or kept, nothing is half made, and space alone brings everything back (P5)."""

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fixtures.gate import Gate, wait_until
from tests.fixtures.upstream import Upstream

OPEN = {"model": "gpt-open", "messages": [{"role": "user", "content": "Hi"}]}


class SmallDisk:
    """A file system of 8 MiB in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fills(self) -> None:
        """Not one more byte fits."""
        with contextlib.suppress(OSError), open(self._filler, "ab", buffering=0) as filler:
            for size in (1 << 16, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while True:
                        filler.write(bytes(size))
        assert os.statvfs(self.folder).f_bavail == 0

    def is_freed(self) -> None:
        self._filler.unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("takes root, to mount a small disk; test_sqlite_histories.py fills a disk for everybody")
    yield SmallDisk(folder)
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def new_gate(disk: SmallDisk, upstream: Upstream) -> Iterator[Callable[..., Gate]]:
    with contextlib.ExitStack() as stack:
        yield lambda **config: stack.enter_context(Gate(disk.folder / "gate", upstream, **config))


def test_a_change_that_finds_no_room_is_not_made_and_the_policy_stays_in_force(disk: SmallDisk, new_gate) -> None:
    gate: Gate = new_gate()
    gate.wait_enforced(gate.put_in_force("first", "openai/gpt-vetted")["epoch"])
    disk.fills()
    directive = {"id": "second", "order": {"authority": "BIS", "reference": "2"}, "models": ["openai/gpt-open"], "withdraw": True}
    for _ in range(3):
        reply = gate.admin("POST", "/admin/v1/directives", {"directive": directive, "reason": "a test"})
        assert reply.status == 503
        assert "nothing was changed" in reply.json["detail"]
        assert "the disk is full; free some space" in reply.json["detail"]
    assert gate.call(OPEN).status == 200
    assert gate.call({**OPEN, "model": "gpt-vetted"}).reason == "policy_withdrawn"
    assert gate.admin("GET", "/admin/v1/epoch").json["epoch"] == 1

    disk.is_freed()
    assert gate.put_in_force("second", "openai/gpt-open")["epoch"] == 2
    gate.wait_enforced(2)
    assert gate.call(OPEN).reason == "policy_withdrawn"


def test_a_strict_gate_whose_audit_finds_no_room_forwards_nothing_until_there_is_some(
    disk: SmallDisk, upstream: Upstream, new_gate
) -> None:
    gate: Gate = new_gate(audit={"durability": "strict"})
    assert gate.call(OPEN).status == 200
    disk.fills()
    # A page that was written to in part has room for some records yet.
    refused = wait_until(lambda: gate.call(OPEN), lambda reply: reply.status != 200)
    assert (refused.status, refused.reason) == (503, "gate_store_unavailable")
    forwarded = len(upstream.requests)
    assert {gate.call(OPEN).reason for _ in range(20)} == {"gate_store_unavailable"}
    assert len(upstream.requests) == forwarded

    disk.is_freed()
    wait_until(lambda: gate.call(OPEN).status, lambda status: status == 200)
    recorded = {record["id"] for record in gate.decisions() if record["kind"] == "decision" and record["verdict"] == "forward"}
    assert {request.header("x-gate-request-id") for request in upstream.requests} <= recorded, "nothing was forwarded without its record"


def test_records_that_find_no_room_are_kept_and_written_when_there_is_some(disk: SmallDisk, new_gate) -> None:
    gate: Gate = new_gate()
    assert gate.call(OPEN).status == 200
    disk.fills()
    ids = [gate.call(OPEN).headers["x-gate-request-id"] for _ in range(200)]
    gate.wait_log(lambda lines: any("keeping records meanwhile" in line["message"] for line in lines))
    disk.is_freed()
    records = gate.wait_decisions(lambda records: {record["id"] for record in records} >= set(ids))
    for kind in ("decision", "end"):
        kept = [record["id"] for record in records if record["kind"] == kind and record["id"] in ids]
        assert sorted(kept) == sorted(ids), "each once"
    assert gate.metric("frontiergate_audit_dropped_total") == 0
