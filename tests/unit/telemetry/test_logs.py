"""Logs: one line a record, nothing in it that opens anything."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from frontiergate.telemetry import logs

JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.MEUCIQDx-_abc"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def logged(stream: io.StringIO, level: str, message: str, *arguments: object, **more: object) -> str:
    logs.set_up(level, stream)
    logging.getLogger("frontiergate.test").warning(message, *arguments, **more)
    return stream.getvalue()


def test_a_record_is_one_json_line_with_its_extra_fields() -> None:
    line = logged(io.StringIO(), "info", "store %s", "lost", extra={"epoch": 7, "path": object})
    assert line.count("\n") == 1
    fields = json.loads(line)
    assert fields["time"].endswith("+00:00")
    assert {k: fields[k] for k in ("level", "logger", "message", "epoch")} == {
        "level": "warning",
        "logger": "frontiergate.test",
        "message": "store lost",
        "epoch": 7,
    }


def test_below_the_level_nothing_is_logged() -> None:
    assert logged(io.StringIO(), "error", "x") == ""


@pytest.mark.parametrize(
    "secret",
    [
        "Authorization: Bearer c2VjcmV0LXRva2Vu",
        "bearer   c2VjcmV0LXRva2Vu",
        "Basic c2VjcmV0LXRva2Vu",
        "x-api-key: fg_c2VjcmV0LXRva2Vu",
        "sk-proj-c2VjcmV0LXRva2Vu",
        "sk-ant-api03-c2VjcmV0LXRva2Vu",
        f"token={JWT}",
        f"'{JWT.rsplit('.', 1)[0]}.'",
    ],
)
@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_credentials_are_removed_wherever_they_stand(secret: str, stream: type[io.StringIO]) -> None:
    text = logged(stream(), "info", "failed: %s", secret, extra={"detail": secret}, exc_info=ValueError(secret))
    assert text.count("[redacted]") >= 3
    for piece in ("c2VjcmV0", "eyJ", "MEUC"):
        assert piece not in text


def test_ordinary_words_are_left_alone() -> None:
    text = "risk-assessment done, basic checks passed, key k_7Q, disk-usage 3, task-force-one-two-three"
    assert logs.redact(text) == text


def test_no_line_can_be_forged_and_no_terminal_commanded() -> None:
    hostile = 'x\n{"level":"info"}\x1b[2J\r\x9b1m'
    assert logged(io.StringIO(), "info", hostile).count("\n") == 1
    text = logged(Terminal(), "info", hostile, extra={"subject": hostile}, exc_info=ValueError(hostile))
    assert text.splitlines()[0].count("\\x0a") == 2
    assert not any(control in text for control in ("\x1b", "\r", "\x9b"))


def test_a_person_at_a_terminal_reads_plain_lines() -> None:
    text = logged(Terminal(), "info", "listening", extra={"port": 8080})
    assert text.endswith(" warning listening port=8080\n")
