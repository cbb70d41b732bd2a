"""P1: the model that is decided on is the model that the upstream serves; what can be read in two ways never leaves the gate."""

import gzip
import json
import socket

import pytest

from tests.fixtures.gate import Gate
from tests.fixtures.upstream import Upstream, document

MESSAGES = b'"messages": [{"role": "user", "content": "Hi"}]'


def sealed(upstream: Upstream) -> tuple[int, int, int]:
    """What would change if anything at all reached the upstream: requests, connections, bytes."""
    return len(upstream.requests), upstream.connections, len(upstream.raw)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"gpt-frontier",' + MESSAGES + b"}",
        b'\n\t{ "messages" : [ ] ,\r\n "model"\t:  "gpt-frontier" } \n',
        b'{"stream_options":{"a":1.0,"b":1e2,"c":-0},"model":"gpt-frontier","zz":"\\u00e9\\ud83d\\ude00\xc3\xa9"}',
        b'{"model":"gpt-\\u0066rontier"}',
        b'{"model":"gpt-frontier","padding":"' + b"x" * 1_000_000 + b'"}',
    ],
    ids=["plain", "whitespace", "numbers and escapes", "escaped letters in the name", "a megabyte"],
)
def test_the_upstream_gets_the_body_byte_for_byte(gate: Gate, shared_upstream: Upstream, body: bytes) -> None:
    count = len(shared_upstream.requests)
    assert gate.call(body).status == 200
    received = shared_upstream.wait_for(count + 1)[-1]
    assert received.body == body
    assert received.json["model"] == "gpt-frontier"
    assert received.header("content-length") == str(len(body))
    assert received.header("transfer-encoding") is None


def test_a_chunked_body_arrives_whole_and_with_its_length(gate: Gate, shared_upstream: Upstream) -> None:
    count = len(shared_upstream.requests)
    body = b'{"model":"gpt-frontier","x":[1,2,3]}'
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (body[:9], body[9:10], body[10:])) + b"0\r\nx-model: other\r\n\r\n"
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {gate.token()}\r\ncontent-type: application/json\r\n"
    answer = gate.exchange(head.encode() + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n" + chunks)
    assert answer.startswith(b"HTTP/1.1 200")
    received = shared_upstream.wait_for(count + 1)[-1]
    assert received.body == body
    assert received.header("content-length") == str(len(body))
    assert b"x-model" not in received.raw.lower()


def test_the_audit_names_the_model_that_the_upstream_was_asked_for(gate: Gate, shared_upstream: Upstream) -> None:
    for sent, meant in (("gpt-frontier", "openai/gpt-frontier"), ("openai/gpt-open", "openai/gpt-open")):
        count = len(shared_upstream.requests)
        reply = gate.call({"model": sent})
        assert shared_upstream.wait_for(count + 1)[-1].json["model"] == sent
        request_id = reply.headers["x-gate-request-id"]
        records = gate.wait_decisions(lambda records, wanted=request_id: any(r["id"] == wanted for r in records))
        decision = next(r for r in records if r["id"] == request_id and r["kind"] == "decision")
        assert decision["models"] == [meant]


AMBIGUOUS = {
    "the key twice": b'{"model":"gpt-open","model":"gpt-frontier"}',
    "the key twice, once escaped": b'{"model":"gpt-open","\\u006dodel":"gpt-frontier"}',
    "the key in two cases": b'{"model":"gpt-open","Model":"gpt-frontier"}',
    "the key in capitals": b'{"MODEL":"gpt-open"}',
    "a dotless or long s key": '{"model":"gpt-open","modeſ":"x","mode\u212a":"x","MODEL":"gpt-frontier"}'.encode(),
    "no model": b"{" + MESSAGES + b"}",
    "only below": b'{"request":{"model":"gpt-open"}}',
    "an array": b'{"model":["gpt-open","gpt-frontier"]}',
    "an object": b'{"model":{"id":"gpt-open"}}',
    "null": b'{"model":null}',
    "a number": b'{"model":5}',
    "empty": b'{"model":""}',
    "whitespace around": b'{"model":" gpt-open "}',
    "a zero-width space": '{"model":"gpt\u200b-open"}'.encode(),
    "a NUL": b'{"model":"gpt-open\\u0000"}',
    "a confusable": '{"model":"gpt-\u043epen"}'.encode(),
    "a fullwidth form": '{"model":"gpt-\uff4fpen"}'.encode(),
    "another case": b'{"model":"GPT-open"}',
    "a trailing slash": b'{"model":"gpt-open/"}',
    "a tag": b'{"model":"gpt-open:latest"}',
    "a fine-tuned one": b'{"model":"ft:gpt-open:org::id"}',
    "an adapter": b'{"model":"gpt-open:lora"}',
    "UTF-16": '{"model":"gpt-open"}'.encode("utf-16"),
    "UTF-32": '{"model":"gpt-open"}'.encode("utf-32-le"),
    "a byte order mark": b'\xef\xbb\xbf{"model":"gpt-open"}',
    "invalid UTF-8": b'{"model":"gpt-open","x":"\xff"}',
    "a lone surrogate": b'{"model":"gpt-open","x":"\\ud800"}',
    "NaN": b'{"model":"gpt-open","x":NaN}',
    "two documents": b'{"model":"gpt-open"}{"model":"gpt-frontier"}',
    "trailing bytes": b'{"model":"gpt-open"}x',
    "a comment": b'{"model":"gpt-open"/*,"model":"gpt-frontier"*/}',
    "a trailing comma": b'{"model":"gpt-open",}',
    "an array of requests": b'[{"model":"gpt-open"}]',
    "depth": b'{"model":"gpt-open","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "not JSON": b"model=gpt-open",
    "empty body": b"",
    "an engine besides": b'{"model":"gpt-open","engine":"gpt-frontier"}',
    "another body inside": b'{"model":"gpt-open","extra_body":{"model":"gpt-frontier"}}',
    "fallbacks in another case": b'{"model":"gpt-open","Fallbacks":["gpt-frontier"]}',
    "an engine in another case": b'{"model":"gpt-open","Engine":"gpt-frontier"}',
    "a fallback that is unknown": b'{"model":"gpt-open","fallbacks":["gpt-nobody-knows"]}',
    "models of an odd form": b'{"model":"gpt-open","models":"gpt-frontier,gpt-open"}',
}


@pytest.mark.parametrize("body", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_an_unclear_model_is_refused_before_any_byte_reaches_the_upstream(gate: Gate, shared_upstream: Upstream, body: bytes) -> None:
    before = sealed(shared_upstream)
    reply = gate.call(body)
    assert reply.status in {400, 404}, reply
    assert reply.reason in {"caller_model_missing", "caller_model_unknown", "caller_model_ambiguous", "caller_body_unreadable"}
    assert sealed(shared_upstream) == before


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-encoding": "gzip"}, 415),
        ({"content-type": "application/json; charset=utf-16"}, 415),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "application/json, text/plain"}, 415),
    ],
)
def test_a_body_that_another_reader_would_read_differently_is_refused(
    gate: Gate, shared_upstream: Upstream, headers: dict, status: int
) -> None:
    body = b'{"model":"gpt-open"}'
    before = sealed(shared_upstream)
    assert gate.call(gzip.compress(body) if "content-encoding" in headers else body, headers=headers).status == status
    assert sealed(shared_upstream) == before


