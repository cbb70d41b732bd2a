"""P2: what is not known, not readable or not certain is refused, and nothing of it reaches the upstream."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from frontiergate.store.sqlite import SqliteStore
from tests.fixtures.gate import Gate, wait_until
from tests.fixtures.idp import IdentityProvider, new_private_key
from tests.fixtures.upstream import Upstream

OPEN = {"model": "gpt-open"}


@contextlib.contextmanager
def nothing_reaches(upstream: Upstream) -> Iterator[None]:
    before = len(upstream.requests), upstream.connections, len(upstream.raw)
    yield
    assert (len(upstream.requests), upstream.connections, len(upstream.raw)) == before


# -- paths


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/images/generations"),
        ("POST", "/v1/batches"),
        ("POST", "/v1/files"),
        ("GET", "/v1/chat/completions"),
        ("DELETE", "/v1/models/gpt-open"),
        ("POST", "/v1/chat/completions/"),
        ("POST", "//v1/chat/completions"),
        ("POST", "/v1/./chat/completions"),
        ("POST", "/v1/x/../chat/completions"),
        ("POST", "/v1/chat%2fcompletions"),
        ("POST", "/v1/chat/%63ompletions"),
        ("POST", "/V1/chat/completions"),
        ("POST", "/v1/chat/completions;x=1"),
        ("POST", "/v1\\chat\\completions"),
        ("POST", "http://elsewhere/v1/chat/completions"),
        ("POST", "/"),
        ("GET", "/admin/v1/directives"),
        ("GET", "/metrics"),
        ("GET", "/healthz"),
    ],
)
def test_an_unknown_path_is_refused(gate: Gate, shared_upstream: Upstream, method: str, path: str) -> None:
    with nothing_reaches(shared_upstream):
        reply = gate.call(OPEN if method == "POST" else None, method=method, path=path)
    assert reply.status == 404
    assert reply.reason == "caller_operation_unknown"


@pytest.mark.parametrize(
    "line", [b"TRACE / HTTP/1.1", b"CONNECT upstream:443 HTTP/1.1", b"PRI * HTTP/2.0", b"OPTIONS * HTTP/1.1", b"GARBAGE"]
)
def test_an_odd_request_line_is_refused(gate: Gate, shared_upstream: Upstream, line: bytes) -> None:
    with nothing_reaches(shared_upstream):
        answer = gate.exchange(line + b"\r\nhost: g\r\nconnection: close\r\n\r\n")
    assert answer[:12] in {b"HTTP/1.1 400", b"HTTP/1.1 404"}


# -- models


@pytest.mark.parametrize("model", ["gpt-nobody-knows", "claude-frontier", "openai/*", "*", "gpt-open/../gpt-frontier"])
def test_an_unknown_model_is_refused(gate: Gate, shared_upstream: Upstream, model: str) -> None:
    with nothing_reaches(shared_upstream):
        reply = gate.call({"model": model})
    assert reply.status == 404
    assert reply.reason == "caller_model_unknown"


# -- facts


@pytest.mark.parametrize("said", [None, "yes", 1, [], {"value": True}])
def test_an_unknown_fact_does_not_admit(gate: Gate, shared_upstream: Upstream, said: object) -> None:
    with nothing_reaches(shared_upstream):
        reply = gate.call(token=gate.token(sub=f"unknown {said}", us_person=said))
    assert reply.status == 451
    assert reply.reason == "policy_us_person"
    assert "cannot be told" in reply.json["error"]["message"]


@pytest.mark.parametrize("code", ["ZZ", "", "Chinese", "XXX", "Q1"])
def test_an_unreadable_nationality_does_not_admit(gate: Gate, shared_upstream: Upstream, code: str) -> None:
    rule = {"require": {"nationality": {"none_in": ["CN"]}}, "otherwise": "refuse"}
    with gate.in_force("not-cn", "openai/gpt-open", **rule), nothing_reaches(shared_upstream):
        reply = gate.call(OPEN, token=gate.token(sub=f"unread {code}", nationalities=[code]))
        assert reply.reason == "policy_nationality"


def test_an_address_that_no_database_knows_has_no_location(new_gate, upstream: Upstream) -> None:
    here = {
        "id": "here",
        "order": {"authority": "A", "reference": "R"},
        "models": ["openai/gpt-open"],
        "require": {"location": {"any_in": ["US"]}},
        "otherwise": "refuse",
    }
    gate = new_gate(directives=[here], clients={"trusted_proxies": ["127.0.0.1"]})
    assert gate.call(OPEN, headers={"x-forwarded-for": "127.0.0.9"}).status == 200
    with nothing_reaches(upstream):
        for address in ("192.0.2.1", "2001:db8::1"):
            assert gate.call(OPEN, headers={"x-forwarded-for": address}).reason == "policy_location"
        for unreadable in ("nonsense", "1.2.3.4.5", "unknown"):
            assert gate.call(OPEN, headers={"x-forwarded-for": unreadable}).status in {400, 451}


# -- credentials


def strangers(gate: Gate) -> dict[str, str | None]:
    """Credentials that are nobody's."""
    at, forger = time.time(), IdentityProvider()
    forger.add_key(private=new_private_key("RS256"))
    token = gate.token()
    head, payload, signature = token.split(".")
    return {
        "none": None,
        "garbage": "garbage",
        "unsigned": gate.idp.unsigned(at, us_person=True, nationalities=["US"]).decode(),
        "another provider's key": forger.token(at, us_person=True).decode(),
        "no signature": f"{head}.{payload}.",
        "a changed payload": f"{head}.{payload[:-4]}AAAA.{signature}",
        "expired": gate.token(exp=int(at) - 3600),
        "not yet valid": gate.token(nbf=int(at) + 3600),
        "no expiry": gate.token(exp=None),
        "another audience": gate.token(aud="another"),
        "another issuer": gate.token(iss="https://idp.example/"),
        "an unknown API key": "fg_" + "A" * 43,
        "the upstream's": "sk-upstream-secret-never-shown",
    }


