"""Keep-alive on both sides, and pipelining (DESIGN 5, what always holds; BYPASSES 24, 33)."""

import pytest

from tests.fixtures.playbook import ANSWER, CHAT, FRONTIER, LAST_CHUNK, STREAM, added, chunk


def test_the_second_request_uses_both_connections_again(play):
    gate = play()
    client = gate.client()
    client.asks()
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    upstream.sends(ANSWER)
    client.gets_answer()

    client.asks()
    upstream.gets_request()
    upstream.sends(ANSWER)
    client.gets_answer()
    gate.upstream.gets_no_connection()


def test_one_callers_connection_to_the_upstream_serves_another(play):
    gate = play()
    first, second = gate.client(), gate.client()
    first.asks()
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    upstream.sends(ANSWER)
    first.gets_answer()
    second.asks()
    upstream.gets_request()
    upstream.sends(STREAM, chunk(b"data: 1\n\n"), LAST_CHUNK)
    second.gets_stream()
    second.gets_data(b"data: 1\n\n")
    second.gets_last_chunk()
    first.asks()
    upstream.gets_request()  # also after a stream that ended well
    upstream.sends(ANSWER)
    first.gets_answer()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}", id="connection-close"),
        pytest.param(b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}", id="http-1.0"),
        pytest.param(ANSWER + b"x", id="a byte left over"),
        pytest.param(ANSWER + ANSWER, id="a second answer"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\nbody", id="204 with a body"),
    ],
)
def test_a_connection_that_is_not_clean_is_not_used_again(play, answer):
    gate = play()
    client = gate.client()
    client.asks()
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    upstream.sends(answer)
    assert client.gets_head().status in {200, 204}
    upstream.is_dropped()
    if b" 200 " in answer:
        client.gets(b"{}")
    client.asks()
    another = gate.upstream.accepts()
    another.gets_request()
    another.sends(ANSWER)
    client.gets_answer()


def test_bytes_that_nobody_asked_for_end_an_idle_connection(play):
    gate = play()
    client = gate.client()
    client.asks()
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    upstream.sends(ANSWER)
    client.gets_answer()
    upstream.sends(b'HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{"evil"}')
    upstream.is_dropped()
    client.asks()
    another = gate.upstream.accepts()
    another.gets_request()
    another.sends(ANSWER)
    client.gets_answer()


