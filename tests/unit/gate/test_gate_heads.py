"""What goes upstream is written by the gate: which fields pass, which do not (P2, P6; BYPASSES 10, 11, 14, 15, 23, 25 to 32, 48)."""

import pytest

from tests.fixtures.gate import UPSTREAM_SECRET
from tests.fixtures.playbook import ANSWER, CHAT

MESSAGES = b"POST /v1/messages HTTP/1.1"


def _forwarded(gate, *fields, body=CHAT, **request):
    """The head that the upstream gets for a request with these fields."""
    client = gate.client()
    client.asks(body, *fields, **request)
    upstream = gate.upstream.accepts()
    head = upstream.gets_request(body)
    upstream.sends(ANSWER)
    client.gets_answer()
    upstream.gets_nothing()
    return head


def test_the_head_is_the_gates_own(play):
    gate = play()
    head = _forwarded(gate)
    assert head.line == "POST /v1/chat/completions HTTP/1.1"
    fields = head.without()
    assert fields.pop("x-gate-request-id") in gate.seen
    assert fields == {
        "host": gate.upstream.url.removeprefix("http://"),
        "accept-encoding": "identity",
        "authorization": f"Bearer {UPSTREAM_SECRET}",
        "content-type": "application/json",
        "content-length": str(len(CHAT)),
    }


def test_what_model_apis_read_passes_as_it_came(play):
    passed = {
        "accept": "application/json, text/event-stream",
        "accept-language": "de",
        "user-agent": "OpenAI/Python 3.54.0",
        "x-stainless-lang": "python",
        "X-Stainless-Retry-Count": "0",
        "OpenAI-Beta": "assistants=v2",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "x-request-id": "mine",
    }
    head = _forwarded(play(), *(f"{name}: {value}".encode() for name, value in passed.items()))
    fields = head.without("host", "accept-encoding", "authorization", "content-type", "content-length", "x-gate-request-id")
    assert fields == {name.lower(): value for name, value in passed.items()}


def test_a_dialects_own_fields_pass(play):
    head = _forwarded(play(), b"Anthropic-Version: 2023-06-01", b"anthropic-beta: a,b", line=MESSAGES)
    assert head.line == "POST /v1/messages HTTP/1.1"
    assert (head["anthropic-version"], head["anthropic-beta"]) == ("2023-06-01", "a,b")


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([b"cookie: session=1", b"set-cookie: a=b"], id="cookies"),
        pytest.param(
            [b"x-forwarded-for: 203.0.113.9", b"forwarded: for=203.0.113.9", b"x-real-ip: 203.0.113.9", b"true-client-ip: 203.0.113.9"],
            id="forwarding",
        ),
        pytest.param(
            [b"cf-ipcountry: US", b"x-geo-country: US", b"x-nationality: US", b"x-forwarded-user: root", b"x-client-cert: x"],
            id="identity-and-place",
        ),
        pytest.param([b"x-gate-verdict: forward", b"x-gate-request-id: mine", b"x-gate-reason: none"], id="the-gates-own"),
        pytest.param(
            [b"keep-alive: 5", b"te: trailers", b"trailer: x-model", b"proxy-connection: keep-alive", b"connection: keep-alive, x-request"],
            id="hop-by-hop",
        ),
        pytest.param(
            [b"user_agent: a", b"x_forwarded_for: 203.0.113.9", b"x-stainless_lang: a", b"content_type: text/plain", b"openai_beta: x"],
            id="underscores",
        ),
        pytest.param(
            [b"x-http-method-override: GET", b"x-method-override: GET", b"x-original-url: /v1/other", b"x-rewrite-url: /v1/other"],
            id="overrides",
        ),
        pytest.param(
            [
                b"x-model: other",
                b"openai-organization: o",
                b"openai-project: p",
                b"x-anything: 1",
                b"helicone-auth: x",
                b"x-portkey-config: x",
            ],
            id="unknown",
        ),
        pytest.param(
            [b"accept-encoding: gzip", b"range: bytes=0-1", b"if-none-match: x", b"origin: http://a", b"referer: http://a"], id="not-needed"
        ),
    ],
)
def test_other_fields_do_not_pass(play, fields):
    gate = play()
    assert _forwarded(gate, *fields).without("x-gate-request-id") == {
        "host": gate.upstream.url.removeprefix("http://"),
        "accept-encoding": "identity",
        "authorization": f"Bearer {UPSTREAM_SECRET}",
        "content-type": "application/json",
        "content-length": str(len(CHAT)),
    }


