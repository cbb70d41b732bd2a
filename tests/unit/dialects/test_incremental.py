"""A body that is read while it arrives comes to what it comes to as a whole, in bounded steps and memory (P1, P8)."""

import json
import tracemalloc
from collections.abc import Iterator
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontiergate.dialects import models
from frontiergate.dialects.anthropic import ANTHROPIC
from frontiergate.dialects.incremental import ModelReader
from frontiergate.dialects.models import ModelError, read_models
from frontiergate.dialects.openai import OPENAI
from frontiergate.dialects.operation import Operation
from frontiergate.dialects.places import Place
from frontiergate.domain.reason import Reason
from frontiergate.wire import jsonbody
from tests.fixtures.reading import read_pieces
from tests.fixtures.sources import of_sources

OPERATIONS = {f"{dialect.name} {operation.name}": operation for dialect in (OPENAI, ANTHROPIC) for operation in dialect.operations}
RESPONSES = OPERATIONS["openai responses"]
MESSAGES = OPERATIONS["anthropic messages"]
# A place that names models by a member of its own and by a list, and one that holds arrays of arrays.
OPERATIONS["made up"] = Operation(
    name="made.up",
    method=b"POST",
    path=b"/made/up",
    model_paths=(("model",), ("also",), ("also", "*", "*"), ("agent", "model"), ("agent", "svg", "model")),
)
TESTED = ("openai chat.completions", "openai responses", "anthropic messages", "made up")

# ---- documents: mostly JSON, mostly of the shape that an operation has

FRAGMENTS = [
    "a",
    "model",
    " ",
    "é",
    "漢",
    "😀",
    "\\n",
    "\\u0041",
    "\\u00e9",
    "\\ud83d\\ude00",
    "\\\\",
    '\\"',
    "\\/",
    "\\\\u00",
    ",",
    "{",
    "]",
    "x" * 9,
]
BAD_FRAGMENTS = ["\\ud83d", "\\ude00", "\\x", "\n", "\0", "\\u12", "\\"]
NAMES = st.sampled_from(['"a"', '"b"', '"c"', '"\\u0061"', '"model"', '"a-model-of-some-length"', '"\\ud83d\\ude00"', '"é"', '""'])
HARMLESS = ["user", "content", "é", "", "x" * 30, "type", "input", "metadata", "c\\u006fntent"]
KEYS = st.sampled_from(
    HARMLESS * 3 + ["model", "Model", "m\\u006fdel", "ｍodel", "model\\u0000x", "svg", "tools", "fallbacks", "route", "thread"]
)
STRINGS = st.lists(st.sampled_from(FRAGMENTS), max_size=30).map(lambda parts: f'"{"".join(parts)}"')
SCALARS = st.sampled_from(["null", "true", "false", "0", "-1.5e+3", "12", "9" * 150, "1e999"]) | NAMES | STRINGS
SPACES = st.sampled_from(["", "", "", " ", "\n\t ", " " * 90])


def array(items: list[str], space: str = "") -> str:
    return f"[{space}" + f",{space}".join(items) + f"{space}]"


def table(members: list[tuple[str, str]], space: str = "") -> str:
    return f"{{{space}" + f"{space},".join(f'"{key}"{space}:{space}{value}' for key, value in members) + f"{space}}}"


ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.builds(array, st.lists(inner, max_size=4), SPACES) | st.builds(table, st.lists(st.tuples(KEYS, inner), max_size=4), SPACES)
    ),
    max_leaves=8,
)


def shaped(where: Place) -> st.SearchStrategy[str]:
    """What can stand at `where`, and sometimes anything else."""
    choices = [ANYTHING]
    if where.names:
        choices += [NAMES] * 3
    if where.each is not None:
        choices += [st.builds(array, st.lists(shaped(where.each), max_size=5), SPACES)] * 3
    if where.members:
        choices += [st.builds(table, members(where.members), SPACES)] * 3
    return st.one_of(choices)


