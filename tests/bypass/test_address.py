"""BYPASSES 51-55: where a caller is. Only a trusted peer may say so, in the one way that is configured, and only as an address."""

import socket
import struct
from collections.abc import Callable, Iterator

import pytest

from tests.bypass.probe import Line, Probe
from tests.fixtures import mmdb
from tests.fixtures.gate import ORDER, Gate
from tests.fixtures.idp import IdentityProvider
from tests.fixtures.upstream import Upstream

PROXY, STRANGER = "127.0.0.10", "127.0.0.2"  # the trusted peer, and one that is not, in CN
PLACES = {"127.0.0.0/8": "US", "127.0.0.2/32": "CN", "8.8.8.0/24": "US", "1.2.3.0/24": "CN", "2001:4860::/32": "US", "240e::/20": "CN"}
COUNTRIES = ("US", "CN")


def configuration(forwarded: str) -> dict[str, object]:
    """A model for each country, open only there."""
    return {
        "clients": {"trusted_proxies": [f"{PROXY}/32", "10.0.0.0/8"], "forwarded": forwarded},
        "models": [{"id": f"openai/{country}", "names": [country], "dialects": ["openai"], "upstream": "stub"} for country in COUNTRIES],
        "directives": [
            {
                "id": f"in-{country.lower()}",
                "order": ORDER,
                "models": [f"openai/{country}"],
                "require": {"location": {"any_in": [country]}},
                "otherwise": "refuse",
            }
            for country in COUNTRIES
        ],
    }


@pytest.fixture(scope="module")
def gates(
    shared_upstream: Upstream, shared_idp: IdentityProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Gate]]:
    """The gate for each way of forwarding, started when a test first asks for it."""
    started: dict[str, Gate] = {}

    def gate(forwarded: str) -> Gate:
        if forwarded not in started:
            made = Gate(tmp_path_factory.mktemp(forwarded), shared_upstream, shared_idp, **configuration(forwarded))
            mmdb.country(made.database, PLACES)
            started[forwarded] = made.start()
        return started[forwarded]

    yield gate
    for made in started.values():
        made.__exit__()


def place(gate: Gate, probe: Probe, *fields: str, source: str = PROXY, preamble: bytes = b"") -> str | int | None:
    """Where the gate takes the caller to be: a country, None where it is neither of the two or unknown, or the status of a refusal."""
    for country in COUNTRIES:
        with Line(gate.port, source) as line:
            reply = line.send(preamble + probe.post({"model": country}, *fields)).answer()
        if reply.status == 200:
            probe.sent(1)
            return country
        if reply.status != 451:
            probe.nothing_sent()
            return reply.status
    probe.nothing_sent()
    return None


# -- 51 X-Forwarded-For


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        (["X-Forwarded-For: 8.8.8.8"], "US"),
        (["x-forwarded-FOR:8.8.8.8"], "US"),
        (["X-Forwarded-For: 8.8.8.8, 1.2.3.4"], "CN"),
        (["X-Forwarded-For: 8.8.8.8", "X-Forwarded-For: 1.2.3.4"], "CN"),
        (["X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: "], "CN"),
        (["X-Forwarded-For: 8.8.8.8,1.2.3.4,,  ,"], "CN"),
        (["X-Forwarded-For: 8.8.8.8, 1.2.3.4, 10.0.0.1, 10.9.9.9"], "CN"),
        (["X-Forwarded-For: 8.8.8.8, 1.2.3.4", "X-Forwarded-For: 10.0.0.1"], "CN"),
        (["X-Forwarded-For: garbage, unknown, 1.2.3.4"], "CN"),
        (["X-Forwarded-For: 1.2.3.4:1234"], "CN"),
        (["X-Forwarded-For: [240e::1]:443"], "CN"),
        (["X-Forwarded-For: 10.0.0.1"], None),
        (["X_Forwarded_For: 8.8.8.8", "X-Forwarded-For: 1.2.3.4"], "CN"),
        (["X-Forwarded-For: 1.2.3.4", "X_Forwarded-For: 8.8.8.8"], "CN"),
    ],
)
def test_51_the_first_address_from_the_right_that_is_not_trusted_counts(
    gates: Callable[[str], Gate], probe: Probe, fields: list[str], where: str | None
) -> None:
    assert place(gates("x-forwarded-for"), probe, *fields) == where