def test_the_callers_credential_stays_with_the_gate_in_every_header_that_carries_one(play):
    gate = play()
    token = gate.token().encode()
    head = _forwarded(gate, b"x-api-key: " + token, b"api-key: " + token, b"x-goog-api-key: " + token)
    assert [value for _, value in head.fields if gate.token() in value] == []
    assert head["authorization"] == f"Bearer {UPSTREAM_SECRET}"
    assert head["x-api-key"] is None


def test_a_configured_identity_header_carries_the_credential(play):
    gate = play(identity={"header": "X-Company-Token"})
    head = _forwarded(gate, b"x-company-token: " + gate.token().encode(), token=None)
    assert head["x-company-token"] is None


def test_an_upstream_behind_a_path_and_without_a_credential(play):
    gate = play(
        models=[{"id": "a/b", "names": ["gpt-open"], "dialects": ["openai"], "upstream": "bare"}],
        directives=[],
        upstreams={"bare": {"url": "http://127.0.0.1:1/x"}},
    )
    url = f"{gate.upstream.url}/proxy/"
    gate.reloads(upstreams={"bare": {"url": url}})
    head = _forwarded(gate)
    assert head.line == "POST /proxy/v1/chat/completions HTTP/1.1"
    assert head["authorization"] is None


def test_the_query_that_an_operation_has_passes(play):
    head = _forwarded(play(), b"anthropic-version: 2023-06-01", line=b"POST /v1/messages?beta=true HTTP/1.1")
    assert head.line == "POST /v1/messages?beta=true HTTP/1.1"


def test_a_body_in_chunks_goes_on_with_its_length(play):
    gate = play()
    client = gate.client()
    client.sends(gate.request(b"", b"content-type: application/json", b"transfer-encoding: chunked"), b'9;ext="x"\r\n{"model":\r\n')
    client.sends(b'3\r\n"gp\r\n7\r\nt-open"\r\n', b"1\r\n}\r\n0\r\nX-Trailer: model=other\r\n\r\n")
    upstream = gate.upstream.accepts()
    head = upstream.gets_request(b'{"model":"gpt-open"}')
    assert head["transfer-encoding"] is None
    assert head["x-trailer"] is None
    upstream.sends(ANSWER)
    client.gets_answer()


def test_a_body_passes_byte_for_byte(play):
    body = b'{ "model" : "gpt-open",\r\n\t"input":"\\u00e9\xc3\xa9 \\ud83d\\ude00", "n":1.0e+2, "deep":[[{"model":"other"}]] }\n'
    gate = play()
    _forwarded(gate, body=body)


@pytest.mark.parametrize(
    "value", [b"application/json; charset=utf-8", b"Application/JSON", b"application/json;charset=UTF-8", b" application/json "]
)
def test_the_content_type_is_written_anew(play, value):
    assert _forwarded(play(), content_type=value)["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("fields", "content_type"),
    [([], None), ([], b"text/plain"), ([], b"application/json; charset=utf-16"), ([b"content-type: text/plain"], b"application/json")],
)
def test_a_body_of_another_content_type_is_refused(play, fields, content_type):
    gate = play()
    client = gate.client()
    client.asks(CHAT, *fields, content_type=content_type)
    client.gets_refusal(415, "caller_content_type_unsupported")
    gate.upstream.gets_no_connection()


@pytest.mark.parametrize(
    "fields", [[b"content-encoding: gzip"], [b"content-encoding: identity, br"], [b"content-encoding: identity", b"content-encoding: gzip"]]
)
def test_an_encoded_body_is_refused(play, fields):
    gate = play()
    client = gate.client()
    client.asks(CHAT, *fields)
    client.gets_refusal(415, "caller_content_encoding_unsupported")
    gate.upstream.gets_no_connection()


