"""Ways round that the catalogue does not list, found by trying."""

import json
import time
from pathlib import Path

import pytest

from tests.bypass.probe import CHAT, JSON, MESSAGES, Probe
from tests.bypass.scripted import Peer, Scripted
from tests.fixtures.gate import Gate
from tests.fixtures.upstream import Upstream

OPEN = {"model": "gpt-open", "messages": []}
AMBIGUOUS, MALFORMED = "caller_model_ambiguous", "caller_request_malformed"


# -- keys that some parsers read as another


@pytest.mark.parametrize("key", [r"model\u0000", r"model\u0000x", r"Model\u0000", r"fallbacks\u0000", r"models\u0000" + "x" * 100])
@pytest.mark.parametrize("first", [True, False])
def test_a_key_that_ends_at_a_nul_for_a_c_library_is_refused(probe: Probe, key: str, first: bool) -> None:
    members = [f'"{key}":"gpt-frontier"', '"model":"gpt-open"'][:: 1 if first else -1]
    probe.refused(probe.post(("{" + ",".join(members) + "}").encode()), 400, AMBIGUOUS)


@pytest.mark.parametrize(
    "nested",
    [
        r'"tools":[{"type":"image_generation","model\u0000":"gpt-frontier"}]',
        r'"fallbacks":[{"model":"gpt-open","model\u0000":"gpt-frontier"}]',
    ],
)
def test_a_nested_key_that_ends_at_a_nul_is_refused(probe: Probe, nested: str) -> None:
    probe.refused(probe.post(f'{{"model":"gpt-open",{nested}}}'.encode(), path="/v1/responses"), 400, AMBIGUOUS)


# -- bodies that reroute behind the gate


@pytest.mark.parametrize(
    "member",
    [
        {"lora_path": "gpt-frontier"},
        {"lora_request": {"lora_name": "x"}},
        {"router_settings_override": {"fallbacks": [{"gpt-open": ["gpt-frontier"]}]}},
        {"providerOptions": {"gateway": {"models": ["gpt-frontier"]}}},
        {"__proto__": {"fallbacks": ["gpt-frontier"]}},
        {"extra_body": {"model": "gpt-frontier"}},
        {"deployment_id": "gpt-frontier"},
        {"engine": "gpt-frontier"},
        {"agent_id": "a"},
        {"route": "fallback"},
        {"plugins": [{"id": "auto-router"}]},
        {"api_base": "http://evil.example"},
        {"user_config": {"model_list": []}},
    ],
)
def test_a_member_by_which_some_server_chooses_another_model_is_refused(probe: Probe, member: dict[str, object]) -> None:
    for body in ({**OPEN, **member}, {**member, **OPEN}):
        probe.refused(probe.post(body), 400, AMBIGUOUS)
        probe.refused(probe.post({**body, "max_tokens": 1}, path=MESSAGES), 400, AMBIGUOUS)


@pytest.mark.parametrize(
    "member", [{"fallbacks": ["gpt-frontier"]}, {"models": ["gpt-open", "gpt-frontier"]}, {"fallbacks": [{"model": "gpt-frontier"}]}]
)
def test_every_model_that_a_request_can_reach_is_judged(probe: Probe, member: dict[str, object]) -> None:
    body = {**OPEN, **member}
    probe.refused(probe.post(body, token="mallory"), 451, "policy_us_person")
    assert probe.forwarded(probe.post(body)).json == body


# -- headers that reroute behind the gate

ROUTING = (
    *("x-model", "model", "x-litellm-model", "x-portkey-config", "x-portkey-virtual-key", "helicone-fallbacks", "cf-aig-fallback", "x-ms-model-mesh-model-name", "azureml-model-deployment"),
    *("x-amzn-sagemaker-target-model", "x-goog-request-params", "x-envoy-original-path", "x-envoy-upstream-alt-stat-name", "x-gateway-model-name", "openai-organization", "openai-project"),
    *("anthropic-workspace-id", "x-inference-geo", "extra-parameters", "x-use-fallback", "x-api-base", "x-target-url", "x-upstream", "destination", "x-forwarded-server", "x-backend"),
    *("anthropic_beta", "openai_beta", "user_agent", "x_stainless_lang", "x-stainless_x", "idempotency_key"),
)  # fmt: skip


def test_a_field_by_which_some_server_chooses_a_model_does_not_pass(probe: Probe) -> None:
    received = probe.forwarded(probe.post(OPEN, *[f"{name}: gpt-frontier" for name in ROUTING]))
    assert b"gpt-frontier" not in received.raw


def test_one_callers_idempotency_key_does_not_fetch_anothers_answer(probe: Probe) -> None:
    """All callers are one account to the upstream: a key that two of them share would answer the second with the first's answer."""
    for token in ("alice", "mallory"):
        received = probe.forwarded(probe.post(OPEN, "Idempotency-Key: shared", token=token))
        assert b"shared" not in received.raw


# -- what is refused stays refused on the same connection


@pytest.mark.parametrize("path", ["/v1/files", CHAT])
def test_a_refused_requests_body_is_not_the_next_request(probe: Probe, path: str) -> None:
    hidden = probe.post({"model": "gpt-frontier"})
    with probe.line() as line:
        line.send(probe.post(hidden, "Content-Type: text/plain", typed=False, path=path) + probe.post(OPEN))
        assert line.answer().status in {404, 415}
        assert line.answer().status in {0, 200}
    assert [request.json for request in probe.upstream.requests[probe.seen :]] in ([], [OPEN])
    probe.sent(len(probe.upstream.requests) - probe.seen)


