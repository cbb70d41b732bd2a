"""BYPASSES 79: callers and upstreams that want everything, or never end. Time, memory and connections stay bounded, and others are served."""

import contextlib
import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bypass.probe import CHAT, JSON, Line, eventually
from tests.bypass.scripted import Peer, Scripted
from tests.fixtures.gate import ORDER, Gate
from tests.fixtures.idp import IdentityProvider
from tests.fixtures.upstream import Upstream, like_a_model

MIB = 1 << 20
CONNECTIONS = 300
LIMITS = {
    "head_timeout": "1s",
    "body_timeout": "1s",
    "idle": "1s",
    "stream_idle": "2s",
    "first_byte_timeout": "1s",
    "connections": CONNECTIONS,
    "body": "4MiB",
    "drain": "1s",
}
OPEN = json.dumps({"model": "gpt-open", "messages": []}).encode()


@pytest.fixture(scope="module")
def greedy(shared_upstream: Upstream, scripted: Scripted, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """A gate of one worker that loses patience soon."""
    models = [
        {"id": f"openai/{name}", "names": [name], "dialects": ["openai"], "upstream": where}
        for name, where in (("gpt-open", "stub"), ("gpt-scripted", "scripted"))
    ]
    with Gate(
        tmp_path_factory.mktemp("greedy"),
        shared_upstream,
        limits=LIMITS,
        models=models,
        directives=[],
        upstreams={"scripted": {"url": scripted.url}},
    ) as gate:
        yield gate


@pytest.fixture(scope="module")
def token(greedy: Gate) -> str:
    return greedy.token()


@pytest.fixture(autouse=True)
def still_serves(greedy: Gate, shared_upstream: Upstream) -> Iterator[None]:
    """After each test, everybody else is served as before."""
    shared_upstream.answer = like_a_model
    yield
    eventually(lambda: greedy.call({"model": "gpt-open"}), lambda reply: reply.status == 200, tries=3)


def head(token: str, *fields: str, model: str = "gpt-open") -> bytes:
    return "\r\n".join([f"POST {CHAT} HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", JSON, *fields]).encode() + b"\r\n\r\n"


def post(token: str, body: bytes = OPEN, *fields: str) -> bytes:
    return head(token, *fields, f"Content-Length: {len(body)}") + body


def dribble(line: Line, piece: bytes) -> bytes:
    """Sends `piece` again and again, ten times a second, until the gate has had enough; what it said."""
    line.sock.settimeout(0.1)
    for _ in range(100):
        try:
            if not line._read():
                break
        except TimeoutError:
            line.send(piece)
    assert line.over, "it is still being listened to"
    return line.received


def resident(gate: Gate) -> int:
    """Bytes of memory that the gate's only worker has resident."""
    return int(Path(f"/proc/{gate.worker_pids()[0]}/statm").read_text().split()[1]) * 4096


# -- slow callers


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"POST /v1/chat", b"x"),
        (b"POST /v1/chat/completions HTTP/1.1\r\n", b"X: y\r\n"),
        (b"POST /v1/chat/completions HTTP/1.1\r\nX: ", b"y"),
        (b"\r\n", b"\r\n"),
    ],
)
def test_79_a_head_that_dribbles_in_is_not_waited_for(greedy: Gate, start: bytes, piece: bytes) -> None:
    with Line(greedy.port) as line:
        said = dribble(line.send(start), piece)
        assert said == b"" or b"408" in said


@pytest.mark.parametrize(
    ("fields", "start", "piece"),
    [
        (["Content-Length: 100000"], b"{", b" "),
        (["Transfer-Encoding: chunked"], b"", b"1\r\n \r\n"),
        (["Transfer-Encoding: chunked"], b"5;", b"x"),
        (["Transfer-Encoding: chunked"], b"1\r\n{\r\n0\r\n", b"X: y\r\n"),
        (["Content-Length: 5"], b"", b""),
    ],
)
def test_79_a_body_that_dribbles_in_is_not_waited_for(greedy: Gate, token: str, fields: list[str], start: bytes, piece: bytes) -> None:
    with Line(greedy.port) as line:
        assert b"408" in dribble(line.send(head(token, *fields) + start), piece)