def test_a_credential_that_cannot_be_verified_is_refused(gate: Gate, shared_upstream: Upstream) -> None:
    assert gate.call(OPEN).status == 200
    with nothing_reaches(shared_upstream):
        for what, token in strangers(gate).items():
            reply = gate.call(OPEN, token=token)
            assert reply.status == 401, what
            assert reply.reason.startswith("caller_credential_"), what
            assert "www-authenticate" in reply.headers


def test_two_credentials_are_refused(gate: Gate, shared_upstream: Upstream) -> None:
    with nothing_reaches(shared_upstream):
        assert gate.call(OPEN, headers={"x-api-key": gate.token(sub="bob")}).reason == "caller_credential_ambiguous"


def test_keys_of_a_provider_that_cannot_be_reached_admit_nobody(new_gate, upstream: Upstream) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # never listens
        issuer = {
            "issuer": "https://idp.example",
            "jwks": f"http://127.0.0.1:{closed.getsockname()[1]}/jwks.json",
            "audiences": ["frontier-gate"],
        }
        gate = new_gate(identity={"issuers": [issuer]})
        with nothing_reaches(upstream):
            reply = gate.call(OPEN)
        assert reply.status in {401, 503}
        assert reply.reason in {"caller_credential_invalid", "gate_identity_unavailable"}


# -- the policy and its store


def test_a_policy_that_cannot_be_confirmed_admits_nobody_once_the_lease_ends(new_gate, upstream: Upstream, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    gate = new_gate(store=f"sqlite:{store}/state.db", enforcement={"lease": "1s"}, workers=2)
    assert gate.call(OPEN).status == 200
    away = store.rename(tmp_path / "away")
    stale = wait_until(lambda: gate.call(OPEN), lambda reply: reply.status != 200)
    assert stale.status == 503
    assert stale.reason == "gate_policy_stale"
    assert int(stale.headers["retry-after"]) > 0
    wait_until(lambda: {gate.call(OPEN).status for _ in range(8)}, lambda seen: seen == {503})
    with nothing_reaches(upstream):
        assert {gate.call(OPEN).status for _ in range(8)} == {503}
        assert gate.admin("GET", "/readyz").status == 503
    away.rename(store)
    wait_until(lambda: {gate.call(OPEN).status for _ in range(8)}, lambda seen: seen == {200})


def test_a_store_that_went_back_in_time_admits_nobody(new_gate, upstream: Upstream, tmp_path: Path) -> None:
    """Another, younger log in the store's place must not lift what was in force."""
    store = tmp_path / "store"
    store.mkdir()
    gate = new_gate(store=f"sqlite:{store}/state.db")
    gate.wait_enforced(gate.put_in_force("wd", "openai/gpt-open")["epoch"])
    assert gate.call(OPEN).status == 451
    asyncio.run(empty_store(tmp_path / "younger.db"))
    for file in store.iterdir():
        file.unlink()
    with nothing_reaches(upstream):
        (tmp_path / "younger.db").rename(store / "state.db")
        gate.wait_log(lambda lines: any("Refusing gated traffic" in line["message"] for line in lines))
        assert gate.call(OPEN).reason == "gate_policy_stale"


async def empty_store(path: Path) -> None:
    store = SqliteStore(str(path))
    await store.open()
    await store.close()


def test_without_a_store_at_the_start_nobody_is_admitted_until_it_is_there(upstream: Upstream, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate", upstream, store=f"sqlite:{tmp_path}/store/state.db")
    with contextlib.closing(Stopping(gate.start(wait=False))):
        gate.wait_log(lambda lines: any("the policy cannot be confirmed" in line["message"] for line in lines))
        gate.wait_listening()
        with nothing_reaches(upstream):
            assert gate.call(OPEN).reason == "gate_policy_stale"
        (tmp_path / "store").mkdir()
        gate.wait_serving()
        assert gate.call(OPEN).status == 200


def test_a_restart_without_the_store_still_knows_the_withdrawal_and_admits_nobody(upstream: Upstream, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    gate = Gate(tmp_path / "gate", upstream, store=f"sqlite:{store}/state.db")
    with contextlib.closing(Stopping(gate.start())):
        epoch = gate.put_in_force("wd", "openai/gpt-open")["epoch"]
        gate.wait_enforced(epoch)
        saved = tmp_path / "gate" / "audit" / "policy-0.json"
        wait_until(lambda: saved.exists() and saved.read_text(), lambda text: text and '"wd"' in text)
        gate.kill()
        away = store.rename(tmp_path / "away")
        gate.start(wait=False)
        gate.wait_log(lambda lines: any(f"starting with the policy of epoch {epoch}" in line["message"] for line in lines))
        gate.wait_listening()
        with nothing_reaches(upstream):
            assert gate.call({"model": "gpt-frontier"}).reason == "gate_policy_stale"
        away.rename(store)
        assert wait_until(lambda: gate.call(OPEN), lambda reply: reply.status != 503).reason == "policy_withdrawn"


class Stopping:
    """Closes a gate that a test started by hand."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def close(self) -> None:
        self._gate.__exit__()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_list_of_models_is_refused_too_without_a_credential(gate: Gate, method: str) -> None:
    assert gate.call(None if method == "GET" else OPEN, method=method, path="/v1/models", token=None).status in {401, 404}