@pytest.mark.parametrize(
    "entry",
    [
        *(
            "unknown",
            "_hidden",
            "garbage",
            "localhost",
            "8.8.8.8:99999999",
            "8.8.8.8:",
            "8.8.8.8:x",
            "[8.8.8.8]",
            "[8.8.8.8",
            "8.8.8.8]",
            "[2001:4860::1",
            "2001:4860::1]",
            "8.8.8.8/32",
        ),
        *(
            "8.8.8.8 8.8.8.8",
            "8.8.8.8;8.8.8.8",
            '"8.8.8.8"',
            "for=8.8.8.8",
            "http://8.8.8.8",
            "8.8.8.8%eth0",
            "8.8.8",
            "8.8.2056",
            "134744072",
            "0x8.8.8.8",
            "0x08080808",
            "010.8.8.8",
            "8.8.8.08",
        ),
        *(
            "8.8.8.8.8",
            "8.8.8.256",
            "８.8.8.8",
            "8。8。8。8",
            "2001:4860::1::2",
            "2001:4860:1",
            "::ffff:8.8.8",
            "8.8.8.8\\",
            "-8.8.8.8",
            "1.2.3.4, 8.8.8.8\\",
        ),
    ],
)
def test_51_an_entry_that_is_no_address_admits_nobody(gates: Callable[[str], Gate], probe: Probe, entry: str) -> None:
    fields = f"X-Forwarded-For: 1.2.3.4, {entry}".encode().decode("latin-1")
    assert place(gates("x-forwarded-for"), probe, fields) in {400, None}


@pytest.mark.parametrize(
    "name",
    [
        "X-Forwarded-For",
        "Forwarded",
        "X-Real-IP",
        "True-Client-IP",
        "CF-Connecting-IP",
        "X-Client-IP",
        "X-Cluster-Client-IP",
        "Client-IP",
        "Via",
        "X-Original-Forwarded-For",
        "X-Envoy-External-Address",
    ],
)
def test_51_a_stranger_says_nothing_about_its_address(gates: Callable[[str], Gate], probe: Probe, name: str) -> None:
    for value in ("8.8.8.8", "for=8.8.8.8", PROXY):
        assert place(gates("x-forwarded-for"), probe, f"{name}: {value}", source=STRANGER) == "CN"


def test_51_each_request_of_a_connection_has_its_own_address(gates: Callable[[str], Gate], probe: Probe) -> None:
    with Line(gates("x-forwarded-for").port, PROXY) as line:
        for address, status in (("8.8.8.8", 200), ("1.2.3.4", 451), ("8.8.8.8", 200), ("x", 400), ("1.2.3.4", 451)):
            assert line.send(probe.post({"model": "US"}, f"X-Forwarded-For: {address}")).answer().status == status
    probe.sent(2)


# -- 52 Forwarded


@pytest.mark.parametrize("mode", ["x-forwarded-for", "forwarded"])
def test_52_only_the_configured_header_counts(gates: Callable[[str], Gate], probe: Probe, mode: str) -> None:
    fields = ["X-Forwarded-For: 8.8.8.8", "Forwarded: for=1.2.3.4"]
    assert place(gates(mode), probe, *fields) == ("US" if mode == "x-forwarded-for" else "CN")
    assert place(gates(mode), probe, *fields[::-1]) == ("US" if mode == "x-forwarded-for" else "CN")


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ("for=1.2.3.4", "CN"),
        ('For="1.2.3.4:80";proto=https;by=8.8.8.8', "CN"),
        ("for=8.8.8.8, for=1.2.3.4", "CN"),
        ("for=8.8.8.8;by=1.2.3.4, for=1.2.3.4;by=8.8.8.8", "CN"),
        ('for="[240e::1]:443"', "CN"),
        ('host="for=8.8.8.8, for=8.8.8.8";for=1.2.3.4', "CN"),
        ('for=1.2.3.4;x="\\", for=8.8.8.8, \\""', "CN"),
        ("for=8.8.8.8;for=1.2.3.4", 400),
        ("for=unknown", 400),
        ("for=_hidden", 400),
        ("for=8.8.8.8, proto=https", 400),
        ('for=1.2.3.4, for="8.8.8.8', 400),
        ("for = 8.8.8.8", 400),
        ("for=2001:4860::1", 400),
        ("8.8.8.8", 400),
        ("for=8.8.8.8 for=1.2.3.4", 400),
    ],
)
def test_52_forwarded_is_read_as_its_grammar_has_it(gates: Callable[[str], Gate], probe: Probe, value: str, where: str | int) -> None:
    assert place(gates("forwarded"), probe, f"Forwarded: {value}") == where


