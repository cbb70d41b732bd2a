"""BYPASSES 22-32: how requests are framed. Whatever two parsers could disagree on is refused, and the connection ends."""

import json
import struct

import pytest
from tests.bypass.probe import CHAT, JSON, Probe

OPEN = json.dumps({"model": "gpt-open", "messages": []}).encode()
FRONTIER = json.dumps({"model": "gpt-frontier", "messages": []}).encode()
MALFORMED, TOO_LARGE = "caller_request_malformed", "caller_head_too_large"


def unframed(probe: Probe, data: bytes, status: int | tuple[int, ...] = 400, reason: str = MALFORMED) -> None:
    """`data` cannot be framed: one refusal, and nothing after it on the connection is read, least of all as a request."""
    with probe.line() as line:
        line.send(data + probe.post(OPEN))
        probe.is_refusal(line.answer(), status, reason)
        assert line.ended()
    probe.nothing_sent()


# -- 22 Expect


def test_22_a_body_after_100_continue_is_what_is_judged_and_sent(probe: Probe) -> None:
    with probe.line() as line:
        line.send(probe.head(JSON, "Expect: 100-continue", f"Content-Length: {len(FRONTIER)}", token="mallory"))
        assert line.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        line.send(FRONTIER)
        probe.is_refusal(line.answer(), 451, "policy_us_person")


def test_22_a_body_sent_without_waiting_is_read_once(probe: Probe) -> None:
    """The other body, sent after 100 Continue, is a next request, and not a well-formed one."""
    with probe.line() as line:
        line.send(probe.post(OPEN, "Expect: 100-continue"))
        assert line.answer().status == 200
        line.send(FRONTIER)
        assert line.answer().reason == MALFORMED
        assert line.ended()
        assert line.interim == [100]
    received = probe.sent(1)[0]
    assert (received.body, received.header("expect")) == (OPEN, None)


@pytest.mark.parametrize("expectation", ["200-ok", "100-continue, x", "100-continue=1", "101", ""])
def test_22_another_expectation_is_refused(probe: Probe, expectation: str) -> None:
    probe.refused(probe.post(OPEN, f"Expect: {expectation}"), 400, MALFORMED)


def test_22_a_refused_head_gets_its_refusal_and_not_100_continue(probe: Probe) -> None:
    with probe.line() as line:
        line.send(probe.head(JSON, "Expect: 100-continue", f"Content-Length: {len(OPEN)}", token=None))
        probe.is_refusal(line.answer(), 401)
        assert line.interim == []
        line.send(probe.post(OPEN))
        assert line.ended()


def test_22_two_expectations_are_answered_by_one_100_continue(probe: Probe) -> None:
    with probe.line() as line:
        line.send(probe.post(OPEN, "Expect: 100-continue", "Expect: 100-continue"))
        assert line.answer().status == 200
        assert line.interim == [100]
    probe.sent(1)


# -- 23 trailers


def test_23_trailers_add_nothing(probe: Probe) -> None:
    trailers = "Authorization: Bearer stolen\r\nanthropic-beta: x\r\nX-Gate-Verdict: forward\r\nHost: evil\r\n"
    received = probe.forwarded(probe.chunked(OPEN, trailers=trailers, fields=["TE: trailers", "Trailer: Authorization, anthropic-beta"]))
    names = {name for name, _ in received.headers}
    assert names == {"host", "accept-encoding", "authorization", "content-type", "x-gate-request-id", "content-length"}
    assert received.body == OPEN
    assert b"stolen" not in received.raw


@pytest.mark.parametrize("trailer", ["Content-Length: 5", "Transfer-Encoding: chunked", "X: a\r\n folded", "X\0: a", "no colon"])
def test_23_trailers_that_would_change_the_framing_are_refused(probe: Probe, trailer: str) -> None:
    unframed(probe, probe.chunked(OPEN, trailers=trailer + "\r\n"))


def test_23_a_credential_in_a_trailer_is_none(probe: Probe) -> None:
    with probe.line() as line:
        line.send(probe.chunked(OPEN, trailers=f"Authorization: Bearer {probe.alice}\r\n", token=None))
        probe.is_refusal(line.answer(), 401, "caller_credential_missing")


