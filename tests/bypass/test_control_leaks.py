"""BYPASSES 70, 72, 74-76: the control plane stays where it is, and nothing secret or caller-made comes out."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bypass.probe import Probe, enforced, restrict
from tests.bypass.tlsserver import TlsServer
from tests.fixtures.gate import OPERATOR_TOKEN, UPSTREAM_SECRET, Gate
from tests.fixtures.idp import IdentityProvider

CONTROL = (
    "/admin/v1/epoch",
    "/admin/v1/directives",
    "/admin/v1/explain",
    "/admin/v1/openapi.json",
    "/metrics",
    "/healthz",
    "/readyz",
    "/",
    "/decide/v1/check",
    "/decide/v1/forward_auth",
    "/gate/v1/admin",
)
OPEN = {"model": "gpt-open", "messages": []}


# -- 70 the control plane through the data port


@pytest.mark.parametrize("path", CONTROL)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_70_the_control_plane_is_not_on_the_data_port(probe: Probe, path: str, method: str) -> None:
    control = f"127.0.0.1:{probe.gate.control_port}"
    for token in (OPERATOR_TOKEN, "alice"):
        for target, host in (
            (path, "gate.example"),
            (path, control),
            (f"http://{control}{path}", control),
            (f"//{control}{path}", control),
            (f"/v1/models/..{path}", control),
        ):
            reply = probe.ask(
                probe.head(
                    f"Host: {host}",
                    "X-Forwarded-Host: " + control,
                    "Content-Length: 0",
                    method=method,
                    path=target,
                    token=token,
                    host=False,
                )
            )
            probe.is_refusal(reply, (400, 401, 404))
            assert b"epoch" not in reply.body


def test_70_nothing_tunnels_there(probe: Probe) -> None:
    control = f"127.0.0.1:{probe.gate.control_port}"
    probe.refused(probe.head(method="CONNECT", path=control), (400, 404))
    probe.refused(probe.head("Connection: Upgrade", "Upgrade: websocket", method="GET", path="/admin/v1/epoch"), (400, 404))


def test_70_an_operator_is_no_caller_and_a_caller_no_operator(probe: Probe) -> None:
    probe.refused(probe.post(OPEN, token=OPERATOR_TOKEN), 401, "caller_credential_invalid")
    for token in (probe.alice, UPSTREAM_SECRET, "", "x"):
        assert probe.gate.admin("GET", "/admin/v1/epoch", headers={"authorization": f"Bearer {token}"}).status == 401
    for path in ("/v1/chat/completions", "/v1/models"):
        assert probe.gate.admin("POST", path, OPEN).status in {404, 405}


# -- 72 operators


@pytest.mark.parametrize(("name", "method", "path", "body"), [
    ("viewer", "POST", "/admin/v1/directives", {}),
    ("viewer", "POST", "/admin/v1/models/openai/gpt-open/pause", {"reason": "x"}),
    ("viewer", "POST", "/admin/v1/grants", {}),
    ("viewer", "POST", "/admin/v1/keys", {}),
    ("viewer", "DELETE", "/admin/v1/directives/is-2026-014", None),
    ("reviewer", "POST", "/admin/v1/directives", {}),
    ("reviewer", "POST", "/admin/v1/keys", {}),
    ("auditor", "POST", "/admin/v1/grants", {}),
])  # fmt: skip
def test_72_an_operator_without_the_role_is_refused_before_anything_is_read(
    probe: Probe, name: str, method: str, path: str, body: object
) -> None:
    epoch = probe.gate.admin("GET", "/admin/v1/epoch").json
    headers = {
        "authorization": f"Bearer token-of-{name}",
        "x-role": "admin",
        "x-forwarded-user": "olga",
        "x-http-method-override": "GET",
        "if-match": "*",
    }
    assert probe.gate.admin(method, path, body, headers).status == 403
    assert probe.gate.admin("GET", "/admin/v1/epoch").json == epoch


def test_72_only_an_admin_says_that_documents_were_checked(probe: Probe) -> None:
    body = {"name": "x", "reason": "x", "assurance": "verified", "evidence": {"us_person": True}}
    assert probe.gate.admin("POST", "/admin/v1/keys", body, {"authorization": "Bearer token-of-operator"}).status == 403


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        f"Basic {OPERATOR_TOKEN}",
        f"Bearer {OPERATOR_TOKEN} x",
        f"Bearer {OPERATOR_TOKEN},x",
        OPERATOR_TOKEN,
        f"Bearer {OPERATOR_TOKEN[:-1]}",
        f"Bearer {OPERATOR_TOKEN.upper()}",
    ],
)
def test_72_what_is_not_an_operators_token_is_refused(probe: Probe, authorization: str) -> None:
    assert probe.gate.admin("GET", "/admin/v1/epoch", headers={"authorization": authorization}).status == 401


def test_72_a_lift_counts_only_for_what_was_seen(probe: Probe) -> None:
    restrict(probe.gate, "openai/gpt-spare-7", "seen")
    path = "/admin/v1/directives/seen"
    etag = probe.gate.admin("GET", path).headers["etag"]
    for stale in (None, '"0"', 'W/"1"', "x", '"x"', f'{etag}, "1"'):
        assert probe.gate.admin("DELETE", path, headers={} if stale is None else {"if-match": stale}).status in {400, 412, 422, 428}, stale
    enforced(probe.gate, probe.gate.admin("DELETE", path, headers={"if-match": etag}))
    restrict(probe.gate, "openai/gpt-spare-7", "seen")  # the same id, another directive
    assert probe.gate.admin("DELETE", path, headers={"if-match": etag}).status == 412
    probe.refused(probe.post({"model": "gpt-spare-7"}), 451, "policy_withdrawn")
    enforced(probe.gate, probe.gate.admin("DELETE", path, headers={"if-match": probe.gate.admin("GET", path).headers["etag"]}))


# -- 74 metrics


def test_74_no_caller_can_make_series(probe: Probe, shared_idp: IdentityProvider) -> None:
    def series() -> set[str]:
        return {
            line.rpartition(" ")[0] for line in probe.gate.admin("GET", "/metrics").body.decode().splitlines() if not line.startswith("#")
        }

    def strange(number: int) -> None:
        token = shared_idp.token(
            time.time(), sub=f"strange-subject-{number}", iss=shared_idp.issuer if number % 2 else f"https://strange-{number}.example"
        )
        probe.ask(probe.post({"model": f"strange-model-{number}"}, token=token.decode()))
        probe.ask(
            probe.head("Content-Length: 0", f"strange-field-{number}: x", path=f"/strange-path-{number}", token=f"strange-token-{number}")
        )
        probe.ask(probe.head("Content-Length: 0", path=f"/v1/models/strange-model-{number}", method="GET"))
        probe.ask(probe.post(b"strange", f"anthropic-version: strange-{number}", path="/v1/messages"))

    for number in range(4):
        strange(number)
    before = series()
    for number in range(40):
        strange(number)
    after = series()
    assert "strange" not in "\n".join(after)
    assert len(after) <= len(before) + 8, after - before  # a worker that had not seen one of the kinds yet


# -- 75 secrets


def test_75_no_secret_and_no_name_comes_out_anywhere(probe: Probe, shared_idp: IdentityProvider) -> None:
    gate = probe.gate
    key = gate.admin("POST", "/admin/v1/keys", {"name": "leak", "reason": "a test", "evidence": {"us_person": True}}).json["secret"]
    token = shared_idp.token(time.time(), sub="a-very-personal-name").decode()
    bad = shared_idp.token(time.time(), sub="a-very-personal-name", aud="elsewhere").decode()
    said = b""
    for credential in (key, token, bad, key[:-1] + "A", f"{token}x", OPERATOR_TOKEN):
        for body in (OPEN, {"model": "gpt-frontier"}, {"model": "gpt-vetted"}, b"broken", {"model": credential}):
            with probe.line(source="127.0.0.1") as line:
                line.send(probe.post(body, f"x-note: {credential}", token=credential)).answer()
                said += line.received
    said += probe.ask(probe.post(OPEN, token=f"{token} {token}")).body
    said += gate.admin("POST", "/admin/v1/explain", {"principal": "https://idp.example|x", "model": "gpt-open", "token": token}).body
    said += gate.admin("GET", "/metrics").body + gate.admin("GET", "/admin/v1/keys").body
    probe.sent(len(probe.upstream.requests) - probe.seen)
    written = wait_for_audit(gate, b"vetting_required")
    logged = json.dumps(gate.log).encode()
    processes = b"".join(Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids(gate))
    for secret in (key, key[3:], token, token.split(".")[2], bad, UPSTREAM_SECRET, OPERATOR_TOKEN):
        for place, content in (("answers", said), ("audit", written), ("log", logged), ("arguments", processes)):
            assert secret.encode() not in content, place
    for place, content in (("answers", said), ("audit", written), ("log", logged)):
        assert b"a-very-personal-name" not in content, place
    assert b"127.0.0.1" not in written


def test_75_what_the_gate_keeps_is_for_its_owner_only(probe: Probe) -> None:
    for path in probe.gate.directory.joinpath("audit").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


def test_75_the_upstreams_secret_is_in_no_environment_or_dump_of_the_configuration(probe: Probe) -> None:
    for pid in pids(probe.gate):
        assert UPSTREAM_SECRET.encode() not in Path(f"/proc/{pid}/environ").read_bytes()


def wait_for_audit(gate: Gate, wanted: bytes) -> bytes:
    """The audit log, once `wanted` is in it: a thread writes it."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        written = b"".join(path.read_bytes() for path in gate.directory.joinpath("audit").glob("*.jsonl"))
        if wanted in written:
            return written
    raise AssertionError("the audit log does not show it")


