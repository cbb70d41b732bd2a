"""Answers of the upstream, good and bad (DESIGN 5, what always holds; BYPASSES 20, 31, 33)."""

import pytest

from tests.fixtures.playbook import ANSWER, CHAT, LAST_CHUNK, chunk


def _asked(play, *fields, line=b"POST /v1/chat/completions HTTP/1.1", **config):
    """A caller that has asked, and the upstream that has the request."""
    gate = play(**config)
    client = gate.client()
    client.asks(CHAT, *fields, line=line)
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    return gate, client, upstream


def test_an_answer_with_a_length_passes_as_it_came(play):
    gate, client, upstream = _asked(play)
    upstream.sends(
        b"HTTP/1.1 200 Fine\r\nContent-Type: application/json\r\nX-RateLimit: 5\r\nRequest-Id: u-1\r\nContent-Length: 14\r\n\r\n",
        b'{"a":"\xff\x00\r\n"}\n ',
    )
    head = client.gets_head()
    assert head.line == "HTTP/1.1 200 OK"
    assert head.without("x-gate-request-id") == {
        "content-type": "application/json",
        "x-ratelimit": "5",
        "request-id": "u-1",
        "content-length": "14",
        "x-gate-verdict": "forward",
    }
    client.gets(b'{"a":"\xff\x00\r\n"}\n ')
    client.gets_nothing()
    record = gate.records()[0]
    assert (record["end"], record["status"], record["bytes_in"], record["bytes_out"]) == ("complete", 200, len(CHAT), 14)


def test_an_answer_in_chunks_passes_in_chunks(play):
    _, client, upstream = _asked(play)
    upstream.sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n", b"3;x=y\r\none\r\n")
    client.gets_stream()
    client.gets_data(b"one")
    upstream.sends(b"3\r\ntwo\r\n0\r\nx-sum: 1\r\n\r\n")
    client.gets_data(b"two")
    client.gets_last_chunk()
    client.gets_nothing()


