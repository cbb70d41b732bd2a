"""P6: the caller's credential never reaches the upstream, the upstream's never the caller; what is kept or said carries neither."""

import hashlib
import json
import re
import signal
from pathlib import Path

import pytest

from tests.fixtures.gate import OPERATOR_TOKEN, UPSTREAM_SECRET, Gate
from tests.fixtures.upstream import Answer, Received, Upstream, document, raw

OPEN = {"model": "gpt-open"}
PROMPT = "a prompt that is nobody's business"
SUBJECT = "zoe.zimmermann@example.com"
CREDENTIAL_HEADERS = ["authorization", "x-api-key", "api-key", "x-goog-api-key"]


def carried(header: str, credential: str) -> dict[str, str]:
    return {header: f"Bearer {credential}" if header == "authorization" else credential}


# -- to the upstream


@pytest.mark.parametrize("header", CREDENTIAL_HEADERS)
@pytest.mark.parametrize("kind", ["token", "key"])
def test_the_callers_credential_never_reaches_the_upstream(gate: Gate, shared_upstream: Upstream, header: str, kind: str) -> None:
    credential = gate.token(sub=SUBJECT) if kind == "token" else gate.new_key()[1]
    count = len(shared_upstream.requests)
    assert gate.call(OPEN, token=None, headers=carried(header, credential)).status == 200
    received = shared_upstream.wait_for(count + 1)[-1]
    for part in {credential, *credential.split(".")}:
        assert part.encode() not in shared_upstream.raw
    assert [value for name, value in received.headers if name.lower() in CREDENTIAL_HEADERS] == [f"Bearer {UPSTREAM_SECRET}"]


def test_a_credential_that_is_sent_twice_in_two_headers_leaves_in_none(gate: Gate, shared_upstream: Upstream) -> None:
    token, count = gate.token(sub="twice"), len(shared_upstream.requests)
    assert gate.call(OPEN, token=token, headers={"x-api-key": token}).status == 200
    shared_upstream.wait_for(count + 1)
    assert token.encode() not in shared_upstream.raw


def test_what_says_who_or_where_the_caller_is_stays_here(gate: Gate, shared_upstream: Upstream) -> None:
    said = {
        "cookie": "session=canary-cookie",
        "proxy-authorization": "Basic canary-proxy",
        "x-forwarded-for": "203.0.113.77",
        "forwarded": "for=203.0.113.78",
        "x-real-ip": "203.0.113.79",
        "cf-ipcountry": "canary-country",
        "x-nationality": "canary-nationality",
        "x-geo-country": "canary-geo",
        "x-forwarded-user": "canary-user",
        "x-gate-verdict": "canary-verdict",
        "x_api_key": "canary-underscore",
        "authorization-copy": "canary-copy",
        "referer": "https://canary-referer.example",
        "from": "canary@example.com",
    }
    count = len(shared_upstream.requests)
    assert gate.call(OPEN, headers=said).status == 200
    received = shared_upstream.wait_for(count + 1)[-1].raw
    assert b"canary" not in received
    assert b"203.0.113" not in received


def test_a_refused_caller_leaves_no_trace_upstream(gate: Gate, shared_upstream: Upstream) -> None:
    token = gate.token(sub="refused", us_person=False)
    assert gate.call(token=token).status == 451
    assert token.encode() not in shared_upstream.raw


# -- to the caller


def echo(status: int, **extra: str):
    """An upstream that sends back what it was sent, in head and body."""

    def answer(upstream: Upstream, request: Received) -> Answer:
        credential = request.header("authorization") or ""
        headers = {"authorization": credential, "x-api-key": credential, "set-cookie": f"k={credential}", **extra}
        body = {"error": {"message": f"Incorrect API key provided: {credential}."}} if status in {401, 407} else {"model": "gpt-open"}
        return document(body, status, headers)

    return answer


@pytest.mark.parametrize("status", [401, 407])
def test_an_upstream_that_quotes_the_gates_credential_becomes_a_502(new_gate, upstream: Upstream, status: int) -> None:
    upstream.answer = echo(status, **{"www-authenticate": f'Bearer realm="{UPSTREAM_SECRET}"'})
    reply = new_gate().call(OPEN)
    assert reply.status == 502
    assert reply.reason == "upstream_broke"
    assert UPSTREAM_SECRET not in f"{reply.headers}{reply.body!r}"
    assert "www-authenticate" not in reply.headers, "it is not the caller who has to authenticate"


def test_an_upstreams_header_that_quotes_the_credential_is_not_relayed(new_gate, upstream: Upstream) -> None:
    upstream.answer = echo(200, **{"x-gate-verdict": "refuse", "proxy-authenticate": UPSTREAM_SECRET, "x-request-id": "passes"})
    reply = new_gate().call(OPEN)
    assert reply.status == 200
    assert UPSTREAM_SECRET not in f"{reply.headers}"
    assert reply.headers["x-gate-verdict"] == "forward", "what the upstream says of the gate is not passed on"
    assert reply.headers["x-request-id"] == "passes"


def test_a_broken_upstream_is_not_described_to_the_caller(new_gate, upstream: Upstream) -> None:
    upstream.answer = lambda _upstream, request: raw(
        b"HTTP/9 " + (request.header("authorization") or "").encode() + b"\r\n\r\n", close=True
    )
    gate = new_gate()
    reply = gate.call(OPEN)
    assert reply.status == 502
    for secret in (UPSTREAM_SECRET, str(upstream.port)):
        assert secret not in f"{reply.headers}{reply.body!r}"
    upstream.stop()
    reply = gate.call(OPEN)
    assert reply.status == 502
    assert str(upstream.port) not in f"{reply.headers}{reply.body!r}"