def members(places: dict[str, Place]) -> st.SearchStrategy[list[tuple[str, str]]]:
    """Members of these keys and of others, a few of them twice."""
    known = [st.tuples(st.just(key), shaped(where)) for key, where in places.items()]
    some = st.lists(st.one_of(*known, *known, st.tuples(KEYS, ANYTHING)), max_size=4)
    return some.map(lambda found: found if len(found) == 3 else list(dict(found).items()))


MEMBERS = {name: members(OPERATIONS[name].places) for name in TESTED}


@st.composite
def documents(draw: st.DrawFn, name: str) -> bytes:
    members = draw(MEMBERS[name])
    members.insert(draw(st.integers(0, len(members))), ("model", draw(st.just('"m"') | st.just('"m"') | NAMES | ANYTHING)))
    body = table(members, draw(SPACES)).encode()
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 1, 2]))):  # hostile: something is put in, left out or exchanged
        at, length = draw(st.integers(0, len(body))), draw(st.sampled_from([0, 0, 1, 5]))
        junk = draw(
            st.sampled_from(
                [
                    b"",
                    b",",
                    b"]",
                    b"}",
                    b"{",
                    b"[",
                    b'"',
                    b":",
                    b"\\",
                    b"1",
                    b"NaN",
                    b"\xff",
                    b"\xc3",
                    b"\xed\xa0\x80",
                    b"/**/",
                    b"\xef\xbb\xbf",
                ]
                + [f.encode() for f in BAD_FRAGMENTS]
            )
        )
        body = body[:at] + junk + body[at + length :]
    return body


@st.composite
def cut(draw: st.DrawFn, body: bytes) -> list[bytes]:
    at = sorted(draw(st.lists(st.integers(0, len(body)), max_size=6)))
    return [body[start:stop] for start, stop in zip([0, *at], [*at, len(body)], strict=True)]


def outcome(read: object, *args: object) -> list[str] | tuple[Reason, str]:
    try:
        return read(*args)  # type: ignore[operator, no-any-return]
    except ModelError as error:
        return (error.reason, error.message)


def same(pieces: object, whole: object) -> bool:
    """Equal, or refused where the whole body names a model by a string that is too long, which no catalogue has."""
    if pieces == whole:
        return True
    if isinstance(pieces, tuple) and isinstance(whole, tuple):
        return pieces[0] is whole[0]
    return (
        isinstance(whole, list)
        and isinstance(pieces, tuple)
        and pieces[0] is Reason.CALLER_MODEL_UNKNOWN
        and max(len(json.dumps(name)) for name in whole) > 20
    )


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(TESTED), st.integers(1, 60), st.booleans())
def test_a_body_in_pieces_comes_to_the_same_as_the_whole_body(data: st.DataObject, name: str, window: int, tight: bool) -> None:
    """The same names in the same order, or a refusal for the same reason; with bounds so tight that they are met, too."""
    operation, body = OPERATIONS[name], data.draw(documents(name))
    bounds = (4, 6, 8) if tight else (1000, 20_000, 1_000_000)
    with patch.multiple(jsonbody, MOST_MEMBERS=bounds[0], MOST_COMMAS=bounds[2]), patch.object(models, "_MOST_PARTS", bounds[1]):
        whole = outcome(read_models, operation, body)
        pieces = outcome(read_pieces, operation, data.draw(cut(body)), window)
    assert same(pieces, whole), (body, pieces, whole)


def refusal(operation: Operation, pieces: list[bytes], window: int, longest: int = 80) -> ModelError:
    with pytest.raises(ModelError) as caught:
        read_pieces(operation, pieces, window, longest)
    return caught.value


@pytest.mark.parametrize("window", [1, 10, 100, 1000])
def test_a_name_that_is_too_long_to_be_kept_is_that_of_no_model(window: int) -> None:
    name = b'"' + b"x" * 300 + b'"'
    for body in (
        b'{"model":' + name + b"}",
        b'{"model":"m","models":["a",' + name + b"]}",
        b'{"model":"m","fallbacks":[{"model":' + name + b"}]}",
    ):
        if window < 300:
            assert refusal(OPERATIONS["openai chat.completions"], [body], window).reason is Reason.CALLER_MODEL_UNKNOWN
        else:
            assert read_pieces(OPERATIONS["openai chat.completions"], [body], window)[-1] == "x" * 300


