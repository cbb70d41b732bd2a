"""Strict reading of one JSON object: one way, or not at all."""

import inspect
import json
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontiergate.wire import jsonbody
from frontiergate.wire.jsonbody import JsonError, RepeatedKeyError
from tests.fixtures.reading import stream

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=6), VALUES, max_size=6), st.booleans(), st.sampled_from([None, 1]))
def test_what_is_read_is_what_a_whole_parse_reads(document: dict[str, object], ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    found = jsonbody.document(text)
    assert {key: json.loads(bytes(value)) for key, value in found.items()} == document
    for value in found.values():
        assert bytes(value)[:1].decode() == jsonbody.kind(value)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "é", ""]), VALUES), min_size=1, max_size=5))
def test_a_key_that_occurs_twice_is_seen_whatever_stands_between(pairs: list[tuple[str, object]]) -> None:
    text = "{" + ",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in pairs) + "}"
    if len({key for key, _ in pairs}) == len(pairs):
        assert list(jsonbody.document(text.encode())) == [key for key, _ in pairs]
    else:
        with pytest.raises(RepeatedKeyError):
            jsonbody.document(text.encode())


def test_an_escaped_key_is_the_same_key() -> None:
    with pytest.raises(RepeatedKeyError) as caught:
        jsonbody.document(b'{"x":1,"\\u006dodel":"a","y":{},"model":"b"}')
    assert caught.value.key == "model"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'"model"',
        b"null",
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-16-le"),
        '{"a":1}'.encode("utf-32-be"),
        b'{"a":1}{"a":1}',
        b'{"a":1} x',
        b'{"a":1}\x00',
        b'{"a":/**/1}',
        b"{'a':1}",
        b"{a:1}",
        b'{"a":1,}',
        b'{"a":[1,]}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":01}',
        b'{"a":+1}',
        b'{"a":"\xff"}',
        b'{"a":{"b\xc0\xaf":1}}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\\ud800"}',
        b'{"a":["\\udc00\\ud800"]}',
        b'{"a":"\n"}',
        b'{"a":"\\x"}',
        b'{"a\x00":1}',
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' + b'{"b":' * 100_000 + b"1" + b"}" * 100_001,
    ],
    ids=lambda body: repr(body[:24]),
)
def test_what_parsers_disagree_on_is_refused(body: bytes) -> None:
    with pytest.raises(JsonError):
        jsonbody.document(body)
    for window in (1, 7, 64):
        with pytest.raises(JsonError):
            stream([body], window)


def test_ten_million_digits_cost_no_number() -> None:
    before = time.process_time()
    found = jsonbody.document(b'{"model":"m","n":' + b"9" * 10_000_000 + b"}")
    assert len(found["n"]) == 10_000_000
    assert time.process_time() - before < 2


@pytest.mark.parametrize("count", [1_001, 20_000, 1_000_000])
def test_an_object_of_very_many_keys_is_refused_before_they_exist(count: int) -> None:
    body = b"{" + b",".join(b'"%x":0' % i for i in range(count)) + b"}"
    before = time.process_time()
    with pytest.raises(JsonError, match="more than 1000 members"):
        jsonbody.document(body)
    assert time.process_time() - before < 1


def test_a_large_object_of_few_keys_is_read() -> None:
    assert list(jsonbody.document(b'{"a":"' + b"x" * 100_000 + b'","b":1}')) == ["a", "b"]


def test_an_array_of_very_many_elements_is_refused_before_they_exist() -> None:
    array = jsonbody.document(b'{"a":[' + b"0," * 1_000_001 + b"0]}")["a"]
    with pytest.raises(JsonError, match="too many elements"):
        jsonbody.elements(array)


def test_depth_that_only_the_second_look_cannot_bear_is_refused() -> None:
    array = jsonbody.document(b'{"a":' + b"[" * 400 + b"]" * 400 + b"}")["a"]
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 200)
    try:
        with pytest.raises(JsonError, match="nested too deeply"):
            jsonbody.elements(array)
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.parametrize(
    ("key", "folded"),
    [
        ("Model", "model"),
        ("MODEL", "model"),
        ("ｍodel", "model"),
        ("model\u017f", "models"),
        ("fallbac\u212as", "fallbacks"),
        ("engıne", "engine"),
        ("Model\0x" + "x" * 90, "model"),
        ("ﬃx", "ffix"),
    ],
)
def test_a_key_folds_to_what_the_most_forgiving_parser_takes_it_for(key: str, folded: str) -> None:
    assert jsonbody.fold(key) == folded
    assert not jsonbody.is_plain({key: jsonbody.Raw(b"1")})


def test_a_very_long_key_folds_to_itself() -> None:
    assert jsonbody.fold("M" * 10_000_000) == "M" * 10_000_000


@given(st.text(alphabet=st.characters(codec="ascii"), max_size=6))
def test_a_plain_key_is_its_own_fold(key: str) -> None:
    if jsonbody.is_plain({key: jsonbody.Raw(b"1")}):
        assert jsonbody.fold(key) == key


@pytest.mark.parametrize(
    ("text", "held"),
    [
        (b'[{"model":1}]', True),
        (b'[{"MoDel":1}]', True),
        (b'[{"m\\u006Fdel":1}]', True),
        (b'[{"\\u004D":1}]', True),
        (b'[{"model\\u005fname":1}]', True),
        (b'["caf\\u00e9, \\u0026, \\u001f, \\u0060"]', False),
        (b'["a model"]', False),
        (b'["\\"model\\" \\n"]', False),
    ],
)
def test_one_scan_tells_that_a_value_cannot_hold_a_key(text: bytes, held: bool) -> None:
    assert jsonbody.may_hold(jsonbody.Raw(text), b'"model"') is held