# -- 53 PROXY protocol


def v2(address: str, command: int = 0x21, tlvs: bytes = b"", family: int = 0x11) -> bytes:
    addresses = socket.inet_aton(address) + socket.inet_aton("10.0.0.1") + struct.pack(">HH", 1, 2)
    return b"\r\n\r\n\0\r\nQUIT\n" + bytes([command, family]) + struct.pack(">H", len(addresses + tlvs)) + addresses + tlvs


@pytest.mark.parametrize(
    ("preamble", "where"),
    [
        (b"PROXY TCP4 1.2.3.4 10.0.0.1 1 2\r\n", "CN"),
        (b"PROXY TCP6 240e::1 ::1 1 2\r\n", "CN"),
        (b"PROXY UNKNOWN\r\n", "US"),
        (b"PROXY UNKNOWN 1.2.3.4 8.8.8.8 1 2\r\n", "US"),
        (v2("1.2.3.4"), "CN"),
        (v2("1.2.3.4", tlvs=b"\x04\0\x03abc\x20\0\x05\x01\0\0\0\0"), "CN"),
        (v2("1.2.3.4", tlvs=b"8.8.8.8 is what the rest of this header says, but it is not an address"), "CN"),
        (v2("1.2.3.4", command=0x20), "US"),
        (v2("1.2.3.4", family=0x12), 0),
        (v2("1.2.3.4", command=0x22), 0),
        (v2("1.2.3.4", command=0x11), 0),
        (v2("1.2.3.4")[:-1], 0),
        (v2("1.2.3.4").replace(b"\0\x0c", b"\0\x04", 1), 0),
        (v2("1.2.3.4").replace(b"\0\x0c", b"\xff\xff", 1), 0),
        (b"PROXY TCP4 1.2.3.4 10.0.0.1 1 2\n", 0),
        (b"PROXY TCP4 01.2.3.4 10.0.0.1 1 2\r\n", 0),
        (b"PROXY TCP4 1.2.3.4 10.0.0.1 1\r\n", 0),
        (b"PROXY TCP4 1.2.3.4 10.0.0.1 1 99999\r\n", 0),
        (b"PROXY TCP4  1.2.3.4 10.0.0.1 1 2\r\n", 0),
        (b"PROXY TCP6 1.2.3.4 10.0.0.1 1 2\r\n", 0),
        (b"PROXY tcp4 1.2.3.4 10.0.0.1 1 2\r\n", 0),
        (b"PROXY TCP4 " + b"1" * 200 + b"\r\n", 0),
        (b"", 0),
        (b"\r\n", 0),
    ],
)
def test_53_the_header_of_a_trusted_peer_counts_if_it_is_one(
    gates: Callable[[str], Gate], probe: Probe, preamble: bytes, where: str | int
) -> None:
    assert place(gates("proxy-protocol"), probe, preamble=preamble) in {where, 400 if where == 0 else where}


def test_53_a_header_may_come_byte_by_byte(gates: Callable[[str], Gate], probe: Probe) -> None:
    with Line(gates("proxy-protocol").port, PROXY) as line:
        line.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in v2("1.2.3.4", tlvs=b"\x04\0\0") + probe.post({"model": "CN"}):
            line.send(bytes([byte]))
        assert line.answer().status == 200
    probe.sent(1)


