"""Streams pass as they come, with backpressure both ways, and end when either side is gone (DESIGN 5, what always holds)."""

import hashlib

import pytest

from tests.fixtures.playbook import ANSWER, CHAT, LAST_CHUNK, STREAM, chunk, granted, unanswered

MANY = 256 << 20  # more than all kernel buffers and bounds together


def _asked(gate, **client):
    peer = gate.client(**client)
    peer.asks()
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    return peer, upstream


def test_each_event_passes_before_the_next_is_sent(play):
    gate = play()
    client, upstream = gate.flow()
    for number in range(20):
        event = b"data: %d\n\n" % number
        upstream.sends(chunk(event))
        client.gets_data(event)
    upstream.sends(LAST_CHUNK)
    client.gets_last_chunk()
    assert gate.records()[0]["bytes_out"] == 9 + sum(len(b"data: %d\n\n" % number) for number in range(20))


def test_the_head_passes_before_the_first_event(play):
    gate = play()
    client, upstream = _asked(gate)
    upstream.sends(STREAM)
    client.gets_stream()
    client.gets_nothing()
    upstream.sends(chunk(b"data: 1\n\n"), LAST_CHUNK)
    client.gets_data(b"data: 1\n\n")
    client.gets_last_chunk()


def test_a_part_of_an_event_is_held_until_the_event_is_whole(play):
    gate = play()
    client, upstream = gate.flow()
    upstream.sends(chunk(b"data: on"))
    client.gets_nothing()
    upstream.sends(chunk(b"e\n"))
    client.gets_nothing()
    upstream.sends(chunk(b"\ndata: two\n\ndata: th"))
    client.gets_data(b"data: one\n\ndata: two\n\n")
    client.gets_nothing()
    upstream.sends(chunk(b"ree\n\n"))
    client.gets_data(b"data: three\n\n")


def test_what_is_held_passes_at_the_streams_end(play):
    gate = play()
    client, upstream = gate.flow()
    upstream.sends(chunk(b"data: unfinished"), LAST_CHUNK)
    client.gets_data(b"data: unfinished")
    client.gets_last_chunk()


@pytest.mark.parametrize("line_end", [b"\r\n", b"\r", b"\n"])
def test_events_with_other_line_ends_pass_whole(play, line_end):
    gate = play()
    event = b"event: a" + line_end + b"data: 1" + line_end * 2
    client, upstream = gate.flow(first=event)
    for byte in event[:-1]:
        upstream.sends(chunk(bytes([byte])))
    if line_end == b"\r\n":
        client.gets_data(event[:-1])  # a CR ends a line; if LF follows, it belongs to the same end
        upstream.sends(chunk(event[-1:]))
        upstream.sends(chunk(event))
        client.gets_data(event[-1:] + event)
    else:
        client.gets_nothing()
        upstream.sends(chunk(event[-1:]))
        client.gets_data(event)


def test_an_event_longer_than_the_bound_passes_as_it_comes(play):
    gate = play()
    client, upstream = gate.flow()
    long = b"data: " + b"x" * 200_000
    upstream.sends(chunk(long))
    client.gets_data(long)
    upstream.sends(chunk(b"more"))
    client.gets_data(b"more")
    upstream.sends(chunk(b"\n\n"), chunk(b"data: 2\n\n"))
    client.gets_data(b"\n\ndata: 2\n\n")
    upstream.sends(chunk(b"data: ha"))
    client.gets_nothing()  # events are whole again


def test_what_is_not_a_stream_of_events_is_never_held(play):
    gate = play()
    client, upstream = _asked(gate)
    upstream.sends(STREAM.replace(b"text/event-stream", b"application/x-ndjson"), chunk(b"data: on"))
    client.gets_stream()
    client.gets_data(b"data: on")
    upstream.sends(chunk(b"e"))
    client.gets_data(b"e")


