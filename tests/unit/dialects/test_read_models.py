"""Every model that a body can reach, or a refusal, read as a whole and while it arrives (P1; BYPASSES 1 to 9, 16)."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontiergate.dialects.anthropic import ANTHROPIC
from frontiergate.dialects.models import ModelError
from frontiergate.dialects.openai import OPENAI
from frontiergate.dialects.operation import REROUTING, Operation
from frontiergate.domain.reason import Reason
from frontiergate.wire import jsonbody
from tests.fixtures.reading import READERS, Read

OPERATIONS = {f"{dialect.name} {operation.name}": operation for dialect in (OPENAI, ANTHROPIC) for operation in dialect.operations}
CHAT = OPERATIONS["openai chat.completions"]
RESPONSES = OPERATIONS["openai responses"]
MESSAGES = OPERATIONS["anthropic messages"]
POSTS = [name for name, operation in OPERATIONS.items() if operation.method == b"POST"]


@pytest.fixture(params=READERS.values(), ids=READERS)
def read(request: pytest.FixtureRequest) -> Read:
    return request.param


def body(**members: object) -> bytes:
    return json.dumps({"model": "m", **members}).encode()


def refused(read: Read, operation: Operation, text: bytes) -> ModelError:
    with pytest.raises(ModelError) as caught:
        read(operation, text)
    assert caught.value.message == str(caught.value)
    return caught.value


@pytest.mark.parametrize("name", POSTS)
def test_an_ordinary_body_names_its_model(read: Read, name: str) -> None:
    assert read(OPERATIONS[name], b'{"model":"gpt-frontier","stream":true}') == ["gpt-frontier"]
    assert read(OPERATIONS[name], bytearray(b' {"stream": true, "model" : "gpt-\\u0066rontier"} \n')) == ["gpt-frontier"]


def test_names_are_passed_on_as_sent(read: Read) -> None:
    for name in ("M", " m", "m ", "m\0", "m\u200b", "ｍ", "ft:base:org::id", "a/b:free", "m.", "😀"):
        assert read(CHAT, json.dumps({"model": name}).encode()) == [name]
        assert read(CHAT, json.dumps({"model": name}, ensure_ascii=False).encode()) == [name]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"{}", Reason.CALLER_MODEL_MISSING),
        (b'{"model":null}', Reason.CALLER_MODEL_MISSING),
        (b'{"model":""}', Reason.CALLER_MODEL_MISSING),
        (b'{"metadata":{"model":"m"}}', Reason.CALLER_MODEL_MISSING),
        (b'{"model":["m"]}', Reason.CALLER_MODEL_AMBIGUOUS),
        (b'{"model":{"id":"m"}}', Reason.CALLER_MODEL_AMBIGUOUS),
        (b'{"model":1}', Reason.CALLER_MODEL_AMBIGUOUS),
        (b'{"model":true}', Reason.CALLER_MODEL_AMBIGUOUS),
        (b'{"model":"a","model":"b"}', Reason.CALLER_MODEL_AMBIGUOUS),
        (b'{"model":"a","model":"a"}', Reason.CALLER_MODEL_AMBIGUOUS),
        (b'{"model":"a","m\\u006fdel":"b"}', Reason.CALLER_MODEL_AMBIGUOUS),
        (b'{"Model":"a"}', Reason.CALLER_MODEL_AMBIGUOUS),
        (b'{"model":"a","MODEL":"b"}', Reason.CALLER_MODEL_AMBIGUOUS),
        (b'{"model":"a","\\u004dodel":"b"}', Reason.CALLER_MODEL_AMBIGUOUS),
        ('{"model":"a","ｍodel":"b"}'.encode(), Reason.CALLER_MODEL_AMBIGUOUS),
        ('{"model":"a","model\u017f":["b"]}'.encode(), Reason.CALLER_MODEL_AMBIGUOUS),
        (b'{"model":"a","Deployment_ID":"b"}', Reason.CALLER_MODEL_AMBIGUOUS),
        (b'{"model":"a","models":["b"],"Models":["c"]}', Reason.CALLER_MODEL_AMBIGUOUS),
        (b'{"model":"a","route":"x","route":null}', Reason.CALLER_MODEL_AMBIGUOUS),
        (b'{"model":"a","user":"x","user":"y"}', Reason.CALLER_BODY_UNREADABLE),
        (b'{"model":"\\ud83d"}', Reason.CALLER_BODY_UNREADABLE),
        (b'{"model":"m"} {"model":"b"}', Reason.CALLER_BODY_UNREADABLE),
        (b"[]", Reason.CALLER_BODY_UNREADABLE),
        (b"", Reason.CALLER_BODY_UNREADABLE),
    ],
    ids=repr,
)
def test_a_body_that_does_not_name_one_model_in_one_way_is_refused(read: Read, text: bytes, reason: Reason) -> None:
    assert refused(read, CHAT, text).reason is reason


def test_a_key_in_another_case_that_matters_to_nobody_passes(read: Read) -> None:
    assert read(CHAT, body(**{"User": 1, "µ": 2, "Metadata": {"Model": "x"}})) == ["m"]


def test_a_nested_model_that_is_no_model_passes(read: Read) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"model": {"type": "string"}}}}}]
    messages = [{"role": "user", "content": 'say {"model":"x"}'}, {"role": "user", "content": [{"type": "text", "text": "model"}]}]
    text = body(tools=tools, messages=messages, metadata={"model": "x", "models": ["y"]}, input="model")
    for name in POSTS:
        assert read(OPERATIONS[name], text) == ["m"]


@pytest.mark.parametrize(
    ("operation", "members", "names"),
    [
        ("openai chat.completions", {"models": ["a", "m", "b", "a"]}, ["m", "a", "b"]),
        ("openai chat.completions", {"fallbacks": ["a", {"model": "b", "x": 1}]}, ["m", "a", "b"]),
        ("openai chat.completions", {"moderation": {"model": "a"}}, ["m", "a"]),
        ("openai chat.completions", {"moderation": {}}, ["m"]),
        ("openai chat.completions", {"models": None, "fallbacks": None, "moderation": None, "route": None}, ["m"]),
        ("openai chat.completions", {"models": []}, ["m"]),
        ("openai completions", {"prompt": "say model", "models": ["a"]}, ["m", "a"]),
        ("openai embeddings", {"input": [[1, 2], [3]]}, ["m"]),
        (
            "openai responses",
            {"tools": [{"type": "image_generation", "model": "a", "svg": {"model": "b"}}, {"type": "web_search"}, "x", {"model": None}]},
            ["m", "a", "b"],
        ),
        ("openai responses", {"input": [{"tools": [{"model": "a", "svg": {"model": "b"}}]}, "x"]}, ["m", "a", "b"]),
        ("openai responses", {"input": "model", "store": True, "background": False, "conversation": None}, ["m"]),
        ("anthropic messages", {"fallbacks": [{"model": "a"}, {"model": "b"}]}, ["m", "a", "b"]),
        ("anthropic messages", {"tools": [{"name": "x"}, {"type": "advisor", "model": "a"}]}, ["m", "a"]),
        (
            "anthropic messages",
            {"messages": [{"content": "model"}, {"content": [{"type": "tool_addition", "tool": {"definition": {"model": "a"}}}]}]},
            ["m", "a"],
        ),
        ("anthropic messages", {"messages": [{"content": [{"type": "fallback", "to": {"model": "a"}}]}]}, ["m"]),
        ("anthropic messages", {"mcp_servers": [{"url": "x"}], "container": "c"}, ["m"]),
        ("anthropic messages.count_tokens", {"tools": [{"type": "advisor", "model": "a"}]}, ["m", "a"]),
    ],
    ids=str,
)
def test_each_model_that_the_request_can_reach_is_named(read: Read, operation: str, members: dict[str, object], names: list[str]) -> None:
    assert read(OPERATIONS[operation], body(**members)) == names
    escaped = body(**members).replace(b'"model"', b'"\\u006dodel"')
    assert read(OPERATIONS[operation], escaped) == names


@pytest.mark.parametrize(
    ("operation", "text", "field"),
    [
        (CHAT, b'{"model":"m","models":"a"}', "`models`"),
        (CHAT, b'{"model":"m","models":[1]}', "`models[0]`"),
        (CHAT, b'{"model":"m","models":["a",""]}', "`models[1]`"),
        (CHAT, b'{"model":"m","models":[["a"]]}', "`models[0]`"),
        (CHAT, b'{"model":"m","models":{"a":1}}', "`models`"),
        (CHAT, b'{"model":"m","models":false}', "`models`"),
        (CHAT, b'{"model":"m","fallbacks":[{"a":["b"]}]}', "`fallbacks[0]`"),
        (CHAT, b'{"model":"m","fallbacks":[null]}', "`fallbacks[0]`"),
        (CHAT, b'{"model":"m","fallbacks":[{"model":null}]}', "`fallbacks[0].model`"),
        (CHAT, b'{"model":"m","fallbacks":[{"Model":"a"}]}', "fallbacks[0].Model"),
        (CHAT, b'{"model":"m","fallbacks":[{"model":"a","model":"b"}]}', "'model'"),
        (CHAT, b'{"model":"m","moderation":{"model":1}}', "`moderation.model`"),
        (CHAT, b'{"model":"m","moderation":{"model":""}}', "`moderation.model`"),
        (CHAT, b'{"model":"m","moderation":{"MODEL":"a"}}', "moderation.MODEL"),
        (RESPONSES, b'{"model":"m","tools":[{"type":"x"},{"MODEL":"a"}]}', "tools[1].MODEL"),
        (RESPONSES, b'{"model":"m","tools":[{"svg":{"model":["a"]}}]}', "`tools[0].svg.model`"),
        (RESPONSES, b'{"model":"m","previous_response_id":"resp_1"}', "`previous_response_id`"),
        (RESPONSES, b'{"model":"m","Previous_Response_Id":"resp_1"}', "Previous_Response_Id"),
        (RESPONSES, b'{"model":"m","conversation":{"id":"conv_1"}}', "`conversation`"),
        (RESPONSES, b'{"model":"m","prompt":{"id":"pmpt_1"}}', "`prompt`"),
        (RESPONSES, b'{"model":"m","background":true}', "`background`"),
        (MESSAGES, b'{"model":"m","fallbacks":"default"}', "`fallbacks`"),
        (MESSAGES, b'{"model":"m","fallbacks":["a"]}', "`fallbacks[0]`"),
        (MESSAGES, b'{"model":"m","models":["a"]}', "`models`"),
        (MESSAGES, b'{"model":"m","thread":{"type":"create"}}', "`thread`"),
    ],
    ids=lambda part: part.name if isinstance(part, Operation) else repr(part),
)
def test_what_may_name_a_model_in_a_way_that_the_gate_does_not_know_is_refused(
    read: Read, operation: Operation, text: bytes, field: str
) -> None:
    error = refused(read, operation, text)
    assert error.reason is Reason.CALLER_MODEL_AMBIGUOUS
    assert field in error.message


@pytest.mark.parametrize("name", POSTS)
@pytest.mark.parametrize("key", sorted(REROUTING))
def test_a_key_that_reroutes_is_judged_or_refused_but_never_passed_over(read: Read, name: str, key: str) -> None:
    operation = OPERATIONS[name]
    text = body(**{key: ["other"] if key in operation.places else "other"})
    if key in operation.places and name.startswith("openai"):
        assert read(operation, text) == ["m", "other"]
    else:
        assert f"`{key}" in refused(read, operation, text).message
    assert read(operation, body(**{key: None})) == ["m"]


def test_very_many_parts_or_names_are_refused_in_bounded_time(read: Read) -> None:
    for text in (
        b'{"model":"m","input":[' + b'{"tools":[{},{},{},{},{},{},{},{}]},' * 50_000 + b'{"model":1}]}',
        b'{"model":"m","models":[' + b'"x",' * 900_000 + b'"x"]}',
        b'{"model":"m","models":[' + b'"x",' * 1_900_000 + b'"x"]}',
        b'{"model":"m","models":[' + b",".join(b'"%x"' % i for i in range(1 << 16, 19_000 + (1 << 16))) + b"]}",
    ):
        before = time.process_time()
        assert refused(read, RESPONSES, text).reason is Reason.CALLER_BODY_UNREADABLE
        assert time.process_time() - before < 2


KEYS = st.sampled_from(["model", "Model", "models", "Models", "fallbacks", "route", "user", "tools", "é"])
VALUES = st.sampled_from(['"a"', '"b"', '"\\u0061"', '""', "null", "1", '["a"]', '[{"model":"c"}]', '{"model":"c"}', "[]"])


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@settings(deadline=None)
@given(st.lists(st.tuples(KEYS, st.booleans(), VALUES), max_size=5), st.sampled_from(["", " ", "\n"]))
def test_what_is_read_is_what_every_parser_reads(read: Read, members: list[tuple[str, bool, str]], space: str) -> None:
    """First wins, last wins, keys in any case: whoever parses a body that the gate admits finds the gate's model."""
    written = [(f"\\u{ord(key[0]):04x}{key[1:]}" if escaped else key, value) for key, escaped, value in members]
    text = ("{" + f",{space}".join(f'"{key}":{space}{value}' for key, value in written) + "}").encode()
    try:
        names = read(CHAT, text)
    except ModelError:
        return
    pairs: list[tuple[str, object]] = json.loads(text, object_pairs_hook=list) if members else []
    models = [value for key, value in pairs if key.casefold() == "model"]
    assert models == [names[0]]
    alternatives = [value for key, value in json.loads(text).items() if key.casefold() in ("models", "fallbacks") and value]
    assert len(names) <= 1 + sum(len(value) for value in alternatives)
    for value in alternatives:
        assert {item if isinstance(item, str) else item["model"] for item in value} <= set(names)


def test_every_key_that_matters_is_short_enough_to_be_recognised() -> None:
    """`fold` gives up on longer ones."""
    for operation in OPENAI.operations + ANTHROPIC.operations:
        for key in operation.examined:
            assert jsonbody.fold(key.upper()) == key
