"""The client's address: the peer's, or what trusted proxies say, counted from the right (DESIGN 5; BYPASSES 51-55)."""

import ipaddress
from collections.abc import Iterable, Sequence

from frontiergate.errors import GateError

_IPv4 = ipaddress.IPv4Address
_IPv6 = ipaddress.IPv6Address
IP = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")  # RFC 9110 section 5.6.2


class AddressError(GateError):
    """The client's address cannot be told from the peer and the forwarding headers. The message names no address."""


class TrustedNetworks:
    """The networks whose word on forwarding counts, as CIDRs. Raises ValueError where one is not a network."""

    __slots__ = ("_networks",)

    def __init__(self, cidrs: Iterable[str]) -> None:
        self._networks = tuple(ipaddress.ip_network(cidr) for cidr in cidrs)

    def contains(self, address: str) -> bool:
        """Whether `address` is in one of the networks. False where it is not an address.

        Only IPv4-mapped forms are unwrapped here: anyone may own an address that embeds 10.0.0.1 by 6to4 or Teredo.
        """
        try:
            return self._trusts(_parse(address))
        except ValueError:
            return False

    def _trusts(self, ip: IP) -> bool:
        return any(ip in network for network in self._networks)


def unwrap(address: str) -> str:
    """`address` in its shortest form: IPv4-mapped, NAT64, 6to4 and Teredo forms as the IPv4 address within; no zone id.

    A transition form around an address that is not global keeps its own form: no such host can exist (RFC 6052 section
    3.1, RFC 3056 section 2), and it must not pass for the private address. Raises AddressError.
    """
    try:
        return _unwrapped(_parse(address))
    except ValueError:
        raise AddressError("not an IP address") from None


def client_address(peer: str, fields: Sequence[tuple[bytes, bytes]], trusted: TrustedNetworks, mode: str) -> str:
    """The client's address, unwrapped. `fields`: the request's fields, names in lower case; `mode`: as config's `clients.forwarded`.

    Only the header that `mode` names is read. A chain of trusted proxies only gives its leftmost address. Raises
    AddressError where the entry that decides cannot be read.
    """
    try:
        nearest = _parse(peer)
    except ValueError:
        raise AddressError("the peer has no IP address") from None
    if mode not in {"x-forwarded-for", "forwarded"} or not fields or not trusted._trusts(nearest):
        return _unwrapped(nearest)
    name = mode.encode()
    lines = [value for field, value in fields if field == name]
    hops = _forwarded_for(lines) if mode == "forwarded" else _x_forwarded_for(lines)
    for hop in reversed(hops):
        nearest = _node(hop)
        if not trusted._trusts(nearest):
            break
    return _unwrapped(nearest)


def _parse(address: str) -> IP:
    """Strict: ipaddress refuses octal, short and hexadecimal forms of IPv4. Raises ValueError."""
    if ":" in address:
        ip = _IPv6(address.partition("%")[0])
        return ip.ipv4_mapped or ip
    return _IPv4(address)


def embedded(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address inside a transition form, whatever it is; None where `ip` is not one."""
    if ip in _NAT64:
        return _IPv4(int(ip) & 0xFFFFFFFF)
    if ip.teredo is not None:  # RFC 4380 section 4: (server, client)
        return ip.teredo[1]
    return ip.sixtofour


def _unwrapped(ip: IP) -> str:
    if isinstance(ip, _IPv6):
        inner = embedded(ip)
        if inner is not None and inner.is_global:
            return str(inner)
    return str(ip)


def _node(text: str) -> IP:
    """An entry of a chain: an address, perhaps bracketed, perhaps with a port (RFC 7239 section 6). Raises AddressError."""
    address: str = text
    port: str | None = None
    if text.startswith("["):
        address, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in address or rest[:1] not in {"", ":"}:
            raise AddressError("a forwarding header has an unreadable address")
        port = rest[1:] if rest else None
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    if port is not None and not _is_port(port):
        raise AddressError("a forwarding header has an unreadable port")
    try:
        return _parse(address)
    except ValueError:
        raise AddressError("a forwarding header has an entry that is not an IP address") from None


def _is_port(text: str) -> bool:
    if text.startswith("_"):  # RFC 7239 section 6.3: an obfuscated port
        return len(text) > 1 and _TOKEN.issuperset(text)
    return text.isascii() and text.isdigit() and len(text) <= 5


def _text(line: bytes) -> str:
    try:
        return line.decode("ascii")
    except UnicodeDecodeError:
        raise AddressError("a forwarding header is not ASCII") from None


def _x_forwarded_for(lines: Sequence[bytes]) -> list[str]:
    """All entries of all lines, in order; empty list elements do not count (RFC 9110 section 5.6.1.2)."""
    entries = (entry.strip(" \t") for line in lines for entry in _text(line).split(","))
    return [entry for entry in entries if entry]


def _forwarded_for(lines: Sequence[bytes]) -> list[str]:
    """The `for` of each element, "" where it has none (RFC 7239 section 4). Lines are read apart: a quote cannot span two."""
    hops: list[str] = []
    for line in lines:
        text, at = _text(line), 0
        while at < len(text):
            element, at = _element(text, at)
            if element is not None:
                hops.append(element)
    return hops


def _element(text: str, at: int) -> tuple[str | None, int]:
    """One forwarded-element from `at` to its comma: its `for` ("" without one, None if it is empty), and where the next starts."""
    node: str | None = None
    pairs = 0
    while True:
        at = _skip_space(text, at)
        if at < len(text) and text[at] not in ",;":
            name, value, at = _pair(text, at)
            pairs += 1
            if name == "for":
                if node is not None:
                    raise AddressError("a Forwarded element has two `for` parameters")
                node = value
            at = _skip_space(text, at)
        if at >= len(text) or text[at] == ",":
            return (node or "") if pairs else None, at + 1
        if text[at] != ";":
            raise AddressError("a Forwarded header is malformed")
        at += 1


def _pair(text: str, at: int) -> tuple[str, str, int]:
    end = _token_end(text, at)
    if end == at or text[end : end + 1] != "=":
        raise AddressError("a Forwarded header is malformed")
    name, at = text[at:end].lower(), end + 1
    if text[at : at + 1] != '"':
        end = _token_end(text, at)
        if end == at:
            raise AddressError("a Forwarded header is malformed")
        return name, text[at:end], end
    value: list[str] = []
    at += 1
    while at < len(text) and text[at] != '"':
        if text[at] == "\\":
            at += 1
        value.append(text[at : at + 1])
        at += 1
    if at >= len(text):
        raise AddressError("a Forwarded header has an unclosed quote")
    return name, "".join(value), at + 1


def _token_end(text: str, at: int) -> int:
    while at < len(text) and text[at] in _TOKEN:
        at += 1
    return at


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t":
        at += 1
    return at