def test_79_a_request_that_dribbles_in_behind_another_is_not_waited_for(greedy: Gate, token: str) -> None:
    with Line(greedy.port) as line:
        line.send(post(token) + head(token, "Content-Length: 100000") + b"{")
        assert dribble(line, b" ").count(b"HTTP/1.1 ") <= 2


def test_79_an_idle_connection_is_closed(greedy: Gate, token: str) -> None:
    with Line(greedy.port) as silent, Line(greedy.port) as used:
        assert used.send(post(token)).answer().status == 200
        assert silent.ended()
        assert used.ended()


def test_79_a_refused_caller_that_goes_on_sending_is_cut_off(greedy: Gate) -> None:
    with Line(greedy.port, timeout=10) as line:
        line.send(head("nobody", f"Content-Length: {1 << 30}"))
        assert line.answer().status == 413
        assert dribble(line, b" " * 1000)


# -- many callers


def test_79_connections_beyond_the_limit_are_closed_and_there_is_room_again_when_others_go(greedy: Gate, token: str) -> None:
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(Line(greedy.port)) for _ in range(CONNECTIONS)]
        assert lines[-1].send(post(token)).answer().status == 200
        beyond = [stack.enter_context(Line(greedy.port)) for _ in range(50)]
        assert all(line.ended() and line.received == b"" for line in beyond)


def test_79_a_storm_of_resets_leaves_nothing_behind(greedy: Gate, token: str) -> None:
    pid = greedy.worker_pids()[0]
    open_before = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    for turn in range(300):
        with Line(greedy.port) as line:
            line.send(post(token)[: turn * 3] if turn % 2 else post(token))
            line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    eventually(
        lambda: len(list(Path(f"/proc/{pid}/fd").iterdir())), lambda count: count <= open_before + 70
    )  # idle upstream connections stay
    assert greedy.worker_pids() == [pid]


def test_79_a_flood_of_tokens_is_refused_in_bounded_memory(greedy: Gate) -> None:
    before = resident(greedy)
    with Line(greedy.port) as line:
        for number in range(1500):
            token = "eyJhbGciOiJub25lIn0." + f"{number:x}".rjust(4000, "A") + "."
            assert line.send(post(token)).answer().status == 401
    assert resident(greedy) - before < 30 * MIB


def test_79_field_names_that_never_repeat_are_not_remembered_for_ever(greedy: Gate, token: str) -> None:
    with Line(greedy.port) as line:
        for turn in range(100):
            fields = [f"X-{turn}-{number}: y" for number in range(500)]
            assert line.send(post(token, OPEN, *fields)).answer().status == 200
            if turn == 50:
                half_way = resident(greedy)
    assert resident(greedy) - half_way < 10 * MIB


# -- large things


def test_79_bodies_beyond_the_limit_are_not_kept(greedy: Gate, token: str) -> None:
    before = resident(greedy)
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(Line(greedy.port)) for _ in range(8)]
        for line in lines:
            line.send(head(token, "Transfer-Encoding: chunked"))
            for _ in range(8):
                line.send(b"100000\r\n" + b" " * MIB + b"\r\n")
            assert line.answer().reason == "caller_body_too_large"
    assert resident(greedy) - before < 48 * MIB