def pids(gate: Gate) -> list[int]:
    assert gate.process is not None
    children = Path(f"/proc/{gate.process.pid}/task/{gate.process.pid}/children").read_text().split()
    return [gate.process.pid, *map(int, children)]


# -- 76 the upstream's credential


@pytest.mark.parametrize("what", ["untrusted", "misnamed", "expired"])
def test_76_an_upstream_that_is_not_who_it_should_be_gets_nothing(probe: Probe, tls_servers: Callable[[str], TlsServer], what: str) -> None:
    server = tls_servers(what)
    reply = probe.ask(probe.post({"model": f"gpt-{what}"}))
    assert (reply.status, reply.reason) == (502, "upstream_unreachable")
    assert server.attempts() >= 1
    assert server.received == b""


def test_76_an_upstream_that_shows_its_certificate_gets_the_request(probe: Probe, tls_servers: Callable[[str], TlsServer]) -> None:
    server = tls_servers("trusted")
    probe.ask(probe.post({"model": "gpt-trusted"}))
    assert server.received.startswith(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost:")


def test_76_the_environment_names_no_proxy_for_it(probe: Probe) -> None:
    """Variables that other clients obey: the shared gate is started with them set (conftest)."""
    environment = Path(f"/proc/{probe.gate.worker_pids()[0]}/environ").read_bytes()
    assert b"HTTP_PROXY=http://127.0.0.1:9" in environment
    probe.forwarded(probe.post(OPEN))
