"""Every phase has a deadline, every buffer a bound (DESIGN 5; BYPASSES 31, 79). Deadlines are kept to 0.25 s, so tests wait that long."""

import pytest

from tests.fixtures.playbook import ANSWER, CHAT, STREAM, chunk, unanswered

SOON = "100ms"


def _asked(gate):
    client = gate.client()
    client.asks()
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    return client, upstream


def test_a_connection_on_which_nothing_comes_is_closed(play):
    client = play(limits={"idle": SOON}).client()
    client.is_dropped()


def test_a_connection_that_idles_after_an_answer_is_closed(play):
    gate = play(limits={"idle": SOON})
    client, upstream = _asked(gate)
    upstream.sends(ANSWER)
    client.gets_answer()
    client.is_dropped()


def test_a_head_that_does_not_come_in_time_is_refused(play):
    gate = play(limits={"head_timeout": SOON})
    client = gate.client()
    client.sends(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nx")
    gate.asked += 1
    assert client.gets_refusal(408, "caller_too_slow")["closes"]
    client.is_dropped()


def test_a_head_that_dribbles_is_refused_all_the_same(play):
    gate = play(limits={"head_timeout": "500ms"})
    client = gate.client()
    client.sends(b"POST /v1/chat/completions HTTP/1.1\r\n")
    gate.asked += 1
    gate.settle()
    for _ in range(200):
        if client.can_read():
            break
        client.sends(b"x-a: b\r\n")
        client.waits(0.01)
    client.gets_refusal(408, "caller_too_slow")


def test_a_body_that_does_not_come_in_time_is_refused(play):
    gate = play(limits={"body_timeout": SOON})
    client = gate.client()
    client.sends(gate.request(b'{"model"', b"content-type: application/json", length=b"100"))
    assert client.gets_refusal(408, "caller_too_slow")["closes"]
    client.is_dropped()


def test_the_rest_of_a_request_has_its_time_from_its_turn_on(play):
    gate = play(limits={"head_timeout": SOON, "body_timeout": SOON, "first_byte_timeout": "5s"})
    client, upstream = _asked(gate)
    second = gate.request()
    client.sends(second[:10])
    client.waits(0.6)
    client.gets_nothing()
    upstream.sends(ANSWER)
    client.gets_answer()
    client.sends(second[10:])
    upstream.gets_request()
    upstream.sends(ANSWER)
    client.gets_answer()


def test_an_upstream_that_takes_no_connection_is_a_504(play):
    with unanswered() as (host, port):
        gate = play(limits={"connect_timeout": SOON}, upstreams={"stub": {"url": f"http://{host}:{port}"}})
        client = gate.client()
        client.asks()
        assert not client.gets_refusal(504, "upstream_too_slow")["closes"]


def test_a_request_that_waits_for_another_deadline_is_not_cut_by_its_connections_own(play):
    with unanswered() as (host, port):
        limits = {"connect_timeout": "900ms", "head_timeout": SOON, "body_timeout": SOON, "idle": SOON}
        gate = play(limits=limits, upstreams={"stub": {"url": f"http://{host}:{port}"}})
        client = gate.client()
        client.asks()
        client.gets_refusal(504, "upstream_too_slow")


def test_an_upstream_that_does_not_begin_to_answer_is_a_504(play):
    gate = play(limits={"first_byte_timeout": SOON})
    client, upstream = _asked(gate)
    upstream.sends(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200")
    assert not client.gets_refusal(504, "upstream_too_slow")["closes"]
    upstream.is_dropped()
    assert gate.records()[0] | {"end": "refused", "status": 504} == gate.records()[0]


def test_a_stream_that_stands_still_is_cut(play):
    gate = play(limits={"stream_idle": SOON})
    client, upstream = gate.flow()
    client.gets_cut()
    upstream.is_dropped()
    record = gate.records()[0]
    assert (record["end"], record["reason"]) == ("timed_out", "upstream_too_slow")


def test_an_answer_that_stands_still_after_its_head_is_cut(play):
    gate = play(limits={"stream_idle": SOON})
    client, upstream = _asked(gate)
    upstream.sends(STREAM)
    client.gets_stream()
    client.gets_cut()
    upstream.is_dropped()


def test_a_caller_that_reads_nothing_for_too_long_is_cut(play):
    gate = play(limits={"stream_idle": SOON})
    client = gate.client(receive_buffer=4096)
    client.asks()
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    upstream.sends(b"HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\n")
    upstream.sends_until_dropped(b"x" * 65536)
    record = gate.records()[0]
    assert (record["end"], record["reason"]) == ("timed_out", "caller_too_slow")


def test_a_caller_that_never_reads_its_last_answer_is_dropped(play):
    gate = play(limits={"stream_idle": SOON, "idle": SOON})
    client = gate.client(receive_buffer=4096)
    client.asks(CHAT, b"connection: close")
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    body = b"x" * (1 << 16)
    upstream.sends(STREAM)
    upstream.sends_until_dropped(chunk(b"data: " + body + b"\n\n"))
    gate.wait(lambda: gate.connections() == 0)


def test_a_caller_that_goes_on_sending_after_a_refusal_is_dropped_in_the_end(play, monkeypatch):
    monkeypatch.setattr("frontiergate.gate.listener._LINGER", 0.1)
    gate = play()
    client = gate.client()
    client.sends(gate.request(b"x" * 1000, line=b"POST /v1/nothing HTTP/1.1", length=b"100000000"))
    client.gets_refusal(404, "caller_operation_unknown")
    client.gets_end()
    gate.wait(lambda: gate.connections() == 0)


@pytest.mark.parametrize(
    "head", [b"x: " + b"a" * 70_000, b"\r\n".join(b"x: a" for _ in range(3000))], ids=["one long field", "many fields"]
)
def test_a_head_beyond_the_limit_is_refused(play, head):
    gate = play()
    client = gate.client()
    gate.asked += 1
    client.sends(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n" + head + b"\r\ncontent-length: 0\r\n\r\n")
    assert client.gets_refusal(431, "caller_head_too_large")["closes"]
    client.is_dropped()


def test_a_target_beyond_the_limit_is_refused(play):
    gate = play(limits={"head": "1KiB"})
    client = gate.client()
    client.asks(CHAT, line=b"POST /v1/" + b"a" * 2000 + b" HTTP/1.1")
    client.gets_refusal(431, "caller_head_too_large")


def test_a_head_without_end_is_refused_once_it_is_too_large(play):
    gate = play()
    client = gate.client()
    gate.asked += 1
    client.sends(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nx: " + b"a" * 70_000)
    client.gets_refusal(431, "caller_head_too_large")


def test_a_head_at_the_limit_passes(play):
    gate = play(limits={"head": "4KiB"})
    client = gate.client()
    client.asks(CHAT, b"x-stainless-a: " + b"a" * 2000)
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    upstream.sends(ANSWER)
    client.gets_answer()


def test_connections_beyond_the_limit_are_dropped(play):
    gate = play(limits={"connections": 2})
    first, second = gate.client(), gate.client()
    gate.wait(lambda: gate.connections() == 2)
    gate.client().is_dropped()
    second.ends()
    gate.wait(lambda: gate.connections() == 1)
    first.asks(b"", line=b"GET /v1/nothing HTTP/1.1")
    first.gets_refusal(404, "caller_operation_unknown")
    another = gate.client()
    another.asks(b"", line=b"GET /v1/nothing HTTP/1.1")
    another.gets_refusal(404, "caller_operation_unknown")
