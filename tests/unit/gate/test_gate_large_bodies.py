"""Large bodies pass byte for byte, are judged as small ones are, and are never held twice (P1, P8; decision 0009)."""

import pytest

from frontiergate.gate import body
from tests.fixtures.playbook import ANSWER, chunk
from tests.fixtures.sources import of_sources

CHUNKED = b"transfer-encoding: chunked"
RESPONSES = b"POST /v1/responses HTTP/1.1"
LARGE = 1_000_000


def chat(size: int, *, after: bytes = b"", before: bytes = b'"model":"gpt-open",') -> bytes:
    return b'{%b"messages":[{"role":"user","content":"%b"}]%b}' % (before, (b"QUJD" * (size // 4 + 1))[:size], after)


PLACES = {
    "first": chat(30_000_000),
    "last": chat(30_000_000, before=b"", after=b',"model":"gpt-open"'),
    "in the middle": chat(15_000_000, before=b"", after=b',"model":"gpt-open","user":"%b"' % (b"x" * 15_000_000)),
    "among many": b'{"messages":[%b0],"model":"gpt-open"}' % (b'{"role":"user","content":"a, b and c"},' * 30_000),
}


@pytest.mark.parametrize("sent", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("chunks", [None, 1_000_000, 3_333], ids=["content-length", "large chunks", "small chunks"])
def test_a_large_body_arrives_as_it_was_sent(play, sent, chunks):
    gate = play()
    client = gate.client()
    if chunks is None:
        client.asks(sent)
    else:
        data = [sent[at : at + chunks] for at in range(0, len(sent), chunks)]
        client.sends(gate.request(b"", CHUNKED, b"content-type: application/json"), chunk(*data, b""))
    upstream = gate.upstream.accepts()
    upstream.gets_request(sent)
    upstream.sends(ANSWER)
    client.gets_answer()
    client.asks()  # both connections live on
    upstream.gets_request()
    upstream.sends(ANSWER)
    client.gets_answer()


# Each gets the bytes that make a body large or leave it small.
HOSTILE = {
    "two models": lambda fill: b'{"model":"gpt-open","user":"%b","model":"gpt-frontier"}' % fill,
    "the same model twice": lambda fill: b'{"model":"gpt-open","user":"%b","model":"gpt-open"}' % fill,
    "a key twice": lambda fill: b'{"user":"a","model":"gpt-open","metadata":"%b","user":"b"}' % fill,
    "a key that could be taken for model": lambda fill: b'{"model":"gpt-open","user":"%b","Model":"gpt-open"}' % fill,
    "a rerouting key": lambda fill: b'{"route":"x","user":"%b","model":"gpt-open"}' % fill,
    "no model": lambda fill: b'{"user":"%b"}' % fill,
    "an unknown model": lambda fill: b'{"user":"%b","model":"gpt-open "}' % fill,
    "a model that is no string": lambda fill: b'{"model":["gpt-open"],"user":"%b"}' % fill,
    "models of an unknown form": lambda fill: b'{"model":"gpt-open","user":"%b","models":{"a":1}}' % fill,
    "no UTF-8": lambda fill: b'{"model":"gpt-open","user":"%b\xff%b"}' % (fill, fill),
    "half a surrogate pair": lambda fill: b'{"model":"gpt-open","user":"%b\\ud800%b"}' % (fill, fill),
    "a control character": lambda fill: b'{"model":"gpt-open","user":"%b\n%b"}' % (fill, fill),
    "truncated": lambda fill: b'{"model":"gpt-open","user":"%b' % fill,
    "two documents": lambda fill: b'{"model":"gpt-open","user":"%b"}{"model":"gpt-frontier"}' % fill,
    "no object": lambda fill: b'["model","%b"]' % fill,
    "nested too deeply": lambda fill: b'{"model":"gpt-open","user":"%b","x":%b1%b}' % (fill, b"[" * 2000, b"]" * 2000),
    "20,000 parts": lambda fill: b'{"model":"gpt-open","user":"%b","tools":[%b{"model":"gpt-open"}]}' % (fill, b"{}," * 20_000),
    "2,000 members": lambda fill: b'{"model":"gpt-open","user":"%b",%b}' % (fill, b",".join(b'"k%d":0' % n for n in range(2000))),
}


@pytest.mark.parametrize("build", HOSTILE.values(), ids=HOSTILE)
def test_a_large_body_is_refused_as_a_small_one_is(play, build):
    gate = play()
    reasons = []
    for fill in (b"x", b"x" * LARGE):
        sent = build(fill)
        half = len(sent) // 2
        in_chunks = gate.request(b"", CHUNKED, b"content-type: application/json", line=RESPONSES) + chunk(sent[:half], sent[half:], b"")
        for request in (gate.request(sent, line=RESPONSES), in_chunks):
            client = gate.client()
            client.sends(request)
            reasons.append(client.gets_head_of_refusal(404 if b"gpt-open " in sent else 400))
    assert len(set(reasons)) == 1
    gate.upstream.gets_no_connection()


def test_what_is_no_json_is_refused_before_the_rest_has_come(play):
    gate = play()
    sent = chat(30_000_000)
    client = gate.client()
    client.sends(gate.request(sent)[:300_000], b"\n", sent[:100_000])
    refusal = client.gets_refusal(400, "caller_body_unreadable")
    assert refusal["closes"]
    assert "JSON is malformed" in refusal["error"]["message"]
    client.sends(sent[:20_000_000])
    client.gets_end()
    assert gate.buffered == 0


@of_sources
def test_a_caller_that_stops_sending_is_told_what_is_wrong_with_what_it_sent(play, monkeypatch):
    gate = play()
    monkeypatch.setattr(body, "_LARGE", 0)
    with monkeypatch.context() as held:
        held.setattr(body, "_read_a_little", lambda _: True)
        client = gate.client()
        client.sends(gate.request(b"\0" + chat(30_000_000))[:70_000])
        gate.wait(lambda: gate.buffered > body.SMALL)
        client.gets_nothing()
    client.gets_refusal(400, "caller_body_unreadable")


def test_a_large_body_that_is_refused_behind_another_request_waits_for_its_turn(play):
    gate = play()
    client = gate.client()
    client.asks()
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    client.sends(gate.request(chat(1_000_000))[:300_000], b"\n", b"x" * 300_000)
    client.gets_nothing()
    upstream.sends(ANSWER)
    client.gets_answer()
    client.gets_refusal(400, "caller_body_unreadable")


def test_a_large_body_behind_another_request_is_read_meanwhile_and_what_follows_it_waits(play):
    gate = play()
    client = gate.client()
    sent = chat(1_000_000)
    client.sends(gate.request(), gate.request(sent), gate.request(sent), gate.request(sent))
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    gate.wait(lambda: gate.buffered > len(sent))
    for _ in range(10):
        gate.settle()
    assert gate.buffered < len(sent) + 300_000  # and what one read may bring
    for _ in range(3):
        upstream.sends(ANSWER)
        client.gets_answer()
        upstream.gets_request(sent)
    upstream.sends(ANSWER)
    client.gets_answer()


@of_sources
def test_a_caller_that_leaves_while_its_body_is_read_is_forgotten(play, monkeypatch):
    read_a_little = body._read_a_little

    def never_to_the_end(request):
        return bool(request.complete) or read_a_little(request)

    gate = play()
    with monkeypatch.context() as held:
        held.setattr(body, "_read_a_little", never_to_the_end)
        client = gate.client()
        client.asks(chat(1_000_000))
        gate.wait(lambda: gate.buffered >= 1_000_000)
        client.gets_nothing()
        client.resets()
        gate.wait(lambda: gate.buffered == 0)
    assert gate.records()[0]["reason"] == "caller_gone"
    gate.upstream.gets_no_connection()


def test_a_body_counts_as_held_until_the_upstream_has_taken_it(play):
    gate = play(limits={"bodies": "40MiB"})
    sent = chat(30_000_000)
    first, second, third = gate.client(), gate.client(), gate.client()
    first.asks(sent)
    upstream = gate.upstream.accepts()
    head = upstream.gets_head()
    second.asks(sent)
    assert second.gets_refusal(503, "gate_overloaded")["closes"]
    upstream.gets(sent)
    assert head["content-length"] == str(len(sent))
    gate.wait(lambda: gate.buffered == 0)
    third.asks(sent)  # though the first has not been answered
    other = gate.upstream.accepts()
    other.gets_request(sent)
    for server, client in ((upstream, first), (other, third)):
        server.sends(ANSWER)
        client.gets_answer()


def test_an_upstream_that_leaves_while_it_is_sent_a_body_breaks_the_request(play):
    gate = play()
    client = gate.client()
    client.asks(chat(30_000_000))
    upstream = gate.upstream.accepts()
    upstream.gets_head()
    upstream.resets()
    client.gets_refusal(502, "upstream_broke")
    gate.wait(lambda: gate.buffered == 0)


def test_a_fault_in_the_reader_refuses(play, monkeypatch):
    gate = play()
    gate.tolerates("fault in reading a body")
    monkeypatch.setattr("frontiergate.dialects.incremental.ModelReader.feed", lambda *_: 1 / 0)
    client = gate.client()
    client.asks(chat(1_000_000))
    client.gets_refusal(503, "gate_fault")
    gate.wait(lambda: gate.tolerated("fault in reading a body") == 1)
    gate.upstream.gets_no_connection()
