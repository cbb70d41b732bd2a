"""BYPASSES 20, 31, 33: what an upstream answers. It cannot send the caller elsewhere, split an answer, or answer the next caller."""

import json
import socket

import pytest

from tests.bypass.probe import Probe
from tests.bypass.scripted import Peer, Scripted
from tests.fixtures.gate import UPSTREAM_SECRET

ASKED = {"model": "gpt-scripted", "messages": []}
GOOD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\r\n" + b'{"mine":true}'
BROKE = "upstream_broke"


def answered(probe: Probe, scripted: Scripted, *pieces: bytes, good_after: bool = True) -> tuple[int, str | None, bytes]:
    """The first answer is `pieces`; a second request on the same client connection must get its own answer, on a new one."""

    def script(peer: Peer) -> None:
        peer.read_request()
        if peer.number == 1:
            for piece in pieces:
                peer.send(piece)
            assert peer.wait_for_end() == b""  # closed by the gate, and never used for another request
        else:
            peer.send(GOOD)

    scripted.play(script)
    with probe.line() as line:
        first = line.send(probe.post(ASKED)).answer()
        if good_after and not line.over:
            assert line.send(probe.post(ASKED)).answer().json == {"mine": True}
            assert scripted.connections == 2
    return first.status, first.reason, first.body


# -- 20 redirects