def test_a_long_key_is_told_from_others() -> None:
    long, other, sly = b"k" * 70, b"k" * 69 + b"l", b"model\\u0000" + b"k" * 70
    for window in (5, 50, 500):
        assert read_pieces(MESSAGES, [b'{"' + long + b'":1,"model":"m","' + other + b'":2}'], window, 300) == ["m"]
        twice = refusal(MESSAGES, [b'{"' + long + b'":1,"model":"m","' + long + b'":2}'], window, 300)
        assert twice.reason is Reason.CALLER_BODY_UNREADABLE
        assert "more than once" in twice.message
        assert refusal(MESSAGES, [b'{"model":"m","' + sly + b'":2}'], window, 300).reason is Reason.CALLER_MODEL_AMBIGUOUS


def test_what_is_wrong_where_nobody_would_have_looked_is_passed_over() -> None:
    """As in the whole body: `content` twice matters to a reader of `messages` that can hold a model's name, and to no other."""
    twice = b'{"model":"m","messages":[{"content":"' + b"x" * 100 + b'","content":[]},%s]}'
    for window in (1, 30, 200):
        assert read_pieces(MESSAGES, [twice % b"0"], window) == ["m"]
        assert refusal(MESSAGES, [twice % b'"MODEL"'], window).reason is Reason.CALLER_BODY_UNREADABLE


@pytest.mark.parametrize("head", [b'{"model":"m",', b'{"model":"m","tools":[{"model":"a",'])
@pytest.mark.parametrize("value", [b"0", b'{"x":[' + b"1," * 30 + b"1]}"])
def test_too_many_members_are_refused_wherever_the_windows_lie(head: bytes, value: bytes) -> None:
    members = [b'"k%d":%s' % (number, value) for number in range(12)]
    body = head + b",".join(members) + (b"}]}" if b"tools" in head else b"}")
    twice = body.replace(b'"k7"', b'"model"')
    for window in (3, 25, 200, 2000):
        assert read_pieces(RESPONSES, [body], window)[0] == "m"
        assert refusal(RESPONSES, [twice], window).reason is Reason.CALLER_MODEL_AMBIGUOUS
        with patch.object(jsonbody, "MOST_MEMBERS", 8):
            error = refusal(RESPONSES, [twice], window)
            assert error.reason is Reason.CALLER_BODY_UNREADABLE
            assert "more than 8 members" in error.message


def test_too_many_commas_are_seen_before_anything_else_is() -> None:
    body = b'{"model":"m","tools":[{"model":1},' + b"0," * 30 + b"0]}"
    with patch.object(jsonbody, "MOST_COMMAS", 20):
        whole = outcome(read_models, RESPONSES, body)
        for window in (1, 7, 30):
            assert outcome(read_pieces, RESPONSES, [body], window) == whole
    assert outcome(read_pieces, RESPONSES, [body], 7) == outcome(read_models, RESPONSES, body) != whole


def feed(operation: Operation, beginning: bytes, chunk: bytes, times: int) -> Iterator[ModelReader]:
    reader = ModelReader(operation)
    reader.feed(beginning)
    for _ in range(times):
        reader.feed(chunk)
        yield reader


@pytest.mark.parametrize(
    ("beginning", "chunk", "times"),
    [
        (b'{"model":"m","messages":[{"content":[{"source":{"data":"', b"QUJD" * 65536, 120),
        (b'{"model":"m","messages":[{"content":"', "漢字😀".encode() * 26214, 20),
        (b'{"model":"m","messages":[', b'{"role":"user","content":[{"type":"text","text":"' + b"x" * 4000 + b'"}]},', 500),
        (b'{"model":"m","messages":[', b'{"role":"user","content":"x"},' * 100, 100),
        (b'{"model":"m","input":', b"[" * 80, 10),
        (b'{"model":"m","tools":[', b'{"model":"x","input_schema":{"properties":{"a":{},"b":[1,2]}}},' * 60, 40),
        (b'{"model":"m","max_tokens":', b"1" * 65536, 40),
    ],
    ids=["base64", "characters", "texts", "messages", "depth", "tools", "digits"],
)
def test_memory_does_not_grow_with_the_body(beginning: bytes, chunk: bytes, times: int) -> None:
    """A megabyte at the most while a piece is read, a tenth of one between two pieces."""
    list(feed(MESSAGES, beginning, chunk, 1))
    tracemalloc.start()
    try:
        for number, _ in enumerate(feed(MESSAGES, beginning, chunk, times)):
            if number % 50 == 0:
                assert tracemalloc.get_traced_memory()[0] < 150_000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@of_sources
