"""TLS from callers and to upstreams, and listeners other than plain TCP (DESIGN 7; BYPASSES 53, 76)."""

import re
import ssl
import struct

import pytest
from gate_certificates import Authority

from frontiergate.errors import ConfigError, GateError
from tests.fixtures.playbook import ANSWER, CHAT, Playbook, chunk

V1 = b"PROXY TCP4 198.51.100.7 127.0.0.1 4242 8080\r\n"  # from GB, as the database has it
GB_ONLY = {
    "id": "gb",
    "order": {"authority": "A", "reference": "B"},
    "models": ["openai/gpt-open"],
    "require": {"location": {"any_in": ["GB"]}},
}
BALANCER = {"trusted_proxies": ["127.0.0.1/32"], "forwarded": "proxy-protocol"}


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "ca")


def _served(gate, client):
    client.asks()
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    upstream.sends(ANSWER)
    client.gets_answer()


def _tls(authority, **more):
    certificate, key = authority.issues("localhost")
    return {"listen": {"data": {"tls": {"certificate": certificate, "key": key, **more}}}}


def test_callers_are_served_in_tls(play, authority):
    gate = play(**_tls(authority))
    client = gate.client_in_tls(authority.client())
    assert client.sock.version() == "TLSv1.3"
    _served(gate, client)