def test_a_large_refused_body_is_read_past_and_nothing_after_it_is(probe: Probe) -> None:
    with probe.line() as line:
        line.send(probe.post(probe.post({"model": "gpt-frontier"}) * 1000, "Content-Type: text/plain", typed=False) + probe.post(OPEN))
        assert line.answer().status == 415
        assert line.ended()
    probe.nothing_sent()


@pytest.mark.parametrize("refused_first", [{"token": None}, {"token": "x"}, {"path": "/v1/nothing"}])
def test_a_connection_that_was_refused_once_is_neither_trusted_nor_punished(probe: Probe, refused_first: dict[str, object]) -> None:
    with probe.line() as line:
        assert line.send(probe.post(OPEN, **refused_first)).answer().status in {401, 404}
        probe.nothing_sent()
        assert line.send(probe.post(OPEN)).answer().status == 200
        assert line.send(probe.post({"model": "gpt-frontier"}, token="mallory")).answer().status == 451
    probe.sent(1)


# -- numbers, parts and pieces


@pytest.mark.parametrize("zeros", [4_301, 20_000])
def test_a_length_with_more_digits_than_python_reads_is_no_fault(probe: Probe, zeros: int) -> None:
    body = json.dumps(OPEN).encode()
    assert probe.forwarded(probe.head(JSON, f"Content-Length: {'0' * zeros}{len(body)}") + body).body == body


def test_a_request_that_comes_byte_by_byte_is_the_same_request(probe: Probe) -> None:
    data = probe.post({"model": "gpt-frontier", "messages": []}, "User-Agent: split")
    with probe.line() as line:
        line.sock.setsockopt(6, 1, 1)  # TCP_NODELAY
        for byte in data:
            line.send(bytes([byte]))
        assert line.answer().status == 200
    received = probe.sent(1)[0]
    assert (received.header("user-agent"), received.json["model"]) == ("split", "gpt-frontier")


def test_chunks_split_within_the_models_name_are_joined_before_they_are_read(probe: Probe) -> None:
    body = b'{"model":"gpt-frontier","messages":[]}'
    probe.refused(probe.chunked(*[body[n : n + 1] for n in range(len(body))], token="mallory"), 451, "policy_us_person")
    assert probe.forwarded(probe.chunked(*[body[n : n + 1] for n in range(len(body))])).body == body


# -- what a caller may know


def test_a_model_that_is_not_open_to_a_caller_and_one_that_does_not_exist_are_answered_alike(probe: Probe) -> None:
    hidden, missing = (
        probe.ask(probe.head(method="GET", path=f"/v1/models/{name}", token="mallory")) for name in ("gpt-frontier", "gpt-nothing")
    )
    for reply in (hidden, missing):
        reply.json["frontier_gate"]["request_id"] = reply.headers["x-gate-request-id"] = ""
    alike = [(reply.status, sorted(reply.headers), reply.json["error"]) for reply in (hidden, missing)]
    assert alike[0] == alike[1]
    probe.nothing_sent()


@pytest.mark.parametrize("mark", [[], ["anthropic-version: 2023-06-01"]])
def test_lists_show_only_what_is_open_to_the_caller(probe: Probe, mark: list[str]) -> None:
    for token, shown in (("alice", True), ("mallory", False)):
        reply = probe.ask(probe.head(*mark, method="GET", path="/v1/models", token=token))
        assert any("frontier" in entry["id"] for entry in reply.json["data"]) is shown
    probe.refused(probe.head(*mark, method="GET", path="/v1/models", token=None), 401)


# -- principals


def test_an_issuer_whose_subjects_could_pass_for_api_keys_is_no_issuer(upstream: Upstream, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate", upstream, identity={"issuers": [{"issuer": "key", "jwks": "jwks.json", "audiences": ["frontier-gate"]}]})
    gate.start(wait=False)
    assert gate.process is not None
    assert gate.process.wait(20) == 1
    gate.wait_log(lambda lines: any("API keys' principals" in str(line) for line in lines))
    gate._reader.join(10)


# -- an upstream that answers before it was asked


def test_an_answer_that_comes_before_the_request_is_nobodys(probe: Probe, scripted: Scripted) -> None:
    """Bytes on a connection that is opened, or kept, are not the beginning of the next answer."""

    def script(peer: Peer) -> None:
        if peer.number == 1:
            peer.read_request()
            peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
            peer.wait_for_end()
        else:
            peer.read_request()
            peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nmine")

    scripted.play(script)
    with probe.line() as line:
        assert line.send(probe.post({**OPEN, "model": "gpt-scripted"})).answer().body == b"{}"
        scripted.done()
        assert line.send(probe.post({**OPEN, "model": "gpt-scripted"})).answer().body == b"mine"


def test_a_stream_is_not_taken_over_by_who_comes_next(probe: Probe) -> None:
    """A caller that leaves in mid-stream leaves nothing behind on the upstream's connection."""
    with probe.line() as line:
        line.send(probe.post({**OPEN, "stream": True})).read_until(b"data: ")
    probe.upstream.wait_for_cancel(probe.seen)
    probe.sent(1)
    for _ in range(4):
        assert probe.forwarded(probe.post({**OPEN, "user": str(time.monotonic())})).json["model"] == "gpt-open"


@pytest.mark.parametrize("source", [["X-Forwarded-For: 127.0.0.1"], ["Forwarded: for=127.0.0.1"], ["X-Forwarded-For: ,"]])
def test_no_header_moves_a_caller_where_no_proxy_is_trusted(probe: Probe, source: list[str]) -> None:
    probe.refused(probe.post({"model": "gpt-here"}, *source), 451, "policy_location", source="127.0.0.2")