def test_one_look_at_each_part_and_no_more_than_there_may_be() -> None:
    """Work is counted, not timed: however the windows cut the body, each part is looked at once, up to the bound."""
    body = b'{"model":"m","tools":[' + b'{"model":"a","svg":{"model":"b"}},' * 100 + b"0]}"
    counted = 0
    look = models.Search.look

    def counting(*args: object) -> None:
        nonlocal counted
        counted += not isinstance(args[1], models.Looked)
        look(*args)  # type: ignore[arg-type]

    with patch.object(models.Search, "look", counting):
        read_models(RESPONSES, body)
        whole, counted = counted, 0
        read_pieces(RESPONSES, [body], 3000)
        assert whole - 3 <= counted <= whole
        counted = 0
        with patch.object(models, "_MOST_PARTS", 50):
            assert refusal(RESPONSES, [body], 300).reason is Reason.CALLER_BODY_UNREADABLE
        assert counted < 65


@of_sources
@pytest.mark.parametrize("window", [50, 300, 100_000])
def test_all_places_together_are_looked_into_no_further_than_one(window: int) -> None:
    """Else one window could hold five arrays that are each within the bound."""
    forty = b'{"model":"a"},' * 20
    body = b'{"model":"m","models":[' + b'"a",' * 39 + b'"a"],"tools":[' + forty + b'0],"fallbacks":[' + forty + b'"a"]}'
    looked = 0
    look = models.Search.look

    def counting(*args: object) -> None:
        nonlocal looked
        looked += not isinstance(args[1], models.Looked)
        look(*args)  # type: ignore[arg-type]

    with patch.object(models.Search, "look", counting), patch.object(models, "_MOST_PARTS", 45):
        whole = outcome(read_models, RESPONSES, body)
        at_most, looked = looked + 5, 0
        assert outcome(read_pieces, RESPONSES, [body], window, 5000) == whole
        assert looked <= at_most


def test_keys_that_have_to_be_folded_count_as_parts() -> None:
    """They cost as much; of a key that is too long to matter, neither reader keeps more than tells that it is not plain."""
    long = b"k" * 70 + b"L"
    for key, counted in ((b"lower", 0), (b"Upper", 1), ("é".encode(), 2), (long, 1), ("é".encode() * 70, 1), (long.lower(), 0)):
        body = b'{"model":"m","tools":[{"%b":0}, "model"]}' % key
        for bound in (3, 3 + counted - 1, 3 + counted):
            with patch.object(models, "_MOST_PARTS", bound):
                whole = outcome(read_models, RESPONSES, body)
                assert (whole == ["m"]) == (bound == 3 + counted)
                for window in (1, 20, 300):
                    assert outcome(read_pieces, RESPONSES, [body], window, 300) == whole


def test_a_container_that_cannot_name_models_counts_where_somebody_looks() -> None:
    """`moderation` is an object: a list counts as one part if it has the key somewhere in it, and as none if not."""
    body = b'{"model":"m","moderation":[%s],"input":[0,1,2,3]}'
    with patch.object(models, "_MOST_PARTS", 5):
        for inner in (b'"x"', b'"model"', b'{"model":[]}'):
            held = body.replace(b"3]", b'"model"]') % inner
            whole = outcome(read_models, RESPONSES, held)
            for window in (1, 5, 200):
                assert outcome(read_pieces, RESPONSES, [held], window) == whole
            assert (whole == ["m"]) == (b"model" not in inner)
