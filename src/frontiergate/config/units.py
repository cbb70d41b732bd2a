"""Durations and sizes as people write them: `5s`, `250ms`, `90d`, `64KiB`, `32MiB`."""

import re
from typing import Any

import msgspec

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
# At most 12 digits: beyond 31,000 years or 900 TiB there is a typing error, not a wish.
DURATION_PATTERN = r"^(0|[0-9]{1,12}(\.[0-9]{1,6})?(ms|s|m|h|d))$"
SIZE_PATTERN = r"^[0-9]{1,12}(\.[0-9]{1,6})?(B|KiB|MiB|GiB|KB|MB|GB)$"
_NUMBER_AND_UNIT = re.compile(r"([0-9.]+)([A-Za-z]+)")


def _scaled(text: str, units: dict[str, float] | dict[str, int]) -> float:
    match = _NUMBER_AND_UNIT.fullmatch(text)
    return float(match[1]) * units[match[2]] if match else 0.0


class Duration(float):
    """Seconds, read from text such as `5s`."""

    @classmethod
    def parse(cls, text: str) -> "Duration":
        """Raises ValueError where `text` is not a duration."""
        if not re.fullmatch(DURATION_PATTERN, text):
            raise ValueError(f"{text!r} is not a duration: write a number and ms, s, m, h or d, e.g. 5s")
        return cls(_scaled(text, _SECONDS))

    def text(self) -> str:
        """As people write it, in the largest unit that divides it."""
        unit = next((u for u in ("d", "h", "m", "s") if self >= _SECONDS[u] and self % _SECONDS[u] == 0), "ms")
        return f"{self / _SECONDS[unit]:.12g}{unit}" if self else "0s"


class Size(int):
    """Bytes, read from text such as `32MiB`."""

    @classmethod
    def parse(cls, text: str) -> "Size":
        """Raises ValueError where `text` is not a size."""
        if not re.fullmatch(SIZE_PATTERN, text):
            raise ValueError(f"{text!r} is not a size: write a number and B, KiB, MiB or GiB, e.g. 32MiB")
        return cls(int(_scaled(text, _BYTES)))

    def text(self) -> str:
        """As people write it, in the largest binary unit that divides it."""
        unit = next((u for u in ("GiB", "MiB", "KiB") if self and self % _BYTES[u] == 0), "B")
        return f"{self // _BYTES[unit]}{unit}"


def duration(text: str) -> Any:
    """A field's default. A factory, because msgspec cannot write a default of a type of ours into the JSON Schema."""
    return msgspec.field(default_factory=lambda: Duration.parse(text))


def size(text: str) -> Any:
    """A field's default; a factory for the same reason as `duration`."""
    return msgspec.field(default_factory=lambda: Size.parse(text))
