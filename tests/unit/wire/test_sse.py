"""Event boundaries: every mixture of line ends, cut into chunks anywhere."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontiergate.wire import sse

STREAMS = st.text(alphabet="\r\nx", max_size=12).map(str.encode)


def boundaries(stream: bytes) -> set[int]:
    """Where an event may end, told slowly: positions after a blank line's end, whatever may follow (a late LF joins a CR)."""
    found = {0}
    for end in range(1, len(stream) + 1):
        lines = stream[:end].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if lines.endswith(b"\n\n"):
            found.add(end)
    return found


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[a:b] for a, b in itertools.pairwise(edges)]


@given(STREAMS, st.lists(st.integers(0, 20), max_size=6))
def test_the_tail_tells_where_the_stream_stands_however_it_is_cut(stream: bytes, cuts: list[int]) -> None:
    sent, position = b"", 0
    for chunk in pieces(stream, cuts):
        sent = sse.tail(sent, chunk)
        position += len(chunk)
        assert sse.at_event_boundary(sent) == (position in boundaries(stream))
        assert len(sent) <= 3


@given(STREAMS, st.integers(0, 12))
def test_the_first_boundary_of_a_chunk_ends_the_event_under_way(stream: bytes, cut: int) -> None:
    before, chunk = stream[:cut], stream[cut:]
    sent = sse.tail(b"", before)
    if sse.at_event_boundary(sent):
        return
    later = sorted(end for end in boundaries(stream) if end > len(before))
    found = sse.first_boundary(sent, chunk)
    if found is None:
        assert not later
    else:
        assert len(before) + found in later
        severed = stream[: len(before) + found]
        assert sse.at_event_boundary(sse.tail(b"", severed))
        # nothing but the LF of a CRLF may come between the earliest boundary and this one
        assert stream[later[0] : len(before) + found] in (b"", b"\n")


@given(STREAMS)
def test_the_last_boundary_leaves_no_whole_event_behind(stream: bytes) -> None:
    whole = sse.last_boundary(stream)
    assert whole in boundaries(stream)
    assert all(not stream[whole:end].strip(b"\r\n") for end in boundaries(stream) if end > whole)


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\r\n\n", b"\n\r\n", b"\r\r\n", b"\n\r"])
def test_a_blank_line_ends_an_event_in_every_spelling(end: bytes) -> None:
    assert sse.at_event_boundary(sse.tail(b"", b"data: x" + end))
    assert sse.first_boundary(b"dat", b"a: x" + end + b"data: y") == 4 + len(end)


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n", b"", b"\n\n:"])
def test_one_line_end_does_not(end: bytes) -> None:
    assert not sse.at_event_boundary(sse.tail(b"", b"data: x" + end))


def test_the_two_halves_of_a_crlf_in_two_chunks_are_one_line_end() -> None:
    assert sse.first_boundary(sse.tail(b"", b"data: x\r"), b"\ndata: y") is None
    assert sse.first_boundary(sse.tail(b"", b"data: x\r"), b"\n\r\nrest") == 3


def test_a_stream_that_has_sent_nothing_is_at_a_boundary() -> None:
    assert sse.at_event_boundary(b"")
