"""The client's address (BYPASSES 51, 52, 54)."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontiergate.identity.address import AddressError, TrustedNetworks, client_address, unwrap

TRUSTED = TrustedNetworks(["10.0.0.0/8", "2001:db8:ffff::/48"])
PROXY = "10.0.0.1"


def by_xff(*lines: bytes, peer: str = PROXY) -> str:
    return client_address(peer, [(b"x-forwarded-for", line) for line in lines], TRUSTED, "x-forwarded-for")


def by_forwarded(*lines: bytes, peer: str = PROXY) -> str:
    return client_address(peer, [(b"forwarded", line) for line in lines], TRUSTED, "forwarded")


@pytest.mark.parametrize(
    ("given_form", "plain"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:DB8::0:1", "2001:db8::1"),
        ("::ffff:8.8.8.8", "8.8.8.8"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("64:ff9b::808:808", "8.8.8.8"),
        ("2002:808:808::1", "8.8.8.8"),
        ("2001:0:4136:e378:8000:63bf:f7f7:f7f7", "8.8.8.8"),
        ("fe80::1%eth0", "fe80::1"),
        ("::8.8.8.8", "::808:808"),
    ],
)
def test_an_address_is_unwrapped(given_form: str, plain: str) -> None:
    assert unwrap(given_form) == plain


@pytest.mark.parametrize("form", ["64:ff9b::a00:1", "2002:a00:1::", "2001:0:4136:e378:8000:63bf:f5ff:fffe"])
def test_a_transition_form_of_a_private_address_does_not_become_it(form: str) -> None:
    assert unwrap(form) == str(ipaddress.ip_address(form))


@pytest.mark.parametrize("form", ["64:ff9b::a00:1", "2002:a00:1::", "2001:0:4136:e378:8000:63bf:f5ff:fffe"])
def test_a_transition_form_of_a_trusted_address_is_not_trusted(form: str) -> None:
    assert not TRUSTED.contains(form)
    assert by_xff(b"203.0.113.9", peer=form) == str(ipaddress.ip_address(form))


@pytest.mark.parametrize(
    "form", ["", "x", "010.0.0.1", "127.1", "0x7f.1", "2130706433", "1.2.3", "1.2.3.4.5", "1.2.3.4/8", "::1::", "１.2.3.4"]
)
def test_short_octal_and_broken_forms_are_no_addresses(form: str) -> None:
    with pytest.raises(AddressError):
        unwrap(form)
    assert not TRUSTED.contains(form)


def test_networks_are_matched_by_prefix_and_by_mapped_form() -> None:
    assert TRUSTED.contains("10.255.255.255")
    assert TRUSTED.contains("::ffff:10.1.2.3")
    assert TRUSTED.contains("2001:db8:ffff::1")
    assert not TRUSTED.contains("11.0.0.1")


def test_a_network_with_host_bits_is_refused() -> None:
    with pytest.raises(ValueError):
        TrustedNetworks(["10.0.0.1/8"])


def test_an_untrusted_peer_is_the_client_whatever_it_says() -> None:
    assert by_xff(b"8.8.8.8", peer="203.0.113.9") == "203.0.113.9"
    assert by_forwarded(b"for=8.8.8.8", peer="203.0.113.9") == "203.0.113.9"


def test_a_trusted_peer_that_says_nothing_is_the_client() -> None:
    assert by_xff() == PROXY
    assert by_xff(b"") == PROXY
    assert by_forwarded(b" ") == PROXY


@pytest.mark.parametrize("mode", ["none", "proxy-protocol"])
def test_other_modes_read_no_header(mode: str) -> None:
    fields = [(b"x-forwarded-for", b"8.8.8.8"), (b"forwarded", b"for=8.8.8.8")]
    assert client_address(PROXY, fields, TRUSTED, mode) == PROXY


def test_only_the_header_of_the_mode_counts() -> None:
    fields = [(b"x-forwarded-for", b"198.51.100.1"), (b"forwarded", b"for=198.51.100.2")]
    assert client_address(PROXY, fields, TRUSTED, "x-forwarded-for") == "198.51.100.1"
    assert client_address(PROXY, fields, TRUSTED, "forwarded") == "198.51.100.2"


def test_the_chain_is_counted_from_the_right() -> None:
    assert by_xff(b"8.8.8.8, 198.51.100.1, 10.0.0.3") == "198.51.100.1"


def test_all_lines_are_one_chain() -> None:
    assert by_xff(b"8.8.8.8", b"198.51.100.1,10.0.0.3", b"10.0.0.2") == "198.51.100.1"


def test_a_chain_of_trusted_proxies_gives_its_first() -> None:
    assert by_xff(b"10.0.0.9, 10.0.0.3") == "10.0.0.9"


@pytest.mark.parametrize(
    ("entry", "client"),
    [
        (b"198.51.100.1:4711", "198.51.100.1"),
        (b"[2001:db8::7]:4711", "2001:db8::7"),
        (b"[2001:db8::7]", "2001:db8::7"),
        (b"2001:db8::7", "2001:db8::7"),
        (b"::ffff:198.51.100.1", "198.51.100.1"),
        (b"fe80::1%25eth0", "fe80::1"),
        (b"[::ffff:10.0.0.9]:1", "10.0.0.9"),
        (b"2002:808:808::1", "8.8.8.8"),
        (b" \t198.51.100.1\t ,, ", "198.51.100.1"),
    ],
)
def test_forms_of_an_entry(entry: bytes, client: str) -> None:
    assert by_xff(entry) == client


@pytest.mark.parametrize(
    "entry",
    [
        b"unknown",
        b"_hidden",
        b"x",
        b"1.2.3",
        b"010.1.1.1",
        b"1.2.3.4:x",
        b"1.2.3.4:123456",
        b"[1.2.3.4]",
        b"[::1",
        b"[::1]x",
        b"[::1]:",
        b"1.2.3.4:",
        b'"1.2.3.4"',
        b"\xff",
    ],
)
def test_garbage_where_it_decides_is_an_error(entry: bytes) -> None:
    with pytest.raises(AddressError):
        by_xff(b"8.8.8.8, " + entry + b", 10.0.0.2")


def test_garbage_left_of_the_deciding_entry_does_not_matter() -> None:
    assert by_xff(b"unknown, _hidden, <script>, 198.51.100.1, 10.0.0.2") == "198.51.100.1"


def test_a_peer_without_an_address_is_an_error() -> None:
    with pytest.raises(AddressError):
        by_xff(peer="")


@pytest.mark.parametrize(
    ("line", "client"),
    [
        (b"for=198.51.100.1", "198.51.100.1"),
        (b'For="198.51.100.1:4711";proto=https;by=203.0.113.43', "198.51.100.1"),
        (b'for="[2001:db8:cafe::17]:_port"', "2001:db8:cafe::17"),
        (b'for="\\1\\98.51.100.1"', "198.51.100.1"),
        (b"for=8.8.8.8, for=198.51.100.1;;, , for=10.0.0.2", "198.51.100.1"),
        (b'for="a,b;for=8.8.8.8", for=198.51.100.1', "198.51.100.1"),
        (b"by=8.8.8.8 ; for=198.51.100.1 ; host=x", "198.51.100.1"),
    ],
)
def test_forwarded_is_read_by_its_grammar(line: bytes, client: str) -> None:
    assert by_forwarded(line) == client


@pytest.mark.parametrize(
    "line",
    [
        b"for=unknown",
        b"for=_hidden",
        b"proto=https",
        b"for=198.51.100.1;for=8.8.8.8",
        b"for=1.2.3.4:80",
        b"for=[::1]",
        b'for="1.2.3.4',
        b'for="1.2.3.4\\',
        b'for="1.2.3.4:_"',
        b"for",
        b"for=",
        b"=1.2.3.4",
        b"for =1.2.3.4",
        b"for=1.2.3.4 x",
        b"\xff",
    ],
)
def test_a_forwarded_header_that_cannot_be_told_is_an_error(line: bytes) -> None:
    with pytest.raises(AddressError):
        by_forwarded(line)


def test_a_quote_opened_by_the_client_does_not_swallow_the_proxys_line() -> None:
    with pytest.raises(AddressError):
        by_forwarded(b'for="8.8.8.8', b"for=198.51.100.1")


@given(st.binary(max_size=80), st.sampled_from(["x-forwarded-for", "forwarded"]))
def test_no_header_raises_anything_but_the_address_error(line: bytes, mode: str) -> None:
    try:
        found = client_address(PROXY, [(mode.encode(), line)], TRUSTED, mode)
    except AddressError:
        return
    assert ipaddress.ip_address(found)


@given(st.text(max_size=40))
def test_no_text_breaks_unwrapping(text: str) -> None:
    try:
        assert ipaddress.ip_address(unwrap(text))
    except AddressError:
        assert not TRUSTED.contains(text)


@given(st.ip_addresses())
def test_unwrapping_twice_changes_nothing(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    once = unwrap(str(ip))
    assert unwrap(once) == once
