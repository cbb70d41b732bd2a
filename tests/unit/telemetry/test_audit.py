"""The audit log on real files: complete, private, durable when asked, honest when it cannot write."""

import asyncio
import errno
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from frontiergate.domain.evidence import Assurance, Evidence, Kind
from frontiergate.errors import GateError, StoreUnavailable
from frontiergate.telemetry import dayfile
from frontiergate.telemetry.audit import AuditLog, DecisionRecord, EndRecord, recorded_address, recorded_facts
from frontiergate.telemetry.records import End, RecordedFact

NOON = 1_795_435_200.0  # 2026-11-23T12:00:00Z


def decision(id: str = "req_1", **changes: Any) -> DecisionRecord:
    return DecisionRecord(at=NOON, id=id, worker="1", epoch=7, verdict="forward", **changes)


def lines(folder: pathlib.Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines()]


class Disk:
    """Stands before os.write: takes only so many bytes at a time, or fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room: int | None = None
        self._write = os.write
        monkeypatch.setattr(dayfile.os, "write", self.write)

    def write(self, fd: int, data: bytes) -> int:
        if self.room is None:
            return self._write(fd, data)
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self._write(fd, bytes(data[: self.room]))
        self.room -= written
        return written


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_records_become_lines_of_the_workers_day(tmp_path: pathlib.Path) -> None:
    audit = AuditLog(str(tmp_path / "audit"), "host/1", clock=lambda: NOON)
    audit.write(
        decision(
            models=("m/one",),
            directives=("d",),
            principal="p_77",
            facts=(RecordedFact(kind="us_person", value="true", assurance="attested", source="key"),),
        )
    )
    audit.write(EndRecord(at=NOON + 1, id="req_1", end=End.SEVERED, status=200, bytes_out=5, duration_ms=12.5, reason="policy_withdrawn"))
    audit.flush()
    assert lines(tmp_path / "audit") == [
        {
            "kind": "decision",
            "at": NOON,
            "id": "req_1",
            "worker": "1",
            "epoch": 7,
            "verdict": "forward",
            "principal": "p_77",
            "models": ["m/one"],
            "directives": ["d"],
            "facts": [{"kind": "us_person", "value": "true", "assurance": "attested", "source": "key"}],
        },
        {
            "kind": "end",
            "at": NOON + 1,
            "id": "req_1",
            "end": "severed",
            "status": 200,
            "reason": "policy_withdrawn",
            "bytes_out": 5,
            "duration_ms": 12.5,
        },
    ]
    (file,) = (tmp_path / "audit").iterdir()
    assert file.name == "decisions-host_1-20261123.jsonl"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    audit.close()


def test_closing_writes_everything_in_order(tmp_path: pathlib.Path) -> None:
    audit = AuditLog(str(tmp_path), "1")
    for n in range(5000):
        audit.write(decision(f"req_{n}"))
    audit.close()
    assert [line["id"] for line in lines(tmp_path)] == [f"req_{n}" for n in range(5000)]
    assert audit.dropped == 0


def test_a_record_is_written_without_being_asked_for(tmp_path: pathlib.Path) -> None:
    audit = AuditLog(str(tmp_path), "1", "strict")
    assert audit.strict
    audit.write(decision())
    deadline = time.monotonic() + 10
    while not lines(tmp_path):
        assert time.monotonic() < deadline
    audit.close()


def test_no_value_can_forge_a_line(tmp_path: pathlib.Path) -> None:
    audit = AuditLog(str(tmp_path), "1")
    audit.write(decision('x"}\n{"kind":"decision","verdict":"forward"}\r\u2028'))
    audit.close()
    (file,) = tmp_path.iterdir()
    assert file.read_bytes().count(b"\n") == 1


def test_durable_is_done_when_the_record_is_on_disk(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    fsync = os.fsync
    audit = AuditLog(str(tmp_path), "1")
    monkeypatch.setattr(dayfile.os, "fsync", lambda fd: (fsync(fd), synced.append(lines(tmp_path))))

    async def main() -> None:
        await asyncio.gather(*(audit.durable(decision(f"req_{n}")) for n in range(100)))
        assert {line["id"] for line in synced[-1]} == {f"req_{n}" for n in range(100)}
        assert len(synced) < 10, "one fsync serves many"
        audit.durable(decision("gone")).cancel()

    asyncio.run(main())
    audit.close()
    assert lines(tmp_path)[-1]["id"] == "gone"


def test_a_loop_that_has_ended_is_not_waited_for(tmp_path: pathlib.Path) -> None:
    audit = AuditLog(str(tmp_path), "1")

    async def main() -> None:
        audit.durable(decision())

    asyncio.run(main())
    audit.close()
    assert len(lines(tmp_path)) == 1


def test_a_full_disk_cuts_no_line_and_loses_nothing_within_the_bound(tmp_path: pathlib.Path, disk: Disk) -> None:
    audit = AuditLog(str(tmp_path), "1", bound=10)
    disk.room = 150

    async def main() -> None:
        for n in range(4):
            audit.write(decision(f"req_{n}"))
        with pytest.raises(StoreUnavailable, match="No space left"):
            await audit.durable(decision("req_4"))
        assert not audit.healthy
        with pytest.raises(StoreUnavailable, match="No space left"):
            await audit.durable(decision("req_5"))
        for n in range(6, 30):
            audit.write(decision(f"req_{n}"))

    asyncio.run(main())
    assert audit.dropped > 0
    kept = 30 - audit.dropped
    disk.room = None
    audit.flush()
    assert audit.healthy
    audit.write(decision("req_after"))
    audit.close()
    assert [line["id"] for line in lines(tmp_path)] == [*(f"req_{n}" for n in range(kept)), "req_after"]


def test_a_full_disk_at_the_end_is_said(tmp_path: pathlib.Path, disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    audit = AuditLog(str(tmp_path), "1")
    disk.room = 0
    audit.write(decision("req_1"))
    audit.flush()
    audit.write(decision("req_2"))
    audit.close()
    assert "cannot be written" in caplog.text
    assert "could not be written" in caplog.text


def test_a_sync_that_fails_at_the_end_is_said(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    audit = AuditLog(str(tmp_path), "1")
    monkeypatch.setattr(dayfile.os, "fsync", fails)
    audit.close()
    assert "could not be closed" in caplog.text


def test_small_writes_are_finished(tmp_path: pathlib.Path, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dayfile.os, "write", lambda fd, data: disk._write(fd, bytes(data[:7])))
    audit = AuditLog(str(tmp_path), "1")
    for n in range(20):
        audit.write(decision(f"req_{n}"))
    audit.close()
    assert len(lines(tmp_path)) == 20


def test_a_new_day_begins_a_new_file(tmp_path: pathlib.Path) -> None:
    now = [NOON]
    audit = AuditLog(str(tmp_path), "1", clock=lambda: now[0])
    audit.write(decision("today"))
    audit.flush()
    now[0] += 86400
    audit.write(decision("tomorrow"))
    audit.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["decisions-1-20261123.jsonl", "decisions-1-20261124.jsonl"]
    assert [line["id"] for line in lines(tmp_path)] == ["today", "tomorrow"]


def test_a_file_that_was_moved_away_is_begun_anew(tmp_path: pathlib.Path) -> None:
    audit = AuditLog(str(tmp_path), "1", clock=lambda: NOON)
    audit.write(decision("before"))
    audit.flush()
    file = tmp_path / "decisions-1-20261123.jsonl"
    file.rename(tmp_path / "rotated")
    audit.write(decision("after"))
    audit.close()
    assert [line["id"] for line in lines(tmp_path)] == ["after"]
    assert b"before" in (tmp_path / "rotated").read_bytes()


def test_a_line_that_a_crash_cut_is_ended_and_the_next_one_stands_alone(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "decisions-1-20261123.jsonl"
    file.write_bytes(b'{"kind":"end"}\n{"kind":"decis')
    audit = AuditLog(str(tmp_path), "1", clock=lambda: NOON)
    audit.write(decision())
    audit.close()
    first, cut, last = file.read_bytes().splitlines()
    assert (first, cut) == (b'{"kind":"end"}', b'{"kind":"decis')
    assert json.loads(last)["id"] == "req_1"


def test_a_folder_that_cannot_be_written_is_an_error_at_once(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(GateError, match=r"change audit\.path"):
        AuditLog(str(tmp_path / "file" / "audit"), "1")


def test_a_link_in_the_files_place_is_not_followed(tmp_path: pathlib.Path) -> None:
    (tmp_path / "decisions-1-20261123.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(GateError):
        AuditLog(str(tmp_path), "1", clock=lambda: NOON)


_KILLED = """
import asyncio, sys
from frontiergate.telemetry.audit import AuditLog, EndRecord
from frontiergate.telemetry.records import End