@pytest.mark.parametrize("query", ["?model=gpt-frontier", "?api-version=1", "?MODEL=gpt-frontier", "?;model=gpt-frontier"])
def test_a_model_in_the_query_never_passes(gate: Gate, shared_upstream: Upstream, query: str) -> None:
    before = sealed(shared_upstream)
    assert gate.call({"model": "gpt-open"}, path=f"/v1/chat/completions{query}").status == 400
    assert sealed(shared_upstream) == before


def test_headers_that_choose_a_model_never_pass(gate: Gate, shared_upstream: Upstream) -> None:
    count = len(shared_upstream.requests)
    hints = {
        "x-model": "gpt-frontier",
        "x-litellm-model": "gpt-frontier",
        "openai-model": "gpt-frontier",
        "x_stainless_model": "gpt-frontier",
    }
    assert gate.call({"model": "gpt-open"}, headers=hints).status == 200
    assert b"gpt-frontier" not in shared_upstream.wait_for(count + 1)[-1].raw


def test_every_model_that_a_request_can_reach_is_judged(gate: Gate, shared_upstream: Upstream) -> None:
    foreigner = gate.token(sub="foreigner", us_person=False)
    assert gate.call({"model": "gpt-open"}, token=foreigner).status == 200
    before = sealed(shared_upstream)
    for body in (
        {"model": "gpt-open", "models": ["gpt-open", "gpt-frontier"]},
        {"model": "gpt-open", "fallbacks": ["gpt-frontier"]},
        {"model": "gpt-open", "fallbacks": [{"model": "gpt-frontier"}]},
    ):
        assert gate.call(body, token=foreigner).reason == "policy_us_person", body
    tool = {"model": "gpt-open", "input": "x", "tools": [{"type": "image_generation", "model": "gpt-frontier"}]}
    assert gate.call(tool, path="/v1/responses", token=foreigner).reason == "policy_us_person"
    assert sealed(shared_upstream) == before


def test_each_pipelined_request_is_judged_for_itself(gate: Gate, shared_upstream: Upstream) -> None:
    token = gate.token(sub="foreigner", us_person=False)

    def request(model: str, last: bool = False) -> bytes:
        body = json.dumps({"model": model}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n"
        return head.encode() + (b"connection: close\r\n" if last else b"") + b"content-length: %d\r\n\r\n%b" % (len(body), body)

    count = len(shared_upstream.requests)
    answers = gate.exchange(request("gpt-open") + request("gpt-frontier") + request("gpt-open", last=True))
    assert [int(part[:3]) for part in answers.split(b"HTTP/1.1 ")[1:]] == [200, 451, 200]
    assert [received.json["model"] for received in shared_upstream.wait_for(count + 2)[count:]] == ["gpt-open", "gpt-open"]


def test_nothing_is_sent_before_the_body_that_names_the_model_is_whole(gate: Gate, shared_upstream: Upstream) -> None:
    before = sealed(shared_upstream)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {gate.token()}\r\ncontent-type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", gate.port), timeout=10) as sock:
        sock.sendall(head.encode() + b"content-length: 60\r\nexpect: 100-continue\r\n\r\n")
        assert sock.recv(1000).startswith(b"HTTP/1.1 100")
        sock.sendall(b'{"model":"gpt-open",')
        gate.call({"model": "gpt-nobody-knows"})  # the gate has had its turn
        assert sealed(shared_upstream) == before
        sock.sendall(b'"model":"gpt-frontier"}                 ')
        assert b"caller_model_ambiguous" in sock.recv(65536)
    assert sealed(shared_upstream) == before


def test_a_redirect_to_another_place_is_not_passed_on(new_gate, upstream: Upstream) -> None:
    upstream.answer = lambda _u, _r: document({}, 307, {"location": "https://elsewhere.example/v1/chat/completions"})
    reply = new_gate().call({"model": "gpt-open"})
    assert reply.status == 502
    assert "location" not in reply.headers