@pytest.mark.parametrize("piece", [b"x: y\r\n", b"x" * 1000, b"x: " + b"y" * 1000])
def test_23_endless_trailers_are_cut_off(probe: Probe, piece: bytes) -> None:
    start = probe.head(JSON, "Transfer-Encoding: chunked") + b"%x\r\n%b\r\n0\r\n" % (len(OPEN), OPEN)
    with probe.line() as line:
        line.send(start + piece)
        line.send(piece * (4_000_000 // len(piece)))
        probe.is_refusal(line.answer(), (400, 431))


# -- 24 pipelining


def test_24_each_pipelined_request_is_judged_on_its_own(probe: Probe) -> None:
    with probe.line() as line:
        line.send(
            probe.post(OPEN)
            + probe.post(FRONTIER, token="mallory")
            + probe.post(FRONTIER)
            + probe.post(OPEN, token=None)
            + probe.post(OPEN, token="mallory")
        )
        assert [line.answer().status for _ in range(5)] == [200, 451, 200, 401, 200]
    assert [received.json["model"] for received in probe.sent(3)] == ["gpt-open", "gpt-frontier", "gpt-open"]


def test_24_a_second_caller_on_a_connection_is_not_the_first(probe: Probe) -> None:
    with probe.line() as line:
        assert line.send(probe.post(FRONTIER)).answer().status == 200
        assert line.send(probe.post(FRONTIER, token="mallory")).answer().status == 451
        assert line.send(probe.post(FRONTIER, token=None)).answer().status == 401
    probe.sent(1)


def test_24_more_pipelined_requests_than_may_wait_are_not_read(probe: Probe) -> None:
    with probe.line() as line:
        line.send(probe.post(OPEN) * 100)
        answered = 0
        while line.answer().status == 200:
            answered += 1
    assert 1 <= answered <= 100
    probe.sent(answered)


def test_24_what_follows_a_request_that_closes_is_not_read(probe: Probe) -> None:
    with probe.line() as line:
        line.send(probe.post(OPEN, "Connection: close") + probe.post(FRONTIER))
        assert line.answer().headers["connection"] == "close"
        assert line.ended()
    probe.sent(1)


# -- 25 Content-Length and Transfer-Encoding


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("coding", ["chunked", "Chunked", "identity", "gzip, chunked", "xchunked", "chunked, identity", ""])
@pytest.mark.parametrize("length", [0, 4, 1000])
def test_25_a_length_and_a_transfer_coding_are_refused(probe: Probe, order: int, coding: str, length: int) -> None:
    fields = [f"Content-Length: {length}", f"Transfer-Encoding: {coding}"]
    unframed(probe, probe.head(JSON, *(fields if order else fields[::-1])) + b"0\r\n\r\n")


# -- 26 Content-Length


@pytest.mark.parametrize(
    "length",
    [
        *(
            "+5",
            "-5",
            "0x5",
            "5, 5",
            "5,5",
            "5 5",
            "5;5",
            "5.0",
            "5e0",
            "",
            "five",
            "٥",
            "5\x0b",
            "\x0c5",
            "1_0",
            "0b1",
            "5\0",
            "-0",
            "00x5",
            '"5"',
        ),
        *("18446744073709551616", "99999999999999999999999999", "18446744073709551621"),
    ],
)
def test_26_a_length_that_is_not_one_number_is_refused(probe: Probe, length: str) -> None:
    data = probe.head(JSON, "Content-Length: @").replace(b"@", length.encode()) + b"hello"
    unframed(probe, data)


@pytest.mark.parametrize("second", [len(OPEN), 0, len(OPEN) + 1])
def test_26_two_lengths_are_refused_even_if_they_agree(probe: Probe, second: int) -> None:
    unframed(probe, probe.post(OPEN, f"Content-Length: {second}"))


@pytest.mark.parametrize("length", ["9223372036854775807", "18446744073709551615", "99999999999"])
def test_26_a_huge_length_is_refused_at_the_head(probe: Probe, length: str) -> None:
    probe.refused(probe.head(JSON, f"Content-Length: {length}"), (400, 413))


@pytest.mark.parametrize("length", ["{}", " {} ", "\t{}\t", "000{}"])
def test_26_white_space_and_zeros_around_a_length_change_nothing(probe: Probe, length: str) -> None:
    received = probe.forwarded(probe.head(JSON, "Content-Length:" + length.format(len(OPEN))) + OPEN)
    assert (received.body, received.header("content-length")) == (OPEN, str(len(OPEN)))


@pytest.mark.parametrize("name", ["Content_Length", "Content-Length-", "X-Content-Length", "Content-Lengt", "content length"])
def test_26_what_only_looks_like_a_length_is_none(probe: Probe, name: str) -> None:
    reply = probe.refused(probe.head(JSON, f"{name}: {len(OPEN)}", "Connection: close") + OPEN, 400)
    assert reply.reason in {"caller_body_unreadable", MALFORMED}


# -- 27 Transfer-Encoding


@pytest.mark.parametrize(
    "coding",
    [
        *(
            "chunked, identity",
            "identity, chunked",
            "identity",
            "xchunked",
            "chunkedx",
            "chunked;x",
            "chunked, chunked",
            "gzip, chunked",
            "chunked, gzip",
        ),
        *(
            '"chunked"',
            "chunked\x0b",
            "\x0bchunked",
            "chun ked",
            "chunked,",
            ",chunked",
            "",
            "\xa0chunked",
            "chunKed\x00",
            "cow",
            "trailers",
            "deflate",
        ),
    ],
)
def test_27_a_transfer_coding_that_is_not_chunked_alone_is_refused(probe: Probe, coding: str) -> None:
    unframed(probe, probe.chunked(OPEN).replace(b"Transfer-Encoding: chunked", b"Transfer-Encoding: " + coding.encode("latin-1")))


@pytest.mark.parametrize("second", ["chunked", "identity", "gzip", ""])
@pytest.mark.parametrize("first", [True, False])
def test_27_two_transfer_codings_are_refused(probe: Probe, second: str, first: bool) -> None:
    lines = [f"Transfer-Encoding: {second}".encode(), b"Transfer-Encoding: chunked"]
    unframed(probe, probe.chunked(OPEN).replace(b"Transfer-Encoding: chunked", b"\r\n".join(lines if first else lines[::-1])))


def test_27_a_transfer_coding_in_http_1_0_is_refused(probe: Probe) -> None:
    unframed(probe, probe.chunked(OPEN, version="HTTP/1.0"))


@pytest.mark.parametrize("name", ["Transfer_Encoding", "Transfer-Encodin", "X-Transfer-Encoding", "Transfer-Encoding\x0b"])
def test_27_what_only_looks_like_a_transfer_coding_is_none(probe: Probe, name: str) -> None:
    """The request has no body, and what was meant as one is no request."""
    with probe.line() as line:
        line.send(probe.chunked(OPEN).replace(b"Transfer-Encoding", name.encode()) + probe.post(OPEN))
        assert line.answer().reason in {"caller_body_unreadable", MALFORMED}
        assert line.answer().reason in {None, MALFORMED}
        assert line.ended()
    probe.nothing_sent()


@pytest.mark.parametrize("coding", ["chunked", "Chunked", "CHUNKED", " chunked", "\tchunked", "chunked ", "chunked\t"])
def test_27_chunked_in_any_case_is_read_and_not_passed_on(probe: Probe, coding: str) -> None:
    reply = probe.ask(probe.chunked(OPEN[:9], OPEN[9:]).replace(b"Transfer-Encoding: chunked", b"Transfer-Encoding:" + coding.encode()))
    if reply.status == 200:
        received = probe.sent(1)[0]
        assert (received.body, received.header("transfer-encoding"), received.header("content-length")) == (OPEN, None, str(len(OPEN)))
    else:
        probe.is_refusal(reply, 400, MALFORMED)


# -- 28 lines and fields


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\r\n", b"\n"),
        (b"Host: gate.example\r\n", b"Host: gate.example\n"),
        (b"Host: gate.example\r\n", b"Host: gate.example\r"),
        (b" HTTP/1.1\r\n", b" HTTP/1.1\n"),
        (b" HTTP/1.1\r\n", b" HTTP/1.1\r"),
        (b"\r\n\r\n", b"\n\n"),
        (b"\r\n\r\n", b"\r\n\n"),
        (b"\r\n\r\n", b"\r\r"),
        (b"\r\n\r\n", b"\r\n\rX"),
        (JSON.encode(), b"X: a\r\n folded\r\n" + JSON.encode()),
        (JSON.encode(), b"X: a\r\n\tfolded\r\n" + JSON.encode()),
        (b"application/json", b"application/\r\n json"),
        (b"Host:", b" Host:"),
        (b"Host:", b"Host :"),
        (b"Host:", b"Host\t:"),
        (b"Host: gate.example", b": gate.example"),
        (b"Host: gate.example", b"Host: gate.example\r\nno colon"),
        (b"Host: gate.example", b"Host: gate\0example"),
        (b"Host: gate.example", b"Host: gate.example\r\nX: a\0b"),
        (b"Host: gate.example", b"Host: gate.example\r\nX: a\rb"),
        (b"Host: gate.example", b"Host: gate.example\r\nX: a\nContent-Length: 3"),
        (b"Host: gate.example", b"Host: gate.example\r\nX\0: a"),
        (b"Host: gate.example", b"Host: gate.example\r\nX\xe9: a"),
        (b"Host: gate.example", b"Host: gate.example\r\n\xc3\xa9: a"),
        (b"Host: gate.example", b"Host: gate.example\r\nX(y): a"),
        (b"Host: gate.example", b'Host: gate.example\r\n"X": a'),
        (b"Host: gate.example", b"Host: gate.example\r\nX[0]: a"),
        (b"Host: gate.example", b"Host: gate.example\r\nX: \x01"),
        (b"Host: gate.example", b"Host: gate.example\r\nX: \x7f"),
    ],
)
def test_28_lines_that_parsers_read_differently_are_refused(probe: Probe, old: bytes, new: bytes) -> None:
    data = probe.post(OPEN)
    unframed(probe, data.replace(old, new, 1) if old != b"\r\n" else data.replace(b"\r\n", b"\n"))


