"""Durations and sizes as people write them: `5s`, `250ms`, `90d`, `64KiB`, `32MiB`."""

import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
DURATION_PATTERN = r"^(0|[0-9]+(\.[0-9]+)?(ms|s|m|h|d))$"
SIZE_PATTERN = r"^[0-9]+(\.[0-9]+)?(B|KiB|MiB|GiB|KB|MB|GB)$"


class Duration(float):
    """Seconds, read from text such as `5s`."""

    @classmethod
    def parse(cls, text: str) -> "Duration":
        """Raises ValueError where `text` is not a duration."""
        if not re.fullmatch(DURATION_PATTERN, text):
            raise ValueError(f"{text!r} is not a duration: write a number and ms, s, m, h or d, e.g. 5s")
        number, unit = re.fullmatch(r"([0-9.]+)([a-z]*)", text).groups()  # type: ignore[union-attr]
        return cls(float(number) * _SECONDS.get(unit, 1.0))


class Size(int):
    """Bytes, read from text such as `32MiB`."""

    @classmethod
    def parse(cls, text: str) -> "Size":
        """Raises ValueError where `text` is not a size."""
        if not re.fullmatch(SIZE_PATTERN, text):
            raise ValueError(f"{text!r} is not a size: write a number and B, KiB, MiB or GiB, e.g. 32MiB")
        number, unit = re.fullmatch(r"([0-9.]+)([A-Za-z]+)", text).groups()  # type: ignore[union-attr]
        return cls(int(float(number) * _BYTES[unit]))