def test_an_encoded_stream_is_never_held(play):
    gate = play()
    client, upstream = _asked(gate)
    upstream.sends(STREAM.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n"), chunk(b"\x1f\x8b\x08"))
    assert client.gets_stream()["content-encoding"] == "gzip"
    client.gets_data(b"\x1f\x8b\x08")


def test_a_stream_with_a_length_passes_with_it(play):
    gate = play()
    client, upstream = _asked(gate)
    upstream.sends(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 18\r\n\r\ndata: 1\n\n")
    assert client.gets_head()["content-length"] == "18"
    client.gets(b"data: 1\n\n")
    upstream.sends(b"data: 2\n\n")
    client.gets(b"data: 2\n\n")
    client.gets_nothing()


def test_a_caller_that_stops_reading_stops_the_upstream_and_gets_all_in_the_end(play):
    gate = play()
    client, upstream = _asked(gate, receive_buffer=4096)
    piece = hashlib.sha256(b"a").digest() * 32  # 1 KiB
    upstream.sends(b"HTTP/1.1 200 OK\r\ncontent-type: a/b\r\ncontent-length: %d\r\n\r\n" % MANY)
    taken = upstream.sends_all_it_can(piece, most=32 << 20)
    client.gets_head()
    client.gets_body(taken)
    more = upstream.sends_all_it_can(piece[taken % 1024 :] + piece[: taken % 1024], most=32 << 20)
    assert more > 0  # it reads on
    client.gets_body(more)
    upstream.ends()
    client.gets_cut()


def test_a_caller_that_does_not_read_its_last_answer_stops_the_upstream_of_its_next(play):
    gate = play()
    client = gate.client(receive_buffer=4096)
    client.sends(b"".join(gate.request() for _ in range(17)))
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    while not gate.holds_back():  # until an answer has ended whose end the caller has not read
        upstream.sends(b"HTTP/1.1 200 OK\r\ncontent-length: 250000\r\n\r\n", b"x" * 250_000)
        gate.settle()
        while not upstream.can_read():
            client.gets_body(1 << 14)
            gate.settle()
        upstream.gets_request()
    upstream.sends(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % MANY)
    upstream.sends_all_it_can(b"y" * 65536, most=32 << 20)
    gate.forgets_what_waits()


def test_a_request_larger_than_all_buffers_waits_for_its_upstream(play):
    gate = play()
    client = gate.client()
    body = b'{"model":"gpt-open","input":"' + b"x" * (20 << 20) + b'"}'
    client.asks(body)
    upstream = gate.upstream.accepts()
    upstream.gets_request(body)
    upstream.sends(ANSWER)
    client.gets_answer()


@pytest.mark.parametrize("leaving", ["ends", "resets"])
def test_a_caller_that_leaves_before_the_first_byte_drops_the_upstream(play, leaving):
    gate = play()
    client, upstream = _asked(gate)
    getattr(client, leaving)()
    upstream.is_dropped()
    record = gate.records()[0]
    assert (record["end"], record["reason"], record.get("status")) == ("client_gone", "caller_gone", None)
    assert gate.metric("frontiergate_requests_total", verdict="forward", reason="caller_gone") == 1


@pytest.mark.parametrize("leaving", ["ends", "resets"])
def test_a_caller_that_leaves_in_mid_stream_drops_the_upstream(play, leaving):
    gate = play()
    client, upstream = gate.flow()
    getattr(client, leaving)()
    upstream.is_dropped()
    record = gate.records()[0]
    assert (record["end"], record["reason"], record["status"], record["bytes_out"]) == ("client_gone", "caller_gone", 200, 9)


def test_a_caller_that_leaves_while_it_reads_nothing_drops_the_upstream(play):
    gate = play()
    client, upstream = _asked(gate, receive_buffer=4096)
    upstream.sends(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % MANY)
    upstream.sends_all_it_can(b"x" * 65536, most=32 << 20)
    client.resets()
    upstream.is_dropped()


def test_a_caller_that_leaves_while_the_gate_dials_leaves_nothing_behind(play):
    with unanswered() as (host, port):
        gate = play(upstreams={"stub": {"url": f"http://{host}:{port}"}})
        client = gate.client()
        client.asks()
        gate.settle()
        client.ends()
        record = gate.records()[0]
        assert (record["end"], record["reason"]) == ("client_gone", "caller_gone")


def test_a_caller_that_leaves_while_its_request_comes_asked_nothing(play):
    gate = play()
    client = gate.client()
    client.sends(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhe")
    gate.settle()
    client.ends()


def test_a_caller_may_close_its_side_only_when_it_has_its_answer(play):
    gate = play()
    client, upstream = _asked(gate)
    client.sock.shutdown(1)
    upstream.is_dropped()
    assert gate.records()[0]["end"] == "client_gone"


def test_a_caller_that_leaves_while_its_approvals_are_read_leaves_nothing_behind(play):
    gate = play()
    gate.enforces(granted())
    client = gate.client()
    client.sends(gate.request(b'{"model":"gpt-vetted"}'))
    client.resets()
    gate.records()


def test_ten_streams_flow_side_by_side(play):
    gate = play()
    flows = [gate.flow(CHAT) for _ in range(10)]
    for number, (_, upstream) in enumerate(flows):
        upstream.sends(chunk(b"data: %d\n\n" % number))
    for number, (client, upstream) in enumerate(flows):
        client.gets_data(b"data: %d\n\n" % number)
        upstream.sends(LAST_CHUNK)
        client.gets_last_chunk()