def test_the_coding_identity_is_none(play):
    assert _forwarded(play(), b"content-encoding: Identity")["content-encoding"] is None


@pytest.mark.parametrize(
    ("status", "reason", "fields", "request_line"),
    [
        pytest.param(400, "caller_request_malformed", [b"host: other"], None, id="two hosts"),
        pytest.param(400, "caller_request_malformed", [b"expect: 200-ok"], None, id="unknown expectation"),
        pytest.param(400, "caller_request_malformed", [b"connection: upgrade"], None, id="connection upgrade"),
        pytest.param(400, "caller_request_malformed", [b"upgrade: h2c"], None, id="upgrade without connection"),
        pytest.param(404, "caller_operation_unknown", [], b"POST /v1/chat/completions/ HTTP/1.1", id="trailing slash"),
        pytest.param(404, "caller_operation_unknown", [], b"POST http://gate/v1/chat/completions HTTP/1.1", id="absolute form"),
        pytest.param(404, "caller_operation_unknown", [], b"POST /v1/%63hat/completions HTTP/1.1", id="encoded path"),
        pytest.param(404, "caller_operation_unknown", [], b"PUT /v1/chat/completions HTTP/1.1", id="another method"),
        pytest.param(400, "caller_query_unexpected", [], b"POST /v1/chat/completions?model=other HTTP/1.1", id="query"),
    ],
)
def test_a_request_that_is_readable_but_not_served_is_refused_before_anything_is_sent(play, status, reason, fields, request_line):
    gate = play()
    client = gate.client()
    client.asks(CHAT, *fields, **({"line": request_line} if request_line else {}))
    client.gets_refusal(status, reason)
    gate.upstream.gets_no_connection()


@pytest.mark.parametrize(
    "raw",
    [
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: +5\r\n\r\nhello",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999999\r\n\r\nhello",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\nhost: a\n\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost : a\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nx: a\r\n b\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nx: a\x00b\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nx\xc3\xa9: a\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n: a\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.2\r\nhost: a\r\n\r\n",
        b"POST /v1/chat/completions HTTP/2.0\r\nhost: a\r\n\r\n",
        b"POST /v1/chat/completions\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /v1/models HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n\x81\x05hello",
        b"GET /v1/models HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: x\r\n\r\nPRI * HTTP/2.0",
    ],
)
def test_what_is_not_valid_http_is_answered_once_and_closed(play, raw):
    gate = play()
    client = gate.client()
    gate.asked += 1
    client.sends(raw)
    refused = client.gets_head()
    assert (refused.status, refused["x-gate-reason"]) == (400, "caller_request_malformed")
    client.gets_body(int(refused["content-length"]))
    if refused["connection"] != "close":  # framed well enough to go on
        client.ends()
    else:
        client.is_dropped()
    gate.upstream.gets_no_connection()


@pytest.mark.parametrize(
    "body", [b"zz\r\n", b"ffffffffffffffffff\r\n", b"-1\r\n", b" 1\r\n", b"2\r\n{}x", b"2;a\n{}\r\n", b"0\r\nx\r\n\r\n"]
)
def test_a_body_in_broken_chunks_is_refused(play, body):
    gate = play()
    client = gate.client()
    client.sends(gate.request(b"", b"content-type: application/json", b"transfer-encoding: chunked"), body)
    assert client.gets_refusal(400, "caller_request_malformed")["closes"]
    client.is_dropped()
    gate.upstream.gets_no_connection()


def test_connect_is_answered_once_and_closed(play):
    gate = play()
    client = gate.client()
    client.asks(b"", line=b"CONNECT api.openai.com:443 HTTP/1.1")
    client.sends(b"\x16\x03\x01")
    client.gets_refusal(404, "caller_operation_unknown")
    client.is_dropped()
    gate.upstream.gets_no_connection()