def test_28_empty_lines_before_a_request_are_read_past(probe: Probe) -> None:
    probe.forwarded(b"\r\n\r\n" + probe.post(OPEN))


@pytest.mark.parametrize("value", ["caf\xe9", "\x80\xff", "=?utf-8?q?x?="])
def test_28_bytes_beyond_ascii_in_a_value_pass_as_they_came_or_not_at_all(probe: Probe, value: str) -> None:
    received = probe.forwarded(probe.post(OPEN, f"User-Agent: {value}"))
    assert received.header("user-agent") == value


# -- 29 chunks


@pytest.mark.parametrize(
    "chunks",
    [
        b"100000000000000000\r\n",
        b"ffffffffffffffff1\r\n",
        b"-1\r\n",
        b"+%x\r\n%b\r\n0\r\n\r\n" % (len(OPEN), OPEN),
        b" %x\r\n%b\r\n0\r\n\r\n" % (len(OPEN), OPEN),
        b"0x%x\r\n%b\r\n0\r\n\r\n" % (len(OPEN), OPEN),
        b"%x\n%b\r\n0\r\n\r\n" % (len(OPEN), OPEN),
        b"%x\r%b\r\n0\r\n\r\n" % (len(OPEN), OPEN),
        b"%x\r\n%b0\r\n\r\n" % (len(OPEN), OPEN),
        b"%x\r\n%b\n0\r\n\r\n" % (len(OPEN), OPEN),
        b"%x\r\n%bXX0\r\n\r\n" % (len(OPEN), OPEN),
        b"%x;a\nb\r\n%b\r\n0\r\n\r\n" % (len(OPEN), OPEN),
        b"%x;a\rb\r\n%b\r\n0\r\n\r\n" % (len(OPEN), OPEN),
        b'%x;a="\n"\r\n%b\r\n0\r\n\r\n' % (len(OPEN), OPEN),
        b"%x;\0\r\n%b\r\n0\r\n\r\n" % (len(OPEN), OPEN),
        b"%x\r\n%b\r\n0\n\n" % (len(OPEN), OPEN),
        b"%x\r\n%b\r\n\r\n" % (len(OPEN), OPEN),
        b"%x\r\n%b\r\nG\r\n\r\n" % (len(OPEN), OPEN),
        b"%x\r\n%b\r\n0\r\nX\r\n\r\n" % (len(OPEN), OPEN),
        b"%x \r\n%b\r\n0 \r\n\r\n" % (len(OPEN), OPEN),
        b"%x\r\n%b\r\n0\r\n X: y\r\n\r\n" % (len(OPEN), OPEN),
        b"\r\n%b\r\n0\r\n\r\n" % OPEN,
    ],
)
def test_29_chunks_that_parsers_read_differently_are_refused(probe: Probe, chunks: bytes) -> None:
    unframed(probe, probe.head(JSON, "Transfer-Encoding: chunked") + chunks, (400, 413, 431))


