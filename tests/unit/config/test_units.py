"""Durations and sizes are read as people write them, and written the same way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontiergate.config.units import Duration, Size


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("5s", 5), ("250ms", 0.25), ("1.5h", 5400), ("90d", 7_776_000)])
def test_a_duration_is_seconds(text: str, seconds: float) -> None:
    assert Duration.parse(text) == seconds


@pytest.mark.parametrize(("text", "size"), [("0B", 0), ("64KiB", 65536), ("1.5MiB", 1_572_864), ("2GB", 2_000_000_000)])
def test_a_size_is_bytes(text: str, size: int) -> None:
    assert Size.parse(text) == size


@pytest.mark.parametrize("text", ["", "5", "s", "-5s", "5S", "5 s", "1e3s", "5s\n", "٥s", "9999999999999s", "inf", "1.s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration: write a number and ms, s, m, h or d"):
        Duration.parse(text)


@pytest.mark.parametrize("text", ["", "5", "0", "KiB", "-1B", "5kb", "64K", "5B\n"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size: write a number and B, KiB, MiB or GiB"):
        Size.parse(text)


@given(st.integers(0, 10**9))
def test_what_is_written_is_read_again(number: int) -> None:
    assert Size.parse(Size(number).text()) == number
    assert Duration.parse(Duration(number).text()) == number
    assert Duration.parse(Duration(number / 1000).text()) == pytest.approx(number / 1000)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (0.25, "250ms"), (90, "90s"), (600, "10m"), (86400, "1d"), (1.5, "1500ms")])
def test_a_duration_is_written_in_the_largest_unit(seconds: float, text: str) -> None:
    assert Duration(seconds).text() == text
