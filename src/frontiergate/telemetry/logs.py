"""Logging for operators: JSON lines on stderr, or plain lines on a terminal, with nothing in them that opens anything (P6)."""

import datetime
import json
import logging
import re
import sys
from collections.abc import Mapping
from typing import TextIO

_SECRETS = re.compile(
    r"(?P<bearer>\bbearer\s+)[A-Za-z0-9._~+/=-]{6,}"  # RFC 6750, 2.1
    r"|(?P<basic>\bbasic\s+)[A-Za-z0-9+/=]{12,}"  # RFC 7617
    r"|\bfg_[A-Za-z0-9_-]{4,}"  # our API keys
    r"|\bsk-[A-Za-z0-9_-]{8,}"  # upstreams' API keys
    r"|\beyJ[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*){1,4}",  # JWS and JWE, RFC 7515 and 7516, 7.1
    re.IGNORECASE,
)
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}  # a terminal obeys these
_CONTROLS_BUT_NEWLINES = {code: text for code, text in _CONTROLS.items() if code != 0x0A}
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def redact(text: str) -> str:
    """`text` without credentials: bearer and basic values, API keys, JWTs."""
    return _SECRETS.sub(lambda found: (found["bearer"] or found["basic"] or "") + "[redacted]", text)


class JsonLines(logging.Formatter):
    """One JSON object a line; fields given as `extra` stand beside the message. Quoting makes forged lines impossible."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return redact(json.dumps(line, default=str))


class PlainLines(logging.Formatter):
    """For people at a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        extra = "".join(f" {name}={value}" for name, value in _extra(record).items())
        line = f"{_time(record)} {record.levelname.lower():7} {record.getMessage()}{extra}".translate(_CONTROLS)
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info).translate(_CONTROLS_BUT_NEWLINES)
        return redact(line)


def set_up(level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send every logger's records of `level` and above to `stream` (stderr); replaces what was set up before."""
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(PlainLines() if stream.isatty() else JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def _time(record: logging.LogRecord) -> str:
    return datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds")


def _extra(record: logging.LogRecord) -> Mapping[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}