def test_a_stream_is_severed_in_tls(play, authority):
    gate = play(**_tls(authority))
    client = gate.client_in_tls(authority.client())
    client.asks()
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    upstream.sends(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", chunk(b"one"))
    client.gets_stream()
    client.gets_data(b"one")
    gate.withdraws("openai/gpt-open")
    client.gets_cut()
    upstream.is_dropped()


def test_a_large_answer_passes_in_tls(play, authority):
    gate = play(**_tls(authority))
    client = gate.client_in_tls(authority.client())
    client.asks()
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    body = b"0123456789" * 500_000
    upstream.sends(b"HTTP/1.1 200 OK\r\ncontent-length: 5000000\r\n\r\n")
    for start in range(0, len(body), 50_000):
        upstream.sends(body[start : start + 50_000])
    client.gets_answer(200, body)


def test_a_refusal_of_a_body_that_still_comes_arrives_in_tls(play, authority, monkeypatch):
    monkeypatch.setattr("frontiergate.gate.listener._LINGER", 0.1)
    gate = play(**_tls(authority))
    client = gate.client_in_tls(authority.client())
    client.sends(gate.request(b"x" * 100_000, line=b"POST /v1/nothing HTTP/1.1", length=b"100000000"))
    client.gets_refusal(404, "caller_operation_unknown")
    client.is_dropped()


def test_a_caller_without_tls_is_dropped(play, authority):
    gate = play(**_tls(authority))
    client = gate.client()
    client.sends(b"GET /v1/models HTTP/1.1\r\nhost: a\r\n\r\n")
    client.is_dropped_saying_anything()


def test_a_caller_with_an_accepted_certificate_is_served(play, authority):
    gate = play(**_tls(authority, client_ca=authority.path))
    _served(gate, gate.client_in_tls(authority.client(authority.issues("alice"))))


def _end_of(sock: ssl.SSLSocket) -> str:
    """How a connection ends on which nothing comes; Python 3.11.2 tells some ends without an alert as an orderly one."""
    try:
        came = sock.recv(1)
    except OSError as error:
        return str(error)
    return "let in" if came else "EOF"


def test_a_caller_without_an_accepted_certificate_is_dropped(play, authority, tmp_path):
    gate = play(**_tls(authority, client_ca=authority.path))
    other = Authority(tmp_path / "other")
    for identity in (None, other.issues("alice")):
        client = gate.client_in_tls(authority.client(identity))  # in TLS 1.3 the server's refusal comes after the handshake
        assert re.search(r"(?i)certificate|reset|EOF|ca", _end_of(client.sock))


def test_files_that_cannot_be_used_are_an_error_of_the_configuration(play, authority, tmp_path):
    certificate, _ = authority.issues("localhost")
    _, other_key = authority.issues("other")
    with pytest.raises(ConfigError, match=r"listen\.data\.tls"):
        play(listen={"data": {"tls": {"certificate": certificate, "key": other_key}}})
    with pytest.raises(ConfigError, match=r"listen\.data\.tls"):
        play(listen={"data": {"tls": {"certificate": str(tmp_path / "nothing"), "key": other_key}}})


# -- to upstreams


def _to_upstream(play, tmp_path, server: ssl.SSLContext, host: str, ca: str) -> Playbook:
    return play(upstream_tls=server, upstream_host=host, upstreams={"stub": {"ca": ca}})


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_an_upstream_is_verified_and_asked_in_tls(play, authority, tmp_path, host):
    gate = _to_upstream(play, tmp_path, authority.server(host), host, authority.path)
    client = gate.client()
    client.asks()
    upstream = gate.upstream.accepts_in_tls()
    upstream.gets_request()
    upstream.sends(ANSWER)
    client.gets_answer()
    client.asks()
    upstream.gets_request()
    upstream.sends(ANSWER)
    client.gets_answer()


def test_an_upstream_with_anothers_name_gets_nothing(play, authority, tmp_path):
    gate = _to_upstream(play, tmp_path, authority.server("elsewhere.example"), "localhost", authority.path)
    client = gate.client()
    client.asks()
    with pytest.raises(OSError, match=r"(?i)certificate|reset|EOF"):
        gate.upstream.accepts_in_tls().sock.recv(1)
    client.gets_refusal(502, "upstream_unreachable")


def test_an_upstream_of_another_authority_gets_nothing(play, authority, tmp_path):
    other = Authority(tmp_path / "other")
    gate = _to_upstream(play, tmp_path, other.server("localhost"), "localhost", authority.path)
    client = gate.client()
    client.asks()
    with pytest.raises(OSError, match=r"(?i)ca|reset|EOF"):
        gate.upstream.accepts_in_tls().sock.recv(1)
    client.gets_refusal(502, "upstream_unreachable")


def test_an_upstream_that_speaks_no_tls_gets_nothing_of_the_request(play, authority, tmp_path):
    gate = _to_upstream(play, tmp_path, authority.server("localhost"), "localhost", authority.path)
    client = gate.client()
    client.asks()
    upstream = gate.upstream.accepts()
    upstream.sends(ANSWER)
    client.gets_refusal(502, "upstream_unreachable")
    assert b"gpt-open" not in upstream.gets_until_dropped()


def test_an_answer_in_tls_that_its_end_delimits_needs_a_proper_end(play, authority, tmp_path):
    gate = _to_upstream(play, tmp_path, authority.server("localhost"), "localhost", authority.path)
    client = gate.client()
    client.asks()
    upstream = gate.upstream.accepts_in_tls()
    upstream.gets_request()
    upstream.sends(b"HTTP/1.1 200 OK\r\n\r\none")
    client.gets_stream()
    client.gets_data(b"one")
    upstream.ends_without_close_notify()
    client.gets_cut()


def test_an_answer_in_tls_that_ends_properly_is_whole(play, authority, tmp_path):
    gate = _to_upstream(play, tmp_path, authority.server("localhost"), "localhost", authority.path)
    client = gate.client()
    client.asks()
    upstream = gate.upstream.accepts_in_tls()
    upstream.gets_request()
    upstream.sends(b"HTTP/1.1 200 OK\r\n\r\none")
    client.gets_stream()
    client.gets_data(b"one")
    upstream.ends_with_close_notify()
    client.gets_last_chunk()


# -- the PROXY protocol


def _v2(source: bytes, tlvs: bytes = b"") -> bytes:
    addresses = source + bytes([127, 0, 0, 1]) + struct.pack("!HH", 4242, 8080) + tlvs
    return b"\r\n\r\n\x00\r\nQUIT\n\x21\x11" + struct.pack("!H", len(addresses)) + addresses


@pytest.mark.parametrize(
    "header", [V1, _v2(bytes([198, 51, 100, 7])), _v2(bytes([198, 51, 100, 7]), b"\x04\x00\x03abc")], ids=["v1", "v2", "v2 with TLVs"]
)
def test_the_proxy_protocol_says_where_the_caller_is(play, header):
    gate = play(clients=BALANCER, directives=[GB_ONLY])
    client = gate.client()
    client.sends(header + gate.request(CHAT, b"x-forwarded-for: 203.0.113.9"))
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    upstream.sends(ANSWER)
    client.gets_answer()
    record = gate.records("decision")[0]
    assert (record["location"], record["address"]) == ("GB", "198.51.100.0/24")
    client.asks(CHAT, b"forwarded: for=203.0.113.9")
    upstream.gets_request()
    upstream.sends(ANSWER)
    client.gets_answer()


def test_a_proxy_protocol_header_may_come_in_pieces(play):
    gate = play(clients=BALANCER, directives=[GB_ONLY])
    client = gate.client()
    for byte in V1:
        client.sends(bytes([byte]))
        gate.settle()
    _served(gate, client)


def test_a_health_check_of_the_balancer_is_the_balancers_own(play):
    gate = play(clients=BALANCER, directives=[GB_ONLY])
    client = gate.client()
    client.sends(b"PROXY UNKNOWN\r\n", gate.request())
    client.gets_refusal(451, "policy_location")
    assert gate.records("decision")[0]["location"] == "US"


@pytest.mark.parametrize(
    "said", [b"GET /v1/models HTTP/1.1\r\n\r\n", b"PROXY TCP4 nonsense\r\n", b"\r\n\r\n\x00\r\nQUIT\n\x31\x11\x00\x0c"]
)
def test_a_connection_without_a_good_header_is_dropped(play, said):
    gate = play(clients=BALANCER)
    client = gate.client()
    client.sends(said)
    client.is_dropped()


def test_a_peer_that_is_no_trusted_proxy_is_dropped(play):
    gate = play(clients=BALANCER)
    client = gate.client("127.0.0.2")
    client.is_dropped()


def test_a_header_that_does_not_come_is_not_waited_for_long(play, monkeypatch):
    monkeypatch.setattr("frontiergate.gate.preamble._PATIENCE", 0.1)
    client = play(clients=BALANCER).client()
    client.sends(V1[:10])
    client.is_dropped()


@pytest.mark.parametrize("together", [False, True], ids=["header first", "header and ClientHello together"])
def test_tls_begins_after_the_proxy_protocol_header(play, authority, together):
    gate = play(clients=BALANCER, directives=[GB_ONLY], **_tls(authority))
    client = gate.client()
    tls = _TlsByHand(client, authority.client())
    if not together:
        client.sends(V1)
        gate.settle()
    tls.shakes_hands(before=V1 if together else b"")
    tls.sends(gate.request())
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    upstream.sends(ANSWER)
    assert tls.gets().startswith(b"HTTP/1.1 200 OK\r\n")
    assert gate.records("decision")[0]["location"] == "GB"


def test_a_request_may_come_together_with_the_end_of_the_handshake(play, authority):
    gate = play(clients=BALANCER, directives=[GB_ONLY], **_tls(authority))
    client = gate.client()
    tls = _TlsByHand(client, authority.client())
    tls.shakes_hands(before=V1, then=gate.request())
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    upstream.sends(ANSWER)
    assert tls.gets().startswith(b"HTTP/1.1 200 OK\r\n")


def test_what_is_no_tls_after_the_header_is_dropped(play, authority):
    gate = play(clients=BALANCER, **_tls(authority))
    client = gate.client()
    client.sends(V1 + b"GET /v1/models HTTP/1.1\r\nhost: a\r\n\r\n")
    client.is_dropped_saying_anything()


def test_a_caller_that_leaves_in_the_handshake_leaves_nothing_behind(play, authority):
    gate = play(clients=BALANCER, **_tls(authority))
    client = gate.client()
    client.sends(V1 + b"\x16\x03\x01")
    gate.settle()
    client.resets()
    gate.settle()
    assert gate.connections() == 0


class _TlsByHand:
    """A client's TLS whose records the test sends when it wants."""

    def __init__(self, client, context):
        self._client = client
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")

    def shakes_hands(self, before: bytes, then: bytes = b"") -> None:
        """The handshake; `before` goes with its first record, `then` with its last."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._client.sends(before + self._outgoing.read())
                before = b""
                self._incoming.write(self._client.gets_something())
            else:
                break
        if then:
            self._tls.write(then)
        self._client.sends(self._outgoing.read())

    def sends(self, data: bytes) -> None:
        self._tls.write(data)
        self._client.sends(self._outgoing.read())

    def gets(self) -> bytes:
        while True:
            try:
                return self._tls.read(65536)
            except ssl.SSLWantReadError:
                self._incoming.write(self._client.gets_something())


# -- Unix sockets


def test_callers_are_served_on_a_unix_socket(play, tmp_path):
    gate = play(listen={"data": {"unix": str(tmp_path / "s")}})
    _served(gate, gate.client())


def test_a_proxy_on_a_unix_socket_says_where_the_caller_is(play, tmp_path):
    gate = play(listen={"data": {"unix": str(tmp_path / "s")}}, clients={"trusted_proxies": ["127.0.0.1/32"]}, directives=[GB_ONLY])
    client = gate.client()
    client.asks(CHAT, b"x-forwarded-for: 198.51.100.7")
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    upstream.sends(ANSWER)
    client.gets_answer()
    client.asks(CHAT, b"x-forwarded-for: 203.0.113.9")
    client.gets_refusal(451, "policy_location")


def test_a_unix_socket_that_a_crash_left_behind_is_replaced(play, tmp_path):
    path = tmp_path / "s"
    path.write_text("left behind")
    gate = play(listen={"data": {"unix": str(path)}})
    _served(gate, gate.client())


def test_a_place_that_cannot_be_listened_on_is_an_error_that_says_so(play, tmp_path):
    with pytest.raises(GateError, match=r"listen\.data: cannot listen on .*/nowhere/s"):
        play(listen={"data": {"unix": str(tmp_path / "nowhere" / "s")}})
