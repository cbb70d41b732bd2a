"""Instants as people write them: ISO 8601 with a zone, or a duration from now such as `+30d`."""

import datetime

from frontiergate.config.units import Duration


def parse_instant(text: str, now: float) -> datetime.datetime:
    """The instant, aware. Raises ValueError where `text` is neither form or has no zone."""
    if text[:1].isdigit() and "-" in text:
        try:
            instant = datetime.datetime.fromisoformat(text)
        except ValueError:
            raise _unreadable(text) from None
        if instant.tzinfo is None:
            raise ValueError(f"{text!r} has no time zone: write {text}{'T00:00:00' if 'T' not in text and ' ' not in text else ''}Z")
        return instant
    try:
        return datetime.datetime.fromtimestamp(now + Duration.parse(text.removeprefix("+")), datetime.UTC)
    except (ValueError, OverflowError):
        raise _unreadable(text) from None


def iso(at: float | None) -> str | None:
    """POSIX seconds as ISO 8601 in UTC; None stays None."""
    if at is None:
        return None
    return datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _unreadable(text: str) -> ValueError:
    return ValueError(f"{text!r} is not an instant: write 2026-11-23T00:00:00Z, or a duration from now such as +30d")
