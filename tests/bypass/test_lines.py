"""BYPASSES 28-32: lines, fields, chunks, hosts, sizes and protocols. What two parsers could read differently is refused."""

import json
import struct

import pytest

from tests.bypass.probe import CHAT, JSON, Probe

OPEN = json.dumps({"model": "gpt-open", "messages": []}).encode()
FRONTIER = json.dumps({"model": "gpt-frontier", "messages": []}).encode()
MALFORMED, TOO_LARGE = "caller_request_malformed", "caller_head_too_large"


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
    probe.unframed(data.replace(old, new, 1) if old != b"\r\n" else data.replace(b"\r\n", b"\n"))


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
    probe.unframed(probe.head(JSON, "Transfer-Encoding: chunked") + chunks, (400, 413, 431))


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