def test_29_a_chunk_extension_is_read_past(probe: Probe) -> None:
    body = b'%X;a="b;c"\r\n%b\r\n000;x=0\r\n\r\n' % (len(OPEN), OPEN)
    assert probe.forwarded(probe.head(JSON, "Transfer-Encoding: chunked") + body).body == OPEN


def test_29_an_endless_chunk_extension_is_cut_off(probe: Probe) -> None:
    with probe.line() as line:
        line.send(probe.head(JSON, "Transfer-Encoding: chunked") + b"5;x")
        line.send(b"y" * 4_000_000)
        probe.is_refusal(line.answer(), (400, 431))


def test_29_more_chunks_than_the_body_may_have_are_refused(probe: Probe) -> None:
    with probe.line() as line:
        line.send(probe.head(JSON, "Transfer-Encoding: chunked"))
        for _ in range(33):
            line.send(b"100000\r\n" + b" " * 0x100000 + b"\r\n")
        probe.is_refusal(line.answer(), 413, "caller_body_too_large")


# -- 30 Host


@pytest.mark.parametrize(
    "hosts", [(), ("Host: gate.example", "Host: gate.example"), ("Host: gate.example", "host: evil.example"), ("Host_: x",)]
)
def test_30_a_request_has_exactly_one_host(probe: Probe, hosts: tuple[str, ...]) -> None:
    probe.refused(probe.post(OPEN, *hosts, host=False), 400, MALFORMED)