# -- to logs, audit, metrics, explain, the disk


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], dict[str, str]]:
    """Everything a gate said and kept after a life of all outcomes, and what must not be in it."""
    upstream = Upstream()
    upstream.answer = lambda up, request: echo(401)(up, request) if b"gpt-vetted" in request.body else document({"model": "gpt-open"})
    with Gate(tmp_path_factory.mktemp("gate"), upstream, workers=2) as gate:
        key, secret = gate.new_key()
        token = gate.token(sub=SUBJECT, email=SUBJECT)
        foreign = gate.token(sub=SUBJECT, us_person=False, nationalities=["CN", "Neverland"])
        expired = gate.token(sub=SUBJECT, exp=1)
        forged = token[:-6] + "AAAAAA"
        gate.new_grant(f"https://idp.example|{SUBJECT}", "openai/gpt-vetted")
        ask = {**OPEN, "messages": [{"role": "user", "content": PROMPT}]}
        for credential in (token, foreign, expired, forged, secret, secret[:-2] + "xx"):
            for model in ("gpt-open", "gpt-frontier", "gpt-vetted", "canary-model"):
                gate.call({**ask, "model": model}, token=credential)
        gate.call(ask, token=token, headers={"x-api-key": secret})
        gate.call(json.dumps(ask).encode()[:-9], token=token, path="/v1/chat/completions")
        gate.call(ask, token=token, path="/v1/canary-path?canary-query=1")
        gate.call(ask, token=token, headers={"x-forwarded-for": "203.0.113.77"})
        gate.exchange(f"GET /v1/models HTTP/1.1\r\nhost: g\r\nauthorization : Bearer {token}\r\n\r\n".encode())
        gate.path.write_text(gate.path.read_text()[:-9])
        assert gate.process is not None
        gate.process.send_signal(signal.SIGHUP)  # a reload that is refused, with secrets' files in the configuration
        gate.wait_log(lambda lines: any("configuration refused" in line["message"] for line in lines))
        gate.admin("POST", f"/admin/v1/keys/{key}/revoke", {"reason": "over"})
        children = Path(f"/proc/{gate.process.pid}/task/{gate.process.pid}/children").read_text().split()
        explain = {"models": ["openai/gpt-frontier"], "principal": f"key|{key}"}
        said = {
            "explain": gate.admin("POST", "/admin/v1/explain", explain).body.decode(),
            "cli": gate.cli("explain", "--model", "openai/gpt-open", "--principal", f"key|{key}").stdout,
            **{path: gate.admin("GET", f"/admin/v1/{path}").body.decode() for path in ("directives", "models", "keys", "replicas")},
            **{path: gate.admin("GET", f"/{path}").body.decode() for path in ("metrics", "healthz", "readyz")},
            "arguments": " ".join(Path(f"/proc/{pid}/cmdline").read_text() for pid in (gate.process.pid, *children)),
        }
        gate.stop()
        said["log"] = "\n".join(json.dumps(line) for line in gate.log)
        said["audit"] = "".join(path.read_text() for path in (gate.directory / "audit").glob("*.jsonl"))
        said["saved policy"] = "".join(path.read_text() for path in (gate.directory / "audit").glob("*.json"))
        said["store"] = "".join(path.read_bytes().decode("latin-1") for path in gate.directory.glob("state.db*"))
        said["sent to the upstream"] = upstream.raw.decode("latin-1")
    upstream.stop()
    secrets = {"token": token, "foreigner's token": foreign, "expired token": expired, "key": secret}
    return said, {**secrets, "signature": token.rpartition(".")[2], "operator's token": OPERATOR_TOKEN}


def test_nothing_that_is_said_or_kept_holds_a_callers_or_an_operators_credential(lived) -> None:
    said, secrets = lived
    for where, text in said.items():
        for what, secret in secrets.items():
            assert secret not in text, f"{what} in {where}"


def test_nothing_that_is_said_or_kept_holds_the_upstreams_credential(lived) -> None:
    for where, text in lived[0].items():
        assert where == "sent to the upstream" or UPSTREAM_SECRET not in text, where


def test_the_audit_logs_and_metrics_name_no_person_address_or_prompt(lived) -> None:
    for where in ("log", "audit", "metrics", "arguments", "models", "replicas"):
        text = lived[0][where]
        for personal in (SUBJECT, "zimmermann", PROMPT, "Neverland", "203.0.113.77"):
            assert personal not in text, f"{personal} in {where}"
    assert {json.loads(line).get("address") for line in lived[0]["audit"].splitlines() if '"kind":"decision"' in line} == {"127.0.0.0/24"}


def test_the_same_person_has_the_same_pseudonym_and_none_can_be_computed(lived) -> None:
    records = [json.loads(line) for line in lived[0]["audit"].splitlines() if '"kind":"decision"' in line]
    pseudonyms = {record["principal"] for record in records if record.get("credential") == "token"}
    assert len(pseudonyms) == 1
    for guess in (SUBJECT, f"https://idp.example|{SUBJECT}"):
        assert pseudonyms.isdisjoint(hashlib.new(name, guess.encode()).hexdigest()[:16] for name in ("sha256", "md5", "sha1", "blake2b"))


def test_no_metric_has_a_label_that_a_caller_chose(lived) -> None:
    labels = set(re.findall(r'="([^"]*)"', lived[0]["metrics"]))
    assert not [label for label in labels if "canary" in label]
    assert "US" not in labels
    assert "CN" not in labels