async def main():
    audit = AuditLog(sys.argv[1], "1", "strict")
    for n in range(1000000):
        await audit.durable(EndRecord(at=1.0, id=str(n), end=End.COMPLETE))
        print(n, flush=True)

asyncio.run(main())
"""


def test_what_was_durable_survives_kill_9(tmp_path: pathlib.Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        last = [child.stdout.readline() for _ in range(20)][-1]
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read()
    last = ([last, *rest[: rest.rfind("\n") + 1].splitlines()])[-1]
    kept = b"".join(file.read_bytes() for file in tmp_path.glob("*.jsonl")).splitlines()
    assert len(kept) > int(last)
    assert all(json.loads(line)["id"] == str(n) for n, line in enumerate(kept[: int(last) + 1]))


def test_facts_are_recorded_as_codes_without_their_documents() -> None:
    def piece(**changes: Any) -> Evidence:
        values = {
            "kind": Kind.NATIONALITY,
            "value": "US",
            "source": "token https://idp.example",
            "assurance": Assurance.VERIFIED,
            "observed_at": NOON,
        }
        return Evidence(**{**values, **changes})

    assert recorded_facts(
        [piece(), piece(value="my passport is P123", readable=False), piece(value="CU", held="former", source="key k_1")]
    ) == (
        RecordedFact(kind="nationality", value="US", assurance="verified", source="token"),
        RecordedFact(kind="nationality", value=None, assurance="verified", source="token"),
        RecordedFact(kind="nationality", value="CU", assurance="verified", source="key", former=True),
    )


@pytest.mark.parametrize(
    ("address", "mode", "recorded"),
    [
        ("203.0.113.77", "truncated", "203.0.113.0/24"),
        ("2001:db8:1:2::3", "truncated", "2001:db8:1::/48"),
        ("203.0.113.77", "full", "203.0.113.77"),
        ("203.0.113.77", "none", None),
        ("unix:", "truncated", None),
    ],
)
def test_an_address_is_recorded_as_configured(address: str, mode: Any, recorded: str | None) -> None:
    assert recorded_address(address, mode) == recorded