@pytest.mark.parametrize("status", [201, 300, 301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location",
    [
        *(
            "http://127.0.0.1:{}/v1/chat/completions",
            "https://evil.example/",
            "//evil.example/v1",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
        ),
        *(
            "/\t/evil.example",
            "/\t\\evil.example",
            "javascript:alert(1)",
            "evil.example",
            "?model=gpt-frontier",
            "/v1/\\..",
            "/v1/x\x80",
            "/v1 /x",
        ),
    ],
)
def test_20_a_redirect_to_elsewhere_is_neither_followed_nor_passed(probe: Probe, scripted: Scripted, status: int, location: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.setblocking(False)
        where = location.format(elsewhere.getsockname()[1]).encode("latin-1")
        scripted.answer(b"HTTP/1.1 %d X\r\nlocation: %b\r\ncontent-length: 0\r\n\r\n" % (status, where))
        with probe.line() as line:
            reply = line.send(probe.post(ASKED)).answer()
            assert (reply.status, reply.reason) == (502, BROKE)
            assert b"evil" not in line.received
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


@pytest.mark.parametrize("order", [1, -1])
def test_20_one_of_two_locations_is_enough_to_be_refused(probe: Probe, scripted: Scripted, order: int) -> None:
    lines = b"".join([b"location: /v1/models\r\n", b"location: http://evil.example/\r\n"][::order])
    scripted.answer(b"HTTP/1.1 302 X\r\n" + lines + b"content-length: 0\r\n\r\n")
    assert probe.ask(probe.post(ASKED)).reason == BROKE


def test_20_a_redirect_within_the_same_host_passes_and_is_not_followed(probe: Probe, scripted: Scripted) -> None:
    scripted.answer(b"HTTP/1.1 307 X\r\nlocation: /v1/models\r\ncontent-length: 0\r\n\r\n")
    reply = probe.ask(probe.post(ASKED))
    assert (reply.status, reply.headers["location"]) == (307, "/v1/models")
    assert scripted.connections == 1


@pytest.mark.parametrize(
    "field",
    ["Refresh: 0; url=http://evil.example", 'Alt-Svc: h2="evil.example:443"', "Set-Cookie: a=b", "Strict-Transport-Security: max-age=1"],
)
def test_20_other_fields_that_would_send_a_caller_elsewhere_do_not_pass(probe: Probe, scripted: Scripted, field: str) -> None:
    scripted.answer(b"HTTP/1.1 200 OK\r\n" + field.encode() + b"\r\ncontent-length: 2\r\n\r\n{}")
    reply = probe.ask(probe.post(ASKED))
    assert (reply.status, field.partition(":")[0].lower() in reply.headers) == (200, False)


# -- 31 sizes of an answer's head


def test_31_endless_interim_answers_are_cut_off(probe: Probe, scripted: Scripted) -> None:
    assert answered(probe, scripted, *[b"HTTP/1.1 100 Continue\r\n\r\n"] * 1000)[:2] == (502, BROKE)


@pytest.mark.parametrize("one_by_one", [True, False])
def test_31_a_few_interim_answers_are_read_past(probe: Probe, scripted: Scripted, one_by_one: bool) -> None:
    interim = [
        b"HTTP/1.1 100 Continue\r\nx: y\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n",
    ]
    pieces = [*interim, GOOD]
    scripted.answer(*(pieces if one_by_one else [b"".join(pieces)]))
    with probe.line() as line:
        reply = line.send(probe.post(ASKED)).answer()
        assert (reply.json, "link" in reply.headers, line.interim) == ({"mine": True}, False, [])


@pytest.mark.parametrize(
    "head", [b"x: " + b"y" * 1_000_000, b"x: y\r\n" * 2000, b"x" * 1_000_000, b"".join(b"x-%d: y\r\n" % n for n in range(40_000))]
)
def test_31_a_head_without_bounds_is_cut_off(probe: Probe, scripted: Scripted, head: bytes) -> None:
    assert answered(probe, scripted, b"HTTP/1.1 200 OK\r\n", head, b"\r\n\r\n")[:2] == (502, BROKE)


# -- 33 what is not one well-formed answer


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nx: a\rcontent-length: 100\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nx: a\nset-cookie: a=b\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nx: a\r\n folded\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nx : a\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n: a\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nno colon\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\ncontent-length: 2\n\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: \r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nhello",
        b"HTTP/1.1 999 X\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 600 X\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 099 X\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 000 X\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 20 X\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 2000 X\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.2 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        b"ICY 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        b"{}",
        b"\0" * 100,
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
)
def test_33_an_answer_that_parsers_read_differently_is_refused(probe: Probe, scripted: Scripted, answer: bytes) -> None:
    assert answered(probe, scripted, answer)[:2] == (502, BROKE)


@pytest.mark.parametrize(
    "interim",
    [
        b"HTTP/1.1 103 Early Hints\r\ncontent-length: 4\r\n\r\nevil",
        b"HTTP/1.1 102 X\r\ntransfer-encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_33_an_interim_answer_has_no_body(probe: Probe, scripted: Scripted, interim: bytes, at_once: bool) -> None:
    assert b"evil" not in answered(probe, scripted, *([interim + GOOD] if at_once else [interim, GOOD]))[2]


@pytest.mark.parametrize(
    "left_over",
    [GOOD.replace(b"mine", b"evil"), b"x", b"\r\n\r\n\0", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"0\r\n\r\n"],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_33_bytes_after_an_answer_are_nobodys_answer(probe: Probe, scripted: Scripted, left_over: bytes, at_once: bool) -> None:
    body = answered(probe, scripted, *([GOOD + left_over] if at_once else [GOOD, left_over]), good_after=at_once)[2]
    assert body == b'{"mine":true}'


@pytest.mark.parametrize(
    "answer",
    [
        GOOD.replace(b"HTTP/1.1", b"HTTP/1.0"),
        GOOD.replace(b"\r\n", b"\r\nconnection: close\r\n", 1),
        GOOD.replace(b"\r\n", b"\r\nConnection: Keep-Alive, Close\r\n", 1),
    ],
)
def test_33_a_connection_that_the_upstream_ends_is_not_used_again(probe: Probe, scripted: Scripted, answer: bytes) -> None:
    assert answered(probe, scripted, answer)[2] == b'{"mine":true}'


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("fields", [b"content-length: 4\r\n", b"transfer-encoding: chunked\r\n", b""])
@pytest.mark.parametrize("body", [b"evil", b"4\r\nevil\r\n0\r\n\r\n"])
def test_33_an_answer_that_has_no_body_gets_none(probe: Probe, scripted: Scripted, status: int, fields: bytes, body: bytes) -> None:
    first = answered(probe, scripted, b"HTTP/1.1 %d X\r\n%b\r\n%b" % (status, fields, body))
    assert (first[0] in {status, 502}, b"evil" in first[2]) == (True, False)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\nXYZ\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n",
    ],
)
def test_33_an_answer_that_is_cut_short_never_looks_whole(probe: Probe, scripted: Scripted, answer: bytes) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(answer)

    scripted.play(script)
    with probe.line() as line:
        reply = line.send(probe.post(ASKED)).answer()
        assert reply.status in {0, 502}
        if reply.status == 0:
            assert line.over
            assert not line.received.endswith(b"0\r\n\r\n")


def test_33_an_upstream_that_closes_at_once_is_an_upstream_that_broke(probe: Probe, scripted: Scripted) -> None:
    scripted.play(lambda peer: None)
    assert probe.ask(probe.post(ASKED)).status == 502


def test_33_a_request_whose_bytes_may_have_been_acted_on_is_not_sent_again(probe: Probe, scripted: Scripted) -> None:
    scripted.play(lambda peer: peer.read_request() and None)
    assert probe.ask(probe.post(ASKED)).reason == BROKE
    assert scripted.connections == 1


def test_33_an_answer_while_the_request_is_still_being_sent_ends_the_connection(probe: Probe, scripted: Scripted) -> None:
    """The rest of the request must not become the beginning of the next one on the upstream's side."""

    def script(peer: Peer) -> None:
        peer.read_head()
        if peer.number == 1:
            peer.send(GOOD)
            peer.wait_for_end()
        else:
            peer.send(GOOD)

    scripted.play(script)
    large = json.dumps({**ASKED, "user": "x" * 20_000_000}).encode()
    with probe.line() as line:
        assert line.send(probe.post(large)).answer().json == {"mine": True}
        assert line.send(probe.post(ASKED)).answer().json == {"mine": True}
    assert scripted.connections == 2


def test_33_what_speaks_of_the_gate_or_its_credential_does_not_pass(probe: Probe, scripted: Scripted) -> None:
    fields = [
        f"authorization: Bearer {UPSTREAM_SECRET}",
        "x-api-key: k",
        "www-authenticate: Bearer",
        "x-gate-verdict: refuse",
        "x-gate-reason: x",
        "X_Gate_Verdict: x",
    ]
    scripted.answer(b"HTTP/1.1 200 OK\r\n" + "\r\n".join(fields).encode() + b"\r\ncontent-length: 2\r\n\r\n{}")
    with probe.line() as line:
        reply = line.send(probe.post(ASKED)).answer()
        assert (reply.status, reply.headers["x-gate-verdict"]) == (200, "forward")
        assert UPSTREAM_SECRET.encode() not in line.received
    assert set(reply.headers) == {"x-gate-verdict", "x-gate-request-id", "content-length"}


@pytest.mark.parametrize("status", [401, 407])
def test_33_the_upstreams_word_on_the_gates_credential_is_not_passed_on(probe: Probe, scripted: Scripted, status: int) -> None:
    body = f"invalid key {UPSTREAM_SECRET}".encode()
    with probe.line() as line:
        scripted.answer(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body))
        assert line.send(probe.post(ASKED)).answer().reason == BROKE
        assert UPSTREAM_SECRET.encode() not in line.received


def test_33_trailers_of_an_answer_do_not_pass(probe: Probe, scripted: Scripted) -> None:
    scripted.answer(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-evil\r\n\r\n2\r\n{}\r\n0\r\nx-evil: y\r\n\r\n")
    with probe.line() as line:
        assert line.send(probe.post(ASKED)).answer().body == b"{}"
        assert b"x-evil" not in line.received


def test_33_endless_trailers_of_an_answer_are_cut_off(probe: Probe, scripted: Scripted) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx: ")
        for _ in range(64):
            peer.send(b"y" * 65536)
        peer.wait_for_end()

    scripted.play(script)
    with probe.line() as line:
        assert line.send(probe.post(ASKED)).answer().status == 0


def test_33_models_of_two_upstreams_in_one_request_are_refused(probe: Probe) -> None:
    probe.refused(probe.post({**ASKED, "fallbacks": ["gpt-open"]}), 400, "caller_model_ambiguous")
