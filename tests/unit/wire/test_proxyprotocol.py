"""PROXY protocol v1 and v2, as bytes (BYPASSES 53)."""

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontiergate.wire.proxyprotocol import ProxyHeader, ProxyProtocolError, parse

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def v2(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + bytes([command, family]) + struct.pack(">H", len(body)) + body


def addresses(source: str, destination: str) -> bytes:
    return ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed + struct.pack(">HH", 40000, 443)


V4 = v2(0x21, 0x11, addresses("198.51.100.7", "10.0.0.1"))
V6 = v2(0x21, 0x21, addresses("2001:db8::7", "2001:db8::1"))
LINE4 = b"PROXY TCP4 198.51.100.7 10.0.0.1 40000 443\r\n"


@pytest.mark.parametrize(
    ("header", "source"),
    [
        (LINE4, "198.51.100.7"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 443\r\n", "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN ffff::1 whatever is here 1\r\n", None),
        (V4, "198.51.100.7"),
        (V6, "2001:db8::7"),
        (v2(0x20, 0x00, b""), None),
        (v2(0x20, 0x11, addresses("198.51.100.7", "10.0.0.1")), None),
        (v2(0x21, 0x00, b""), None),
        (v2(0x21, 0x31, bytes(216)), None),
        (v2(0x21, 0x11, addresses("198.51.100.7", "10.0.0.1") + b"\x01\x00\x02h2\x04\x00\x00"), "198.51.100.7"),
    ],
)
def test_a_header_gives_its_source_and_leaves_the_payload(header: bytes, source: str | None) -> None:
    assert parse(header + b"GET / HTTP/1.1\r\n") == ProxyHeader(source, len(header))


@pytest.mark.parametrize("header", [LINE4, V4, V6, v2(0x20, 0x00, b"")])
def test_every_beginning_of_a_header_asks_for_more(header: bytes) -> None:
    assert all(parse(header[:length]) is None for length in range(len(header)))


@pytest.mark.parametrize(
    "bad",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00",
        b"proxy TCP4 1.2.3.4 1.2.3.4 1 1\r\n",
        b"PROXY  TCP4 1.2.3.4 1.2.3.4 1 1\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1 \r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 -1 1\r\n",
        b"PROXY TCP4 01.2.3.4 1.2.3.4 1 1\r\n",
        b"PROXY TCP4 ::1 ::1 1 1\r\n",
        b"PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 1\r\n",
        b"PROXY TCP4 \xff 1.2.3.4 1 1\r\n",
        b"PROXY UDP4 1.2.3.4 1.2.3.4 1 1\r\n",
        b"PROXY \r\n",
        b"PROXY TCP4 " + b"1" * 107,
        SIGNATURE + b"\x11\x11\x00\x0c" + bytes(12),
        v2(0x22, 0x11, bytes(12)),
        v2(0x21, 0x12, bytes(12)),
        v2(0x21, 0x11, bytes(11)),
        v2(0x21, 0x21, bytes(35)),
        v2(0x21, 0x31, bytes(100)),
        SIGNATURE + b"\x21\x11\xff\xff",
    ],
)
def test_anything_else_is_an_error(bad: bytes) -> None:
    with pytest.raises(ProxyProtocolError):
        parse(bad)


def test_no_header_keeps_a_reader_waiting_for_more_than_its_bound() -> None:
    assert parse(SIGNATURE + b"\x21\x11\x10\x00" + bytes(4095)) is None
    assert parse(SIGNATURE + b"\x21\x11\x10\x00" + bytes(4096)) is not None


@given(st.one_of(st.binary(max_size=64), st.binary(max_size=64).map(SIGNATURE.__add__), st.binary(max_size=120).map(b"PROXY ".__add__)))
def test_no_bytes_raise_anything_but_the_protocols_error(buffer: bytes) -> None:
    try:
        header = parse(buffer)
    except ProxyProtocolError:
        return
    assert header is None or header.consumed <= len(buffer)
