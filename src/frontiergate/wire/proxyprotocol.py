"""The PROXY protocol, versions 1 and 2: the client's address as a trusted load balancer tells it (HAProxy proxy-protocol.txt).

Pure and incremental. Whoever reads the socket must have made sure that the peer is trusted, and reads this before TLS.
"""

import ipaddress
from typing import NamedTuple

_V1_SIGNATURE = b"PROXY "
_V1_LONGEST = 107  # section 2.1: the longest line, with its CRLF
_V2_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_FIXED = 16
_V2_LONGEST = 4096  # of addresses and TLVs; the field could say 65,535, no balancer comes near
_LOCAL, _PROXY = 0x20, 0x21
_V2_ADDRESSES = {0x11: 4, 0x21: 16}  # TCP over IPv4, TCP over IPv6: bytes of an address
_V2_ADDRESSLESS = {0x00: 0, 0x31: 216}  # UNSPEC, Unix stream: bytes that must be there, ignored


class ProxyProtocolError(ValueError):
    """What the peer sent is not a PROXY protocol header; the connection cannot be used."""


class ProxyHeader(NamedTuple):
    """`source` is None where the header speaks of no client (LOCAL, UNKNOWN, UNSPEC): the peer itself is the client.

    `consumed`: bytes of the buffer that the header took; what follows is the connection's payload.
    """

    source: str | None
    consumed: int


def parse(buffer: bytes) -> ProxyHeader | None:
    """The header at the start of `buffer`; None where more bytes are needed. Raises ProxyProtocolError.

    Never asks for more than 4112 bytes in all.
    """
    if buffer.startswith(_V2_SIGNATURE):
        return _parse_v2(buffer)
    if buffer.startswith(_V1_SIGNATURE):
        return _parse_v1(buffer)
    if _V2_SIGNATURE.startswith(buffer) or _V1_SIGNATURE.startswith(buffer):
        return None
    raise ProxyProtocolError("no PROXY protocol header at the start of the connection")


def _parse_v1(buffer: bytes) -> ProxyHeader | None:
    end = buffer.find(b"\r\n", 0, _V1_LONGEST)
    if end < 0:
        if len(buffer) >= _V1_LONGEST:
            raise ProxyProtocolError("PROXY v1 line is longer than 107 bytes")
        return None
    consumed = end + 2
    words = buffer[:end].split(b" ")
    if words[1] == b"UNKNOWN":  # section 2.1: the rest of the line is ignored
        return ProxyHeader(None, consumed)
    if len(words) != 6 or words[1] not in {b"TCP4", b"TCP6"}:
        raise ProxyProtocolError("PROXY v1 line is not of the form `PROXY TCP4|TCP6 source destination port port`")
    version = 4 if words[1] == b"TCP4" else 6
    source = _v1_address(words[2], version)
    _v1_address(words[3], version)
    for port in words[4:]:
        if not port.isdigit() or len(port) > 5 or int(port) > 65535 or (port[:1] == b"0" and port != b"0"):
            raise ProxyProtocolError("PROXY v1 line has a port that is not a number from 0 to 65535")
    return ProxyHeader(source, consumed)


def _v1_address(word: bytes, version: int) -> str:
    try:
        address = ipaddress.ip_address(word.decode("ascii"))
    except ValueError:
        raise ProxyProtocolError("PROXY v1 line has an unreadable address") from None
    if address.version != version or b"%" in word:
        raise ProxyProtocolError(f"PROXY v1 line has an address that is not of TCP{version}")
    return str(address)


def _parse_v2(buffer: bytes) -> ProxyHeader | None:
    if len(buffer) < _V2_FIXED:
        return None
    command, family = buffer[12], buffer[13]
    length = int.from_bytes(buffer[14:16], "big")
    if command not in {_LOCAL, _PROXY}:
        raise ProxyProtocolError("PROXY v2 header has an unknown version or command")
    if length > _V2_LONGEST:
        raise ProxyProtocolError("PROXY v2 header is longer than 4096 bytes")
    size = _V2_ADDRESSES.get(family)
    if command == _PROXY:
        needed = _V2_ADDRESSLESS.get(family) if size is None else 2 * size + 4
        if needed is None:
            raise ProxyProtocolError("PROXY v2 header is for a transport that is not TCP")
        if length < needed:
            raise ProxyProtocolError("PROXY v2 header is too short for its addresses")
    consumed = _V2_FIXED + length
    if len(buffer) < consumed:
        return None
    if command == _LOCAL or size is None:  # section 2.2: LOCAL is the balancer's own connection, e.g. a health check
        return ProxyHeader(None, consumed)
    return ProxyHeader(str(ipaddress.ip_address(buffer[_V2_FIXED : _V2_FIXED + size])), consumed)
