"""BYPASSES 22-27: where requests end. Whatever two parsers could disagree on is refused, and the connection ends."""

import json

import pytest

from tests.bypass.probe import JSON, Probe

OPEN = json.dumps({"model": "gpt-open", "messages": []}).encode()
FRONTIER = json.dumps({"model": "gpt-frontier", "messages": []}).encode()
MALFORMED, TOO_LARGE = "caller_request_malformed", "caller_head_too_large"


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
    probe.unframed(probe.chunked(OPEN, trailers=trailer + "\r\n"))


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
    probe.unframed(probe.head(JSON, *(fields if order else fields[::-1])) + b"0\r\n\r\n")


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
    probe.unframed(data)


@pytest.mark.parametrize("second", [len(OPEN), 0, len(OPEN) + 1])
def test_26_two_lengths_are_refused_even_if_they_agree(probe: Probe, second: int) -> None:
    probe.unframed(probe.post(OPEN, f"Content-Length: {second}"))


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
    probe.unframed(probe.chunked(OPEN).replace(b"Transfer-Encoding: chunked", b"Transfer-Encoding: " + coding.encode("latin-1")))


@pytest.mark.parametrize("second", ["chunked", "identity", "gzip", ""])
@pytest.mark.parametrize("first", [True, False])
def test_27_two_transfer_codings_are_refused(probe: Probe, second: str, first: bool) -> None:
    lines = [f"Transfer-Encoding: {second}".encode(), b"Transfer-Encoding: chunked"]
    probe.unframed(probe.chunked(OPEN).replace(b"Transfer-Encoding: chunked", b"\r\n".join(lines if first else lines[::-1])))


def test_27_a_transfer_coding_in_http_1_0_is_refused(probe: Probe) -> None:
    probe.unframed(probe.chunked(OPEN, version="HTTP/1.0"))


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