def test_a_connection_is_not_used_again_after_a_body_that_its_end_delimits(play):
    gate = play()
    client = gate.client()
    client.asks()
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    upstream.sends(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nword")
    client.gets_stream()
    client.gets_data(b"word")
    upstream.ends()
    client.gets_last_chunk()
    client.asks()
    another = gate.upstream.accepts()
    another.gets_request()
    another.sends(ANSWER)
    client.gets_answer()


def test_a_connection_is_not_used_again_after_an_answer_to_a_request_that_was_not_wholly_taken(play):
    gate = play()
    body = b'{"model":"gpt-open","input":"' + b"x" * (16 << 20) + b'"}'
    client = gate.client()
    client.asks(body)
    upstream = gate.upstream.accepts()
    upstream.gets_head()
    upstream.gets_body(1000)
    upstream.sends(ANSWER)
    client.gets_answer()
    client.asks()
    another = gate.upstream.accepts()
    another.gets_request()
    another.sends(ANSWER)
    client.gets_answer()


def test_an_upstream_that_closed_an_idle_connection_is_dialled_anew(play):
    gate = play()
    client = gate.client()
    client.asks()
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    upstream.sends(ANSWER)
    client.gets_answer()
    upstream.ends()
    gate.settle()
    client.asks()
    another = gate.upstream.accepts()
    another.gets_request()
    another.sends(ANSWER)
    client.gets_answer()


def test_no_more_idle_connections_are_kept_than_configured(play):
    gate = play(upstreams={"stub": {"idle_connections": 0}})
    client = gate.client()
    client.asks()
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    upstream.sends(ANSWER)
    client.gets_answer()
    upstream.is_dropped()


def test_a_request_beyond_the_upstreams_connections_is_refused_at_once(play):
    gate = play(upstreams={"stub": {"max_connections": 1}})
    first, second = gate.client(), gate.client()
    first.asks()
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    second.asks()
    assert second.gets_refusal(503, "gate_overloaded")["head"]["retry-after"] == "2"
    upstream.sends(ANSWER)
    first.gets_answer()
    second.asks()
    upstream.gets_request()
    upstream.sends(ANSWER)
    second.gets_answer()


def test_pipelined_requests_are_served_one_at_a_time_and_in_order(play):
    gate = play()
    client = gate.client()
    client.sends(
        gate.request(b'{"model":"gpt-open","n":1}'),
        gate.request(b'{"model":"gpt-open","n":2}'),
        gate.request(b"", line=b"GET /v1/nothing HTTP/1.1"),
    )
    upstream = gate.upstream.accepts()
    upstream.gets_request(b'{"model":"gpt-open","n":1}')
    upstream.gets_nothing()
    gate.upstream.gets_no_connection()
    upstream.sends(ANSWER.replace(b"{}", b"[]"))
    client.gets_answer(body=b"[]")
    upstream.gets_request(b'{"model":"gpt-open","n":2}')
    client.gets_nothing()
    upstream.sends(ANSWER)
    client.gets_answer()
    client.gets_refusal(404, "caller_operation_unknown")
    client.asks()
    upstream.gets_request()
    upstream.sends(ANSWER)
    client.gets_answer()


def test_pipelined_requests_with_large_bodies_wait_in_the_callers_buffers(play):
    gate = play()
    bodies = [b'{"model":"gpt-open","input":"' + b"%d" % number * 100_000 + b'"}' for number in range(8)]
    client = gate.client()
    client.sends(*(gate.request(body) for body in bodies))
    upstream = gate.upstream.accepts()
    for body in bodies:
        upstream.gets_request(body)
        upstream.sends(ANSWER)
        client.gets_answer()


def test_requests_pipelined_in_pieces_are_served(play):
    gate = play()
    client = gate.client()
    both = gate.request() + gate.request(FRONTIER)
    cut = len(both) // 2 + 7
    client.sends(both[:cut])
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    client.sends(both[cut:])
    upstream.sends(ANSWER)
    client.gets_answer()
    upstream.gets_request(FRONTIER)
    upstream.sends(ANSWER)
    client.gets_answer()


def test_a_pipelined_request_is_judged_by_the_policy_of_its_turn(play):
    gate = play()
    client = gate.client()
    client.sends(gate.request(CHAT), gate.request(FRONTIER))
    upstream = gate.upstream.accepts()
    upstream.gets_request(CHAT)
    gate.enforces(added("w-1", "openai/gpt-frontier", withdraw=True))
    upstream.sends(ANSWER)
    client.gets_answer()
    client.gets_refusal(451, "policy_withdrawn")
    upstream.gets_nothing()


def test_more_pipelined_requests_than_the_bound_are_not_read(play):
    gate = play()
    client = gate.client()
    client.sends(b"".join(gate.request() for _ in range(40)))
    upstream = gate.upstream.accepts()
    for _ in range(17):  # one in turn, 16 that wait
        upstream.gets_request()
        upstream.sends(ANSWER)
        client.gets_answer()
    client.is_dropped()
    gate.asked = 17


def test_what_waits_is_dropped_when_an_answer_closes_the_connection(play):
    gate = play()
    client = gate.client()
    client.sends(gate.request(CHAT, b"connection: close"), gate.request())
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    upstream.sends(ANSWER)
    assert client.gets_answer()["connection"] == "close"
    client.gets_end()
    upstream.gets_nothing()
    gate.asked = 1


def test_what_cannot_be_read_behind_a_request_is_answered_after_it(play):
    gate = play()
    client = gate.client()
    gate.asked = 1
    client.sends(gate.request(), b"no such thing\r\n\r\n")
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    upstream.sends(ANSWER)
    client.gets_answer()
    assert client.gets_refusal(400, "caller_request_malformed")["closes"]
    client.gets_end()


def test_a_caller_that_leaves_with_requests_pipelined_is_noticed(play):
    gate = play()
    client = gate.client()
    client.sends(gate.request(), gate.request())
    gate.asked = 1  # the second never had its turn
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    client.ends()
    upstream.is_dropped()


def test_connection_close_is_honoured(play):
    gate = play()
    client = gate.client()
    client.asks(CHAT, b"Connection: Close")
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    upstream.sends(ANSWER)
    assert client.gets_answer()["connection"] == "close"
    client.gets_end()
    assert gate.records()[0]["end"] == "complete"


def test_a_refusal_keeps_the_connection(play):
    gate = play()
    client = gate.client()
    client.asks(b'{"model":"nothing"}')
    assert not client.gets_refusal(404, "caller_model_unknown")["closes"]
    client.asks(b"{")
    assert not client.gets_refusal(400, "caller_body_unreadable")["closes"]
    client.asks(CHAT, token=None)
    assert not client.gets_refusal(401, "caller_credential_missing")["closes"]
    gate.upstream.gets_no_connection()


def test_an_answer_to_head_has_no_body(play):
    gate = play()
    client = gate.client()
    client.asks(b"", line=b"HEAD /v1/models HTTP/1.1")
    assert client.gets_head().status == 404
    client.asks(b"", line=b"GET /v1/nothing HTTP/1.1")
    client.gets_refusal(404, "caller_operation_unknown")


@pytest.mark.parametrize("second", [b"POST /v1/nothing HTTP/1.1", b"POST /v1/chat/completions HTTP/1.1"], ids=["refused", "served"])
def test_nothing_that_follows_a_request_answered_early_is_served(play, second):
    gate = play()
    client = gate.client()
    large = b"x" * 70_000
    client.sends(
        gate.request(large, line=b"POST /v1/nothing HTTP/1.1"),
        gate.request(large, line=second),
        gate.request(CHAT, b"expect: 100-continue"),
    )
    assert client.gets_refusal(404, "caller_operation_unknown")["closes"]
    client.gets_end()
    gate.asked = 1