@pytest.mark.parametrize(
    "host",
    [
        "user:pw@gate.example",
        "evil.example",
        "gate.example:99999",
        "127.0.0.1:9090",
        "",
        "a b",
        "gate.example, evil.example",
        "[::1]",
        "evil.example/v1",
    ],
)
def test_30_the_callers_host_decides_nothing_and_does_not_pass(probe: Probe, host: str) -> None:
    received = probe.forwarded(probe.post(OPEN, f"Host: {host}", host=False))
    assert [value for name, value in received.headers if name.lower() == "host"] == [f"127.0.0.1:{probe.upstream.port}"]


def test_30_a_host_that_is_not_the_targets_changes_nothing_since_such_a_target_is_refused(probe: Probe) -> None:
    probe.refused(probe.post(OPEN, path=f"http://evil.example{CHAT}"), (400, 404))


# -- 31 sizes


@pytest.mark.parametrize(
    "fields",
    [["X: y"] * 3000, [f"X-{n}: y" for n in range(3000)], ["X: " + "y" * 65_536], ["X" * 65_536 + ": y"], ["User-Agent: " + "y" * 200_000]],
)
def test_31_a_head_that_is_too_large_is_refused(probe: Probe, fields: list[str]) -> None:
    probe.refused(probe.post(OPEN, *fields), 431, TOO_LARGE)


