"""Which operation a request line means: byte-exact or none (P2; BYPASSES 13 to 15)."""

import pytest

from frontiergate.dialects.registry import DIALECTS, Route, Routes

ROUTES = Routes(DIALECTS.values())
ANTHROPIC = frozenset({b"anthropic-version", b"host"})
NONE: frozenset[bytes] = frozenset()


def match(method: bytes, target: bytes, marks: frozenset[bytes] = NONE) -> Route:
    route = ROUTES.match(method, target, marks)
    assert route is not None
    return route


@pytest.mark.parametrize(
    ("method", "target", "dialect", "operation"),
    [
        (b"POST", b"/v1/chat/completions", "openai", "chat.completions"),
        (b"POST", b"/v1/completions", "openai", "completions"),
        (b"POST", b"/v1/responses", "openai", "responses"),
        (b"POST", b"/v1/embeddings", "openai", "embeddings"),
        (b"GET", b"/v1/models", "openai", "models.list"),
        (b"POST", b"/v1/messages", "anthropic", "messages"),
        (b"POST", b"/v1/messages?beta=true", "anthropic", "messages"),
        (b"POST", b"/v1/messages/count_tokens?beta=true", "anthropic", "messages.count_tokens"),
    ],
)
def test_an_operation_is_found_by_method_and_path(method: bytes, target: bytes, dialect: str, operation: str) -> None:
    for marks in (NONE, ANTHROPIC) if target != b"/v1/models" else (NONE,):
        route = match(method, target, marks)
        assert (route.dialect.name, route.operation.name) == (dialect, operation)
        assert route.query_problem is None
        path, _, query = target.partition(b"?")
        assert (route.path, route.query, route.model_segment) == (path, query, None)


def test_marks_decide_where_two_dialects_share_a_path() -> None:
    assert match(b"GET", b"/v1/models").dialect.name == "openai"
    assert match(b"GET", b"/v1/models", ANTHROPIC).dialect.name == "anthropic"
    assert match(b"GET", b"/v1/models/m").dialect.name == "openai"
    assert match(b"GET", b"/v1/models/m", ANTHROPIC).dialect.name == "anthropic"
    assert match(b"GET", b"/v1/models?limit=5&after_id=x", ANTHROPIC).query_problem is None


def test_without_the_default_dialect_the_other_answers() -> None:
    routes = Routes([DIALECTS["anthropic"]])
    assert routes.match(b"GET", b"/v1/models?limit=1", NONE) is not None
    assert routes.dialect_for(b"/", NONE).name == "anthropic"


@pytest.mark.parametrize(
    "target",
    [
        b"",
        b"/",
        b"*",
        b"/v1",
        b"/v1/chat/completions/",
        b"/V1/chat/completions",
        b"/v1/chat/Completions",
        b"//v1/chat/completions",
        b"/v1//chat/completions",
        b"/v1/./chat/completions",
        b"/v1/x/../chat/completions",
        b"/v1/chat%2fcompletions",
        b"/v1/chat%2Fcompletions",
        b"/v1/%63hat/completions",
        b"/v1/%2563hat/completions",
        b"/v1/chat/completions;x",
        b"/v1/chat/completions;x=1?a=b",
        b"/v1\\chat\\completions",
        b"/v1/chat/completions#x",
        b"/v1/chat/completions?x#y",
        b"/v1/chat/completions\x00",
        b"/v1/chat/completions%00",
        b"/v1/chat/completions%3Fx",
        b"/v1/chat/\xc0\xafcompletions",
        b"http://gate.example/v1/chat/completions",
        b"gate.example:443",
        b"/v1/chat/completions/resp_1",
        b"/openai/v1/chat/completions",
        b"/v1/messages/batches",
        b"/v1/models/",
    ],
)
def test_a_path_that_is_not_written_as_in_the_table_is_unknown(target: bytes) -> None:
    for method in (b"POST", b"GET"):
        assert ROUTES.match(method, target, NONE) is None


@pytest.mark.parametrize("method", [b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"PATCH", b"TRACE", b"CONNECT", b"post", b""])
def test_no_other_method_is_offered(method: bytes) -> None:
    for target in (b"/v1/chat/completions", b"/v1/models", b"/v1/models/m", b"/v1/messages?beta=true"):
        assert ROUTES.match(method, target, NONE) is None


@pytest.mark.parametrize(
    ("target", "segment"),
    [
        (b"/v1/models/gpt-frontier", b"gpt-frontier"),
        (b"/v1/models/anthropic/claude", b"anthropic/claude"),
        (b"/v1/models/anthropic%2Fclaude", b"anthropic/claude"),
        (b"/v1/models/a%252Fb", b"a%2Fb"),
        (b"/v1/models/a%zzb", b"a%zzb"),
        (b"/v1/models/a%2", b"a%2"),
        (b"/v1/models/%C3%A9", "é".encode()),
        (b"/v1/models/%C0%AF", b"\xc0\xaf"),
        (b"/v1/models/../chat", b"../chat"),
        (b"/v1/models/A/", b"A/"),
    ],
)
def test_a_model_in_the_path_is_decoded_exactly_once(target: bytes, segment: bytes) -> None:
    assert match(b"GET", target).model_segment == segment


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        (b"/v1/chat/completions?model=x", "'model' is not"),
        (b"/v1/messages?beta=true&model=x", "'model' is not"),
        (b"/v1/messages?%62eta=true", "'%62eta' is not"),
        (b"/v1/messages?Beta=true", "'Beta' is not"),
        (b"/v1/messages?beta=true&beta=false", "'beta' occurs more than once"),
        (b"/v1/messages?beta=true;model=x", "`;`"),
        (b"/v1/messages?beta=true&", "'' is not"),
        (b"/v1/messages?beta[]=true", "'beta[]' is not"),
        (b"/v1/messages?" + b"k" * 9000, "k" * 64),
        (b"/v1/models?limit=1", "(none)"),
    ],
)
def test_a_query_that_the_operation_does_not_have_is_a_problem(target: bytes, problem: str) -> None:
    route = match(b"GET" if b"models" in target else b"POST", target)
    assert route.query_problem is not None
    assert problem in route.query_problem
    assert len(route.query_problem) < 200


def test_an_empty_query_is_none() -> None:
    assert match(b"POST", b"/v1/chat/completions?").query_problem is None


@pytest.mark.parametrize(
    ("target", "marks", "name"),
    [
        (b"/nowhere", NONE, "openai"),
        (b"/nowhere", ANTHROPIC, "anthropic"),
        (b"/v1/messages/batches?x", NONE, "anthropic"),
        (b"/v1/messages", NONE, "anthropic"),
        (b"/v1/messagesx", NONE, "openai"),
        (b"/v1/chat/completions/x", NONE, "openai"),
        (b"/v1/models/x/y", NONE, "openai"),
        (b"\xff", NONE, "openai"),
    ],
)
def test_an_unknown_target_is_answered_in_the_likeliest_shape(target: bytes, marks: frozenset[bytes], name: str) -> None:
    assert ROUTES.dialect_for(target, marks).name == name
