"""JSON that arrives in pieces: cut into windows that together are the document, and refused where the whole would be."""

import itertools
import json
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontiergate.wire import jsonbody, jsonstream
from frontiergate.wire.jsonbody import JsonError
from frontiergate.wire.jsonstream import JsonStream
from frontiergate.wire.jsonwindow import TOO_LONG, Window
from tests.fixtures.reading import stream

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=200),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=15,
)
WINDOWS = st.integers(1, 70)


def pieces_of(body: bytes, size: int) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


def joined(windows: list[Window]) -> bytes:
    """What the windows say, without the quotes that they add."""
    return b"".join(w.text[w.continues : len(w.text) - w.breaks] for w in windows)


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=3), VALUES, max_size=4), st.booleans(), st.sampled_from([None, 1]), WINDOWS)
def test_the_windows_together_are_the_document(document: dict[str, object], ascii_only: bool, indent: int | None, window: int) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()
    windows = stream([b" ", text, b"\n"], window, 300)
    assert joined(windows) == text
    for before, after in itertools.pairwise(windows):
        assert before.breaks == after.continues
        assert after.depth == before.depths()[-1]
        assert len(after.text) <= window + 300 + 20


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=3), VALUES, max_size=4), WINDOWS, st.integers(1, 50))
def test_the_windows_do_not_depend_on_how_the_network_cut_the_document(document: dict[str, object], window: int, size: int) -> None:
    text = json.dumps(document).encode()
    assert stream(pieces_of(text, size), window) == stream([text], window)


@settings(deadline=None)
@given(
    st.dictionaries(st.text(max_size=3), VALUES, max_size=4),
    st.integers(0, 500),
    st.sampled_from([b"", b",", b'"', b"]", b"}", b"0", b"\\"]),
    WINDOWS,
)
def test_what_is_no_json_is_refused_as_the_whole_is(document: dict[str, object], at: int, junk: bytes, window: int) -> None:
    text = json.dumps(document).encode()
    text = text[:at] + junk + text[at + 1 :]
    try:
        jsonbody.document(text)
    except jsonbody.RepeatedKeyError:
        return
    except JsonError:
        with pytest.raises(JsonError):
            stream([text], window)
    else:
        stream([text], window)


def test_positions_lead_to_the_text() -> None:
    (window,) = stream([b'{"a":"\\"x]","b\\\\":[1,{}],"c":2}'], 100)
    assert window.outline == b'{":","' + b':[1,{}],":2}'
    assert window.depths() == [0, 1, 2, 3, 2, 1, 0]
    assert [window.outline[window.bracket(number) :][:1] for number in range(6)] == [b"{", b"[", b"{", b"}", b"]", b"}"]
    assert window.between(window.bracket(1), window.bracket(4) + 1) == b"[1,{}]"
    assert window.between(1, window.bracket(1)) == b'"a":"\\"x]","b\\\\":'


def test_a_long_string_is_broken_up_and_stands_as_too_long() -> None:
    windows = stream([b'{"a":["' + b"x" * 300 + b'"]}'], 50)
    assert [window.breaks for window in windows] == [False, True, True, True, True, True, False]
    assert windows[1].items(0, 1) == f'"{TOO_LONG}"'.encode()
    assert windows[2].items(1, 1) == b""
    assert windows[2].between(0, 1) == windows[2].text
    assert joined(windows) == b'{"a":["' + b"x" * 300 + b'"]}'


@pytest.mark.parametrize("unit", ["😀", "é", "\\ud83d\\ude00", "\\ud83d\\uDE00\\\\", "\\\\u00", '\\\\\\"', "\\u00e9", "\\n"])
def test_no_escape_is_cut_through(unit: str) -> None:
    for before in range(30):
        text = ('{"a":"' + "x" * before + unit * 60 + '"}').encode()
        windows = stream([text], 40, 60)
        assert joined(windows) == text
        for escape in (b"\\u00", b"\\ud83d\\u"):
            assert sum(window.text.count(escape) for window in windows) == text.count(escape)


@pytest.mark.parametrize("unit", [b"\\ud83d", b"\\ude00", b"\xff", b"\xe2\x82", b"\\x", b"\n", b"\\u12x4"], ids=repr)
def test_what_is_wrong_in_a_string_is_refused_wherever_it_stands(unit: bytes) -> None:
    for before in range(30):
        with pytest.raises(JsonError):
            stream([b'{"a":"' + b"x" * before + unit + b"x" * 60 + b'"}'], 40, 60)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_a_character_may_arrive_in_parts(size: int) -> None:
    text = '{"é漢😀":"é漢😀"}'.encode()
    assert joined(stream(pieces_of(text, size), size)) == text


