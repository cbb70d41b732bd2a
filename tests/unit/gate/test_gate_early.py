"""Answers before the request has wholly come: Expect: 100-continue, early answers, large bodies refused (RFC 9110 10.1.1, RFC 9112 9.6)."""

import pytest

from tests.fixtures.playbook import ANSWER, CHAT, FRONTIER

EXPECTS = b"Expect: 100-Continue"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def test_a_caller_that_waits_for_100_gets_it_where_its_head_is_good(play):
    gate = play()
    client = gate.client()
    client.sends(gate.request(b"", EXPECTS, b"content-type: application/json", length=str(len(CHAT)).encode()))
    client.gets(CONTINUE)
    client.sends(CHAT)
    upstream = gate.upstream.accepts()
    assert upstream.gets_request()["expect"] is None
    upstream.sends(ANSWER)
    client.gets_answer()


def test_a_caller_that_waits_for_100_behind_another_request_gets_it_in_its_turn(play):
    gate = play()
    client = gate.client()
    client.asks()
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    client.sends(gate.request(b"", EXPECTS, b"content-type: application/json", length=str(len(CHAT)).encode()))
    client.gets_nothing()
    upstream.sends(ANSWER)
    client.gets_answer()
    client.gets(CONTINUE)
    client.sends(CHAT)
    upstream.gets_request()
    upstream.sends(ANSWER)
    client.gets_answer()


def test_a_caller_that_does_not_wait_may_get_100_too(play):
    gate = play()
    client = gate.client()
    client.asks(CHAT, EXPECTS)
    client.gets(CONTINUE)
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    upstream.sends(ANSWER)
    client.gets_answer()


def test_an_http_1_0_caller_gets_no_interim_answer(play):
    gate = play()
    client = gate.client()
    client.asks(CHAT, EXPECTS, line=b"POST /v1/chat/completions HTTP/1.0")
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    upstream.sends(ANSWER)
    client.gets_answer()


@pytest.mark.parametrize(
    ("status", "reason", "request_parts"),
    [
        (401, "caller_credential_missing", {"token": None}),
        (404, "caller_operation_unknown", {"line": b"POST /v1/nothing HTTP/1.1"}),
        (415, "caller_content_type_unsupported", {"content_type": None}),
        (413, "caller_body_too_large", {"length": b"999999999999"}),
    ],
)
def test_a_caller_that_waits_for_100_is_refused_instead_where_its_head_is_bad(play, status, reason, request_parts):
    gate = play()
    client = gate.client()
    fields = [EXPECTS, b"content-type: application/json"] if "content_type" not in request_parts else [EXPECTS]
    client.sends(gate.request(b"", *fields, **{"length": b"100", **request_parts}))
    assert client.gets_refusal(status, reason)["closes"]
    client.gets_end()


def test_a_large_body_is_refused_before_it_is_read_and_the_answer_arrives(play):
    gate = play()
    client = gate.client()
    gate.asked += 1
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\n"
    client.sends(head, b"x" * 4_000_000)
    assert client.gets_refusal(401, "caller_credential_missing")["closes"]
    client.sends(b"x" * 4_000_000)  # what it still sends is thrown away: no reset loses the answer
    client.gets_end()
    client.ends()
    assert gate.records()[0]["end"] == "refused"


def test_a_body_larger_than_the_limit_is_refused_before_it_is_read(play):
    gate = play(limits={"body": "100KiB"})
    client = gate.client()
    client.sends(gate.request(b"", b"content-type: application/json", length=b"102401"))
    assert client.gets_refusal(413, "caller_body_too_large")["closes"]
    client.gets_end()


@pytest.mark.parametrize("limit", ["100KiB", "1KiB"])
def test_a_body_in_chunks_is_refused_once_it_is_larger_than_the_limit(play, limit):
    gate = play(limits={"body": limit})
    client = gate.client()
    client.sends(gate.request(b"", b"content-type: application/json", b"transfer-encoding: chunked"))
    client.gets_nothing()
    client.sends(b"1d000\r\n", b"x" * 0x1D000)
    assert client.gets_refusal(413, "caller_body_too_large")["closes"]
    client.gets_end()


def test_a_small_body_in_chunks_beyond_the_limit_keeps_the_connection(play):
    gate = play(limits={"body": "1KiB"})
    client = gate.client()
    client.sends(
        gate.request(b"", b"content-type: application/json", b"transfer-encoding: chunked"), b"401\r\n", b"x" * 0x401, b"\r\n0\r\n\r\n"
    )
    assert not client.gets_refusal(413, "caller_body_too_large")["closes"]
    client.asks(b"", line=b"GET /v1/nothing HTTP/1.1")
    client.gets_refusal(404, "caller_operation_unknown")


def test_a_body_as_large_as_the_limit_passes(play):
    gate = play(limits={"body": "1KiB"})
    body = b'{"model":"gpt-open"}' + b" " * 1004
    client = gate.client()
    client.asks(body)
    upstream = gate.upstream.accepts()
    upstream.gets_request(body)
    upstream.sends(ANSWER)
    client.gets_answer()


def test_the_body_of_a_refused_request_is_read_so_that_the_connection_lives_on(play):
    gate = play()
    client = gate.client()
    client.asks(b"x" * 60_000, line=b"POST /v1/nothing HTTP/1.1")
    assert not client.gets_refusal(404, "caller_operation_unknown")["closes"]
    client.asks(FRONTIER, token=gate.token(us_person=False))
    assert not client.gets_refusal(451, "policy_us_person")["closes"]


def test_an_early_answer_of_the_upstream_reaches_the_caller_while_the_body_still_goes(play):
    gate = play()
    body = b'{"model":"gpt-open","input":"' + b"x" * (16 << 20) + b'"}'
    client = gate.client()
    client.asks(body)
    upstream = gate.upstream.accepts()
    upstream.gets_head()
    upstream.sends(b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 4\r\n\r\nmuch")
    client.gets_answer(413, b"much")
    client.asks()
    another = gate.upstream.accepts()
    another.gets_request()
    another.sends(ANSWER)
    client.gets_answer()


def test_a_large_body_reaches_a_slow_upstream_whole(play):
    gate = play()
    body = b'{"model":"gpt-open","input":"' + b"0123456789" * (1 << 20) + b'"}'
    client = gate.client()
    client.asks(body)
    upstream = gate.upstream.accepts()
    upstream.gets_request(body)
    upstream.sends(ANSWER)
    client.gets_answer()
    client.asks()
    upstream.gets_request()
    upstream.sends(ANSWER)
    client.gets_answer()