def test_31_a_thousand_fields_pass_no_further_than_the_gate(probe: Probe) -> None:
    assert len(probe.forwarded(probe.post(OPEN, *[f"X-{n}: y" for n in range(1000)])).headers) == 6


def test_31_an_endless_request_line_is_cut_off(probe: Probe) -> None:
    with probe.line() as line:
        line.send(b"POST /" + b"a" * 1_000_000)
        probe.is_refusal(line.answer(), 431, TOO_LARGE)


def test_31_a_long_request_line_is_refused(probe: Probe) -> None:
    probe.refused(probe.post(OPEN, path="/" + "a" * 1_000_000), 431, TOO_LARGE)


# -- 32 other protocols


@pytest.mark.parametrize("protocol", ["RTSP/1.0", "ICE/1.0"])
def test_32_a_protocol_that_the_parser_takes_for_http_is_judged_like_http(probe: Probe, protocol: str) -> None:
    probe.refused(probe.post(FRONTIER, token="mallory", version=protocol), (400, 451))


@pytest.mark.parametrize(
    "data",
    [
        b"GET /v1/models\r\n\r\n",
        b"GET /v1/models\r\n",
        b"POST /v1/chat/completions HTTP/0.9\r\nHost: x\r\n\r\n",
        b"GET /v1/models HTTP/1.2\r\nHost: x\r\n\r\n",
        b"GET /v1/models HTTP/2.0\r\nHost: x\r\n\r\n",
        b"GET /v1/models HTTP/3\r\nHost: x\r\n\r\n",
        b"GET /v1/models HTTP/1.10\r\nHost: x\r\n\r\n",
        b"GET /v1/models HTTP/01.1\r\nHost: x\r\n\r\n",
        b"GET /v1/models http/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/models ICE/1.0\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(500),
        b"\0" * 100,
        b"SSH-2.0-x\r\n",
    ],
)
def test_32_another_protocol_is_refused(probe: Probe, data: bytes) -> None:
    with probe.line() as line:
        line.send(data + b"\r\n\r\n" + probe.post(OPEN))
        assert line.answer().status in {400, 404}
        assert line.ended()
    probe.nothing_sent()


@pytest.mark.parametrize(
    "fields",
    [
        ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
        ("Upgrade: h2c",),
        ("Connection: upgrade",),
        ("Connection: keep-alive, Upgrade",),
        ("Upgrade: TLS/1.3",),
        ("Connection: Upgrade", "Upgrade: anything"),
        ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
    ],
)
def test_32_an_upgrade_is_refused_and_nothing_after_it_is_read(probe: Probe, fields: tuple[str, ...]) -> None:
    with probe.line() as line:
        line.send(probe.post(OPEN, *fields) + probe.post(FRONTIER))
        assert line.answer().reason == MALFORMED
        answers = line.answer()
        assert answers.status in {0, 200}
    probe.sent(1 if answers.status else 0)


def test_32_http_1_0_is_answered_and_closed(probe: Probe) -> None:
    with probe.line() as line:
        line.send(probe.post(OPEN, version="HTTP/1.0") + probe.post(FRONTIER))
        assert line.answer().status == 200
        assert line.ended()
    assert probe.sent(1)[0].raw.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")


def test_32_http_1_0_keep_alive_judges_each_request(probe: Probe) -> None:
    with probe.line() as line:
        line.send(probe.post(OPEN, "Connection: keep-alive", version="HTTP/1.0", host=False) + probe.post(FRONTIER, token="mallory"))
        assert line.answer().status == 200
        assert line.answer().status in {0, 451}
    probe.sent(1)


def test_32_a_reset_in_the_middle_of_a_body_sends_nothing(probe: Probe) -> None:
    with probe.line() as line:
        line.send(probe.post(OPEN)[:-1])
        line.sock.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER: close by a reset
    with probe.line() as line:
        line.send(probe.post(OPEN)[:-1])
        line.sock.shutdown(1)
        assert line.answer().status in {0, 400}
        assert line.ended()
    probe.nothing_sent()