@pytest.mark.parametrize("preamble", [b"PROXY TCP4 8.8.8.8 10.0.0.1 1 2\r\n", v2("8.8.8.8"), b""])
def test_53_a_stranger_is_closed_without_an_answer(gates: Callable[[str], Gate], probe: Probe, preamble: bytes) -> None:
    assert place(gates("proxy-protocol"), probe, source=STRANGER, preamble=preamble) == 0


def test_53_one_header_a_connection(gates: Callable[[str], Gate], probe: Probe) -> None:
    with Line(gates("proxy-protocol").port, PROXY) as line:
        assert line.send(v2("1.2.3.4") + v2("8.8.8.8") + probe.post({"model": "US"})).answer().status == 400
    with Line(gates("proxy-protocol").port, PROXY) as line:
        line.send(v2("1.2.3.4") + probe.post({"model": "CN"}) + v2("8.8.8.8") + probe.post({"model": "US"}))
        assert [line.answer().status, line.answer().status] == [200, 400]
    probe.sent(1)


def test_53_where_it_is_not_configured_it_is_no_request(gates: Callable[[str], Gate], probe: Probe) -> None:
    for preamble in (b"PROXY TCP4 8.8.8.8 10.0.0.1 1 2\r\n", v2("8.8.8.8")):
        assert place(gates("x-forwarded-for"), probe, preamble=preamble) == 400


@pytest.mark.parametrize("fields", [["X-Forwarded-For: 8.8.8.8"], ["Forwarded: for=8.8.8.8"]])
def test_53_no_header_of_a_request_counts_beside_it(gates: Callable[[str], Gate], probe: Probe, fields: list[str]) -> None:
    for preamble in (v2("1.2.3.4"), v2("10.0.0.1")):
        assert place(gates("proxy-protocol"), probe, *fields, preamble=preamble) in {"CN", None}


# -- 54, 55 forms and ranges of addresses


@pytest.mark.parametrize(
    "form",
    [
        "::ffff:1.2.3.4",
        "::ffff:102:304",
        "64:ff9b::1.2.3.4",
        "2002:102:304::1",
        "2001:0:4136:e378:8000:63bf:fefd:fcfb",
        "0:0:0:0:0:FFFF:0102:0304",
    ],
)
def test_54_an_ipv4_address_in_ipv6_clothes_is_where_it_is(gates: Callable[[str], Gate], probe: Probe, form: str) -> None:
    assert place(gates("x-forwarded-for"), probe, f"X-Forwarded-For: {form}") == "CN"


@pytest.mark.parametrize(
    "form",
    [
        "::8.8.8.8",
        "64:ff9b::10.0.0.1",
        "64:ff9b::127.0.0.1",
        "2002:7f00:1::1",
        "2002:a00:1::1",
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
        "64:ff9b:1::8.8.8.8",
        "::ffff:0:8.8.8.8",
    ],
)
def test_54_a_form_that_no_host_can_have_is_nowhere(gates: Callable[[str], Gate], probe: Probe, form: str) -> None:
    assert place(gates("x-forwarded-for"), probe, f"X-Forwarded-For: {form}") in {None, 400}


@pytest.mark.parametrize("form", ["::ffff:10.0.0.1", "2002:a00:1::1", "64:ff9b::10.0.0.1", "2001:0:4136:e378:8000:63bf:f5ff:fffe"])
def test_54_trust_is_not_won_by_an_address_that_embeds_a_trusted_one(gates: Callable[[str], Gate], probe: Probe, form: str) -> None:
    """Anyone may own 2002:a00:1::/48; only the mapped form is the very same host."""
    where = place(gates("x-forwarded-for"), probe, f"X-Forwarded-For: 8.8.8.8, {form}")
    assert where == ("US" if form.startswith("::ffff:") else None)


@pytest.mark.parametrize(
    "address",
    [
        "10.1.1.1",
        "192.168.1.1",
        "172.16.0.1",
        "169.254.1.1",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "ff02::1",
        "2001:db8::1",
    ],
)
def test_55_an_address_that_is_nowhere_is_unknown(gates: Callable[[str], Gate], probe: Probe, address: str) -> None:
    assert place(gates("x-forwarded-for"), probe, f"X-Forwarded-For: {address}") is None