def test_79_a_gigabyte_for_a_reader_that_stops_is_neither_fetched_nor_kept(greedy: Gate, token: str, scripted: Scripted) -> None:
    sent = 0

    def script(peer: Peer) -> None:
        nonlocal sent
        peer.read_request()
        peer.sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            event = b"data: " + b"x" * (65536 - 8) + b"\n\n"
            for _ in range((1 << 30) // len(event)):
                peer.sock.sendall(b"10000\r\n" + event + b"\r\n")
                sent += len(event)

    scripted.play(script)
    before = resident(greedy)
    with Line(greedy.port, buffer=65536) as line:
        line.send(post(token, b'{"model":"gpt-scripted","stream":true}'))
        assert line.sock.recv(1000).startswith(b"HTTP/1.1 200 OK")
        scripted.done()  # the gate has lost patience with the reader, and told the upstream
        assert sent < 64 * MIB
        assert resident(greedy) - before < 32 * MIB


def test_79_a_slow_reader_gets_all_of_it(greedy: Gate, token: str, scripted: Scripted) -> None:
    body = bytes(range(256)) * 4096 * 8
    scripted.answer(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    with Line(greedy.port, buffer=65536) as line:
        assert line.send(post(token, b'{"model":"gpt-scripted"}')).answer().body == body


def test_79_an_event_without_end_passes_without_being_kept(greedy: Gate, token: str, scripted: Scripted) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(1000):
            peer.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        peer.send(b"0\r\n\r\n")

    scripted.play(script)
    before = resident(greedy)
    received = 0
    with Line(greedy.port) as line:
        line.send(post(token, b'{"model":"gpt-scripted","stream":true}'))
        while piece := line.sock.recv(1 << 20):
            received += len(piece)
            if piece.endswith(b"\r\n0\r\n\r\n"):
                break
    assert received > 1000 * 65536
    assert resident(greedy) - before < 32 * MIB


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n"])
def test_79_an_upstream_that_never_answers_is_not_waited_for(greedy: Gate, token: str, scripted: Scripted, said: bytes) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(said)
        peer.wait_for_end()

    scripted.play(script)
    with Line(greedy.port) as line:
        assert line.send(post(token, b'{"model":"gpt-scripted"}')).answer().reason == "upstream_too_slow"
    scripted.done()


def test_79_an_upstream_that_stops_in_mid_stream_is_not_waited_for(greedy: Gate, token: str, scripted: Scripted) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n")
        peer.wait_for_end()

    scripted.play(script)
    with Line(greedy.port) as line:
        assert line.send(post(token, b'{"model":"gpt-scripted","stream":true}')).answer().status == 0
        assert line.cut
    scripted.done()


# -- what is made to be costly


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"gpt-open",' + b",".join(b'"%d":0' % (n * (2**61 - 1)) for n in range(900)) + b"}",
        b'{"model":"gpt-open",' + b",".join(b'"%b":0' % (b"a" * n) for n in range(900)) + b"}",
        b'{"model":"gpt-open","tools":[' + b'{"type":"function"},' * 20_000 + b"{}]}",
        b'{"model":"gpt-open","messages":"' + b"\\u0041" * 500_000 + b'"}',
        b'{"model":"gpt-open","messages":"' + "ﬃ".encode() * 500_000 + b'"}',
        b'{"' + "ﬃ".encode() * 20_000 + b'":1,"model":"gpt-open"}',
    ],
    ids=["colliding keys", "growing keys", "many tools", "escapes", "ligatures", "a key of ligatures"],
)
def test_79_json_made_to_be_costly_is_judged_in_bounded_time(greedy: Gate, token: str, body: bytes) -> None:
    with Line(greedy.port) as line:
        assert line.send(post(token, body)).answer().status == 200


def test_79_a_large_body_with_a_very_long_key_is_refused(greedy: Gate, token: str) -> None:
    """It is read in windows, which keep keys whole: one as long as nobody's would be a way to make them large."""
    with Line(greedy.port) as line:
        answer = line.send(post(token, b'{"' + "ﬃ".encode() * 900_000 + b'":1,"model":"gpt-open"}')).answer()
        assert (answer.status, answer.reason) == (400, "caller_body_unreadable")


@pytest.mark.parametrize("glob", ["*a" * 500 + "*b", "openai/" + "*" * 1000 + "x", "*" * 5000])
def test_79_a_glob_that_would_blow_up_does_not(greedy: Gate, glob: str) -> None:
    directive = {"id": "glob", "order": ORDER, "models": [glob], "require": {"us_person": True}, "otherwise": "refuse", "mode": "observe"}
    began = time.monotonic()
    assert greedy.admin("POST", "/admin/v1/directives", {"directive": directive, "reason": "a test"}).status in {201, 409, 422}
    assert time.monotonic() - began < 5


def test_79_signatures_are_checked_within_a_budget(greedy: Gate, shared_idp: IdentityProvider) -> None:
    """Each of these is well formed and costs a signature's check; all are answered."""
    tokens: list[Callable[[], bytes]] = [lambda n=n: greedy.idp.token(time.time(), sub=f"flood-{n}", aud="elsewhere") for n in range(200)]  # type: ignore[misc]
    with Line(greedy.port) as line:
        for token in tokens:
            assert line.send(post(token().decode())).answer().status == 401