def test_long_runs_of_digits_and_spaces_are_no_burden() -> None:
    body = (
        b'{"a":'
        + b" " * 5000
        + b"-"
        + b"9" * 5000
        + b"."
        + b"0" * 5000
        + b"e+"
        + b"1" * 5000
        + b" " * 5000
        + b',"b"'
        + b"\n" * 500
        + b":0}"
        + b" " * 500
    )
    windows = stream([body], 50)
    assert len(joined(windows)) < 1500
    assert json.loads(joined(windows)).keys() == {"a", "b"}
    for wrong in (b"0" + b"0" * 500, b"1" * 500 + b" " * 500 + b"1", b"1" * 500 + b".", b"1" * 500 + b"e" + b"1" * 500 + b"e1", b"-" * 500):
        with pytest.raises(JsonError):
            stream([b'{"a":' + wrong + b"}"], 50)


def test_long_spaces_beside_a_long_string_are_left_out() -> None:
    windows = stream([b'{"a"' + b" " * 50 + b':"' + b"x" * 90 + b"\\", b'"y"}'], 150)
    assert joined(windows) == b'{"a" :"' + b"x" * 90 + b'\\"y"}'


def test_a_long_string_may_end_where_a_window_does() -> None:
    for body in (b'{"a":"' + b"x" * 93 + b'"}', b'{"a":["' + b"x" * 92 + b'" ,1]}'):
        assert joined(stream([body], 100)) == body


def test_a_key_that_is_cut_must_not_be_very_long() -> None:
    body = b'{"a":{"' + b"k" * 100 + b'":1}}'
    assert stream([body], 1000)
    with pytest.raises(JsonError, match="a key is longer than 40 bytes"):
        stream([body], 30)
    assert joined(stream([b'{"a":["' + b"k" * 160 + b'"]}'], 30)) == b'{"a":["' + b"k" * 160 + b'"]}'


@pytest.mark.parametrize(
    "text", [b"", b"  ", b"{", b'{"a"', b'{"a":', b'{"a":[', b'{"a":1', b'{"a":1,', b'{"a":"' + b"x" * 200, b'{"a":"\xc3']
)
@pytest.mark.parametrize("window", [1, 50])
def test_a_document_that_ends_early_is_refused(text: bytes, window: int) -> None:
    with pytest.raises(JsonError, match="ends before"):
        stream([text], window)


@pytest.mark.parametrize(
    "text",
    [
        b"{}}",
        b"{}]",
        b"{}{}",
        b"{} x",
        b"{},",
        b'{}"',
        b"{}1",
        b"{}\xc3",
        b"{} " + b"x" * 500,
        b'{}"' + b"x" * 500,
        b"{}" + b" " * 500 + b"x",
    ],
)
@pytest.mark.parametrize("window", [1, 50, 1000])
def test_nothing_may_follow_the_object(text: bytes, window: int) -> None:
    assert stream([text[:2], b" " * 300], window)
    with pytest.raises(JsonError, match=r"follows its object|trailing|ends before"):
        stream([text], window)


@pytest.mark.parametrize("text", [b"[1]", b"1", b'"a"', b"null", b"\xef\xbb\xbf{}"])
def test_what_is_no_object_is_refused(text: bytes) -> None:
    with pytest.raises(JsonError, match="not a JSON object"):
        stream([text], 1)


@pytest.mark.parametrize("text", [b'{"a":[1}}', b'{"a":{"b":1]}', b'{"a":[[[[[[1}]]]]]}', b'{"a":[{"b":[1}]]}'])
def test_a_bracket_is_closed_by_its_like(text: bytes) -> None:
    for window in range(1, 20):
        with pytest.raises(JsonError):
            stream([text], window)


def test_depth_is_bounded_as_in_a_whole_body() -> None:
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        assert stream([b'{"a":' + opening * 400 + b"1" + closing * 400 + b"}"], 100)
        with pytest.raises(JsonError, match=jsonbody.TOO_DEEP):
            stream([b'{"a":' + opening * 100_000], 1000)


@pytest.mark.parametrize(("unit", "cost"), [(b'"",', 1), (b"[],", 2), (b'{"":[]},', 5), (b"[[[[[[]]]]]],", 12 + 4 * 15)])
def test_a_document_of_very_many_tokens_is_refused(unit: bytes, cost: int) -> None:
    """Counted, not timed: strings and brackets, and what cannot be paired off at once."""
    with patch.object(jsonstream, "MOST_TOKENS", 300 * cost + 40):
        assert stream([b'{"a":[' + unit * 299 + b"1]}"], 1 << 16)
        with pytest.raises(JsonError, match="too many strings, arrays and objects"):
            stream([b'{"a":[' + unit * 340 + b"1]}"], 1 << 16)


def test_the_work_on_a_piece_is_bounded_by_its_length() -> None:
    document = JsonStream()
    assert list(document.feed(b'{"a":"')) == []
    for _ in range(20):
        windows = list(document.feed(b"x" * (1 << 18)))
        assert len(windows) == (1 << 18) // jsonstream.WINDOW
        assert all(len(window.text) <= jsonstream.WINDOW + jsonstream.LONGEST for window in windows)