def test_an_answer_that_its_connections_end_delimits_passes_in_chunks(play):
    _, client, upstream = _asked(play)
    upstream.sends(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n", b"one")
    client.gets_stream()
    client.gets_data(b"one")
    upstream.sends(b"two")
    client.gets_data(b"two")
    client.gets_nothing()
    upstream.ends()
    client.gets_last_chunk()


def test_an_answer_of_an_http_1_0_upstream_passes(play):
    _, client, upstream = _asked(play)
    upstream.sends(b"HTTP/1.0 200 OK\r\n\r\none")
    upstream.ends()
    client.gets_stream()
    client.gets_data(b"one")
    client.gets_last_chunk()


def test_an_answer_that_a_reset_ends_is_cut(play):
    gate, client, upstream = _asked(play)
    upstream.sends(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\none")
    client.gets_stream()
    client.gets_data(b"one")
    upstream.resets()
    client.gets_cut()
    assert gate.records()[0]["end"] == "upstream_broke"


@pytest.mark.parametrize(
    ("status", "length"),
    [(204, b""), (304, b""), (304, b"content-length: 10\r\n"), (204, b"content-length: 0\r\n"), (304, b"transfer-encoding: chunked\r\n")],
)
def test_an_answer_that_cannot_have_a_body_has_none(play, status, length):
    _, client, upstream = _asked(play)
    upstream.sends(b"HTTP/1.1 %d X\r\netag: a\r\n%b\r\n" % (status, length))
    head = client.gets_head()
    assert head.status == status
    assert head.without("x-gate-request-id") == {"etag": "a", "x-gate-verdict": "forward"}
    client.asks(b"", line=b"GET /v1/nothing HTTP/1.1")
    client.gets_refusal(404, "caller_operation_unknown")


def test_an_empty_answer_passes(play):
    _, client, upstream = _asked(play)
    upstream.sends(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
    client.gets_answer(202, b"")


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422, 429, 500, 503, 529])
def test_the_upstreams_own_errors_pass(play, status):
    _, client, upstream = _asked(play)
    upstream.sends(b"HTTP/1.1 %d X\r\nretry-after: 3\r\nx-should-retry: true\r\ncontent-length: 7\r\n\r\nsorry!!" % status)
    head = client.gets_answer(status, b"sorry!!")
    assert (head["retry-after"], head["x-should-retry"], head["x-gate-verdict"], head["x-gate-reason"]) == ("3", "true", "forward", None)


def test_interim_answers_are_not_the_answer(play):
    _, client, upstream = _asked(play)
    upstream.sends(
        b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\nlocation: http://elsewhere/\r\n\r\n"
    )
    client.gets_nothing()
    upstream.sends(ANSWER)
    head = client.gets_answer()
    assert (head["link"], head["location"]) == (None, None)


def test_interim_answers_may_come_with_the_answer(play):
    _, client, upstream = _asked(play)
    upstream.sends(b"HTTP/1.1 102 Processing\r\n\r\n" * 8, ANSWER)
    client.gets_answer()
    client.asks()
    upstream.gets_request()  # they do not spoil the connection
    upstream.sends(b"HTTP/1.1 102 Processing\r\n\r\n" * 8, ANSWER)
    client.gets_answer()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 102 Processing\r\n\r\n" * 9, id="too many interim answers"),
        pytest.param(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n\x81\x05hello", id="101"),
        pytest.param(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", id="101 without upgrade"),
        pytest.param(b"no such thing\r\n\r\n", id="not HTTP"),
        pytest.param(b"HTTP/1.1 99 X\r\ncontent-length: 0\r\n\r\n", id="status of two digits"),
        pytest.param(b"HTTP/1.1 999 X\r\ncontent-length: 0\r\n\r\n", id="status beyond 599"),
        pytest.param(b"HTTP/1.1 600 X\r\ntransfer-encoding: chunked\r\n\r\n", id="status 600"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", id="CL and TE"),
        pytest.param(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n0\r\n\r\n", id="TE and CL"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}", id="two CL"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\n{}", id="negative CL"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 0x2\r\n\r\n{}", id="hexadecimal CL"),
        pytest.param(b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n{}", id="unknown TE"),
        pytest.param(b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", id="two TE"),
        pytest.param(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", id="TE twice"),
        pytest.param(b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 2\r\n\r\n{}", id="obs-fold"),
        pytest.param(b"HTTP/1.1 200 OK\r\nx: a\x00b\r\ncontent-length: 2\r\n\r\n{}", id="NUL"),
        pytest.param(b"HTTP/1.1 200 OK\r\nx : a\r\ncontent-length: 2\r\n\r\n{}", id="space before the colon"),
        pytest.param(b"HTTP/1.1 200 OK\nx: a\ncontent-length: 2\n\n{}", id="bare LF"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"x: a\r\n" * 300 + b"content-length: 2\r\n\r\n{}", id="too many fields"),
        pytest.param(b"HTTP/1.1 200 OK\r\nx: " + b"a" * 300_000, id="huge head"),
        pytest.param(b"HTTP/1.1 302 Found\r\nlocation: https://elsewhere.example/v1\r\ncontent-length: 0\r\n\r\n", id="redirect elsewhere"),
        pytest.param(b"HTTP/1.1 307 X\r\nlocation: //elsewhere.example/v1\r\ncontent-length: 0\r\n\r\n", id="redirect by authority"),
        pytest.param(b"HTTP/1.1 307 X\r\nlocation: /\\elsewhere.example/v1\r\ncontent-length: 0\r\n\r\n", id="redirect by backslash"),
        pytest.param(b"HTTP/1.1 401 X\r\nwww-authenticate: Bearer\r\ncontent-length: 30\r\n\r\nsk-upstream-secret-never-shown!", id="401"),
        pytest.param(b"HTTP/1.1 407 X\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n", id="407"),
    ],
)
def test_an_answer_that_must_not_pass_is_a_502(play, answer):
    gate, client, upstream = _asked(play)
    upstream.sends(answer)
    refused = client.gets_refusal(502, "upstream_broke")
    assert not refused["closes"]
    assert "sk-upstream" not in str(refused)
    upstream.is_dropped()
    assert gate.records()[0] | {"end": "refused", "status": 502, "reason": "upstream_broke", "bytes_out": 0} == gate.records()[0] | {
        "bytes_out": 0
    }
    client.asks()
    another = gate.upstream.accepts()
    another.gets_request()
    another.sends(ANSWER)
    client.gets_answer()


def test_a_relative_redirect_passes(play):
    _, client, upstream = _asked(play)
    upstream.sends(b"HTTP/1.1 307 X\r\nlocation: /v1/chat/completions\r\ncontent-length: 0\r\n\r\n")
    assert client.gets_answer(307, b"")["location"] == "/v1/chat/completions"


@pytest.mark.parametrize("ending", ["ends", "resets"])
@pytest.mark.parametrize(
    "said",
    [b"", b"HTTP/1.1 200 OK\r\ncontent-le", b"HTTP/1.1 103 Early Hints\r\n\r\n"],
    ids=["nothing", "half a head", "an interim answer"],
)
def test_an_upstream_that_leaves_before_its_answer_is_a_502(play, said, ending):
    gate, client, upstream = _asked(play)
    upstream.sends(said)
    gate.settle()
    getattr(upstream, ending)()
    client.gets_refusal(502, "upstream_broke")
    gate.upstream.gets_no_connection()  # a request is never sent a second time


@pytest.mark.parametrize("ending", ["ends", "resets"])
def test_a_body_that_is_cut_short_is_cut_short_for_the_caller(play, ending):
    gate, client, upstream = _asked(play)
    upstream.sends(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
    assert client.gets_head()["content-length"] == "10"
    client.gets(b"half")
    getattr(upstream, ending)()
    client.gets_cut()
    record = gate.records()[0]
    assert (record["end"], record["reason"], record["status"], record["bytes_out"]) == ("upstream_broke", "upstream_broke", 200, 4)


@pytest.mark.parametrize(
    "then", [b"", b"0\r\n", b"zz\r\n", b"5\r\nab"], ids=["no last chunk", "half a last chunk", "not a chunk", "half a chunk"]
)
def test_chunks_that_do_not_end_are_cut_for_the_caller(play, then):
    gate, client, upstream = _asked(play)
    upstream.sends(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", chunk(b"one"))
    client.gets_stream()
    client.gets_data(b"one")
    upstream.sends(then)
    gate.settle()
    upstream.ends()
    if then == b"5\r\nab":
        client.gets_data(b"ab")
    client.gets_cut()
    assert gate.records()[0]["end"] == "upstream_broke"


def test_an_http_1_0_caller_gets_no_chunks(play):
    _, client, upstream = _asked(play, line=b"POST /v1/chat/completions HTTP/1.0")
    upstream.sends(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", chunk(b"one", b"two"))
    head = client.gets_head()
    assert (head["transfer-encoding"], head["content-length"], head["connection"]) == (None, None, "close")
    client.gets(b"onetwo")
    upstream.sends(LAST_CHUNK)
    client.gets_end()


def test_an_http_1_0_caller_sees_a_cut(play):
    _, client, upstream = _asked(play, line=b"POST /v1/chat/completions HTTP/1.0")
    upstream.sends(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", chunk(b"one"))
    client.gets_head()
    client.gets(b"one")
    upstream.ends()
    client.gets_cut()


def test_an_http_1_0_caller_keeps_its_connection_where_it_asks_for_it_and_the_length_is_known(play):
    _, client, upstream = _asked(play, b"connection: keep-alive", line=b"POST /v1/chat/completions HTTP/1.0")
    upstream.sends(ANSWER)
    client.gets_answer()
    client.asks(CHAT, line=b"POST /v1/chat/completions HTTP/1.0")
    upstream.gets_request()
    upstream.sends(ANSWER)
    assert client.gets_answer()["connection"] == "close"
    client.gets_end()


def test_what_speaks_of_the_hop_or_of_the_gates_account_is_not_relayed(play):
    _, client, upstream = _asked(play)
    dropped = [
        "set-cookie: a=b",
        "set-cookie: c=d",
        "Keep-Alive: timeout=5",
        "proxy-connection: keep-alive",
        "alt-svc: h3",
        "strict-transport-security: max-age=1",
        "trailer: x",
        "te: trailers",
        "upgrade: h2c",
        "x-gate-verdict: refuse",
        "X-Gate-Anything: 1",
        "authorization: Bearer secret",
        "x-api-key: secret",
        "x_odd: 1",
        "x-secret-of-the-hop: 1",
        "connection: keep-alive, X-Secret-Of-The-Hop",
    ]
    upstream.sends(b"HTTP/1.1 200 OK\r\n", "".join(f"{line}\r\n" for line in dropped).encode(), b"x-kept: 1\r\ncontent-length: 2\r\n\r\n{}")
    head = client.gets_answer()
    assert head.without("x-gate-request-id") == {"x-kept": "1", "content-length": "2", "x-gate-verdict": "forward"}


def test_an_upstream_that_cannot_be_reached_is_a_502(play):
    gate = play()
    gate.upstream.closes()
    client = gate.client()
    client.asks()
    assert not client.gets_refusal(502, "upstream_unreachable")["closes"]
    client.asks()
    client.gets_refusal(502, "upstream_unreachable")


def test_an_upstream_whose_name_does_not_resolve_is_a_502(play):
    gate = play(upstreams={"stub": {"url": "http://upstream.invalid"}})
    client = gate.client()
    client.asks()
    client.gets_refusal(502, "upstream_unreachable")
