"""BYPASSES 57-62: what changes while a request is under way counts for it, and for nobody else."""

import json
import threading
import time
from collections.abc import Callable

import pytest

from tests.bypass.probe import MESSAGES, Line, Probe, enforced, eventually, restrict
from tests.bypass.scripted import Peer, Scripted
from tests.fixtures.gate import Gate, Reply
from tests.fixtures.idp import IdentityProvider
from tests.fixtures.upstream import Received, Upstream, raw

WITHDRAWN = "policy_withdrawn"


def asked(model: str, stream: bool = False) -> dict[str, object]:
    return {"model": model, "messages": [], "stream": stream, "max_tokens": 1}


def lift(gate: Gate, name: str) -> None:
    etag = gate.admin("GET", f"/admin/v1/directives/{name}").headers["etag"]
    enforced(gate, gate.admin("DELETE", f"/admin/v1/directives/{name}", headers={"if-match": etag}))


# -- 57 withdrawn while …


@pytest.mark.parametrize("expect", [True, False])
def test_57_withdrawn_while_the_body_arrives(probe: Probe, expect: bool) -> None:
    model, name = f"gpt-spare-{int(expect)}", f"body-{int(expect)}"
    data = probe.post(asked(model), *(["Expect: 100-continue"] if expect else []))
    with probe.line() as line:
        assert line.send(probe.post(asked("gpt-open"))).answer().status == 200  # this worker has been met
        probe.sent(1)
        line.send(data[:-5])
        restrict(probe.gate, f"openai/{model}", name)
        line.send(data[-5:])
        probe.is_refusal(line.answer(), 451, WITHDRAWN)
    lift(probe.gate, name)


def test_57_withdrawn_while_a_connection_to_the_upstream_is_opened(probe: Probe) -> None:
    with probe.line() as line:
        line.send(probe.post(asked("gpt-slow")))
        eventually(lambda: live(probe.gate))
        restrict(probe.gate, "openai/gpt-slow", "dialling")
        probe.is_refusal(line.answer(), 451, WITHDRAWN)
        assert line.send(probe.post(asked("gpt-slow"))).answer().reason == WITHDRAWN
    lift(probe.gate, "dialling")


def test_57_withdrawn_while_the_upstream_has_not_answered(probe: Probe, scripted: Scripted) -> None:
    """The caller gets a refusal; the upstream's late answer finds nobody, and its connection is closed."""
    here, dropped = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        here.set()
        assert peer.wait_for_end() == b""
        dropped.set()

    scripted.play(script)
    with probe.line() as line:
        line.send(probe.post(asked("gpt-scripted")))
        assert here.wait(10)
        restrict(probe.gate, "openai/gpt-scripted", "waiting")
        assert line.answer().reason == WITHDRAWN
        assert dropped.wait(10)
    lift(probe.gate, "waiting")


@pytest.mark.parametrize(
    ("model", "path"),
    [("openai/gpt-frontier", "/v1/chat/completions"), ("anthropic/claude-frontier-5", MESSAGES), ("openai/gpt-frontier", "/v1/responses")],
)
def test_57_withdrawn_while_streaming(probe: Probe, model: str, path: str) -> None:
    with probe.line() as line:
        line.send(probe.post(asked(model, stream=True), path=path))
        line.read_until(b"data: ")
        restrict(probe.gate, model, "streaming")
        reply = line.answer()
        assert reply.status == 200
        last = reply.body.rstrip().rpartition(b"data: ")[2]
        assert json.loads(last)["frontier_gate"]["reason"] == WITHDRAWN
        assert line.ended()
        probe.upstream.wait_for_cancel(probe.seen)
        probe.sent(1)
        assert line.cut is False
    probe.refused(probe.post(asked(model, stream=True), path=path), 451, WITHDRAWN)
    lift(probe.gate, "streaming")


def test_57_withdrawn_while_an_answer_that_is_no_stream_of_events_comes(probe: Probe) -> None:
    """It is cut, so that no library takes what came for the whole."""
    probe.upstream.answer = lambda upstream, request: raw(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{"
    )
    with probe.line() as line:
        line.send(probe.post(asked("gpt-spare-2")))
        line.read_until(b"\r\n\r\n{")
        restrict(probe.gate, "openai/gpt-spare-2", "cut")
        assert line.answer().status == 0
        assert line.cut
    probe.sent(1)
    lift(probe.gate, "cut")


def test_57_withdrawn_while_a_request_waits_behind_another_on_its_connection(probe: Probe) -> None:
    """It was read before the withdrawal, and is judged after it (24)."""
    with probe.line() as line:
        line.send(probe.post(asked("gpt-open", stream=True)) + probe.post(asked("gpt-spare-3")))
        line.read_until(b"data: ")
        restrict(probe.gate, "openai/gpt-spare-3", "behind")
        probe.upstream.going.clear()
        assert line.answer().status == 200
        assert line.answer().reason == WITHDRAWN
    probe.sent(1)
    lift(probe.gate, "behind")


def test_57_withdrawn_while_its_connection_to_the_upstream_is_idle(probe: Probe) -> None:
    with probe.line() as line:
        assert line.send(probe.post(asked("gpt-spare-4"))).answer().status == 200
        probe.sent(1)
        restrict(probe.gate, "openai/gpt-spare-4", "idle")
        probe.is_refusal(line.send(probe.post(asked("gpt-spare-4"))).answer(), 451, WITHDRAWN)
    lift(probe.gate, "idle")


def live(gate: Gate) -> int:
    return sum(replica["live_sessions"] for replica in gate.admin("GET", "/admin/v1/replicas").json["replicas"])


# -- 58 races


def at_once(calls: list[Callable[[], Reply]]) -> list[Reply]:
    replies: list[Reply] = []
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], Reply]) -> None:
        barrier.wait(10)
        replies.append(call())

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return replies


def test_58_of_two_revocations_at_once_one_counts(probe: Probe) -> None:
    grant = probe.gate.new_grant("https://idp.example|racer", "openai/gpt-vetted")
    revoke = [lambda: probe.gate.admin("POST", f"/admin/v1/grants/{grant}/revoke", {"reason": "a test"})] * 4
    assert sorted(reply.status for reply in at_once(revoke)) == [200, 409, 409, 409]


def test_58_a_grant_that_is_resumed_and_revoked_at_once_ends_revoked(probe: Probe, shared_idp: IdentityProvider) -> None:
    caller = shared_idp.token(time.time(), sub="racer-2").decode()
    grant = probe.gate.new_grant("https://idp.example|racer-2", "openai/gpt-vetted")
    path = f"/admin/v1/grants/{grant}/"
    verbs = ["suspend", "resume", "revoke", "resume", "suspend"]
    at_once([lambda verb=verb: probe.gate.admin("POST", path + verb, {"reason": "a test"}) for verb in verbs])  # type: ignore[misc]
    epoch = probe.gate.admin("GET", "/admin/v1/epoch")
    enforced(probe.gate, epoch)
    assert probe.gate.admin("GET", f"/admin/v1/grants/{grant}").json["state"] == "revoked"
    probe.refused(probe.post(asked("gpt-vetted"), token=caller), 403, "vetting_required")


def test_58_a_withdrawal_outlives_a_lift_of_another_at_the_same_time(probe: Probe) -> None:
    restrict(probe.gate, "openai/gpt-spare-5", "first")
    etag = probe.gate.admin("GET", "/admin/v1/directives/first").headers["etag"]
    at_once(
        [
            lambda: probe.gate.admin("DELETE", "/admin/v1/directives/first", headers={"if-match": etag}),
            lambda: restrict(probe.gate, "openai/gpt-spare-5", "second"),
        ]
    )
    enforced(probe.gate, probe.gate.admin("GET", "/admin/v1/epoch"))
    probe.refused(probe.post(asked("gpt-spare-5")), 451, WITHDRAWN)
    lift(probe.gate, "second")
    probe.forwarded(probe.post(asked("gpt-spare-5")))


def test_58_a_stream_that_begins_while_its_grant_is_revoked_does_not_go_on(probe: Probe, shared_idp: IdentityProvider) -> None:
    caller = shared_idp.token(time.time(), sub="racer-3").decode()
    grant = probe.gate.new_grant("https://idp.example|racer-3", "openai/gpt-vetted")
    enforced(probe.gate, probe.gate.admin("GET", "/admin/v1/epoch"))
    with probe.line() as line:
        line.send(probe.post(asked("gpt-vetted", stream=True), token=caller))
        enforced(probe.gate, probe.gate.admin("POST", f"/admin/v1/grants/{grant}/revoke", {"reason": "a test"}))
        answer = line.answer()
        assert answer.status in {200, 403}
        assert answer.status == 403 or line.ended()  # a stream that had begun is over; a refusal leaves the connection open
    probe.upstream.going.clear()
    probe.sent(len(probe.upstream.requests) - probe.seen)
    probe.refused(probe.post(asked("gpt-vetted"), token=caller), 403, "vetting_required")


# -- 59 grants


def test_59_a_grant_is_for_its_model_by_every_name_and_for_no_other(probe: Probe, shared_idp: IdentityProvider) -> None:
    caller = shared_idp.token(time.time(), sub="granted").decode()
    probe.gate.new_grant("https://idp.example|granted", "openai/gpt-vetted")
    enforced(probe.gate, probe.gate.admin("GET", "/admin/v1/epoch"))
    for name in ("gpt-vetted", "gpt-vetted-alias", "openai/gpt-vetted"):
        probe.forwarded(probe.post(asked(name), token=caller))
    probe.refused(probe.post(asked("gpt-vetted-too"), token=caller), 403, "vetting_required")
    probe.refused(probe.post({**asked("gpt-vetted"), "fallbacks": ["gpt-vetted-too"]}, token=caller), 403, "vetting_required")
    probe.refused(probe.post(asked("gpt-frontier"), token=caller), 451, "policy_us_person")


def test_59_a_grant_for_a_key_is_not_its_successors(probe: Probe) -> None:
    def key() -> tuple[str, str]:
        made = probe.gate.admin("POST", "/admin/v1/keys", {"name": "the same name", "reason": "a test"}).json
        return made["key"]["id"], made["secret"]

    (first, secret), (_, successor) = key(), key()
    probe.gate.new_grant(f"key|{first}", "openai/gpt-vetted")
    enforced(probe.gate, probe.gate.admin("GET", "/admin/v1/epoch"))
    probe.forwarded(probe.post(asked("gpt-vetted"), token=secret))
    probe.refused(probe.post(asked("gpt-vetted"), token=successor), 403, "vetting_required")


# -- 60 what ends in mid-stream


def test_60_a_stream_ends_with_its_token(probe: Probe, shared_idp: IdentityProvider) -> None:
    ends_in_mid_stream(
        probe, shared_idp.token(time.time(), sub="ending", exp=time.time() - 28.5).decode(), "gpt-open", "caller_credential_expired"
    )


def test_60_a_stream_ends_with_its_grant(probe: Probe, shared_idp: IdentityProvider) -> None:
    body = {
        "principal": "https://idp.example|lapsing",
        "programme": "caisi",
        "models": ["openai/gpt-vetted"],
        "expires": "2s",
        "reason": "a test",
    }
    enforced(probe.gate, probe.gate.admin("POST", "/admin/v1/grants", body))
    ends_in_mid_stream(probe, shared_idp.token(time.time(), sub="lapsing").decode(), "gpt-vetted", "vetting_required")


def test_60_a_stream_ends_when_a_directive_begins(probe: Probe) -> None:
    begins = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
    restrict(probe.gate, "openai/gpt-spare-6", "scheduled", **{"from": begins})
    ends_in_mid_stream(probe, probe.alice, "gpt-spare-6", WITHDRAWN)
    lift(probe.gate, "scheduled")


def ends_in_mid_stream(probe: Probe, token: str, model: str, reason: str) -> None:
    with Line(probe.gate.port) as line:
        line.send(probe.post(asked(model, stream=True), token=token))
        reply = line.answer()
        assert reply.status == 200
        assert json.loads(reply.body.rstrip().rpartition(b"data: ")[2])["frontier_gate"]["reason"] == reason
    probe.sent(1)
    assert probe.ask(probe.post(asked(model), token=token)).reason == reason


# -- 62 caches


def test_62_a_refusal_is_not_remembered_beyond_the_approval(probe: Probe, shared_idp: IdentityProvider) -> None:
    caller = shared_idp.token(time.time(), sub="patient").decode()
    for _ in range(4):
        probe.refused(probe.post(asked("gpt-vetted"), token=caller), 403, "vetting_required")
    grant = probe.gate.new_grant("https://idp.example|patient", "openai/gpt-vetted")
    enforced(probe.gate, probe.gate.admin("GET", "/admin/v1/epoch"))
    for _ in range(4):
        probe.forwarded(probe.post(asked("gpt-vetted"), token=caller))
    enforced(probe.gate, probe.gate.admin("POST", f"/admin/v1/grants/{grant}/suspend", {"reason": "a test"}))
    for _ in range(4):
        probe.refused(probe.post(asked("gpt-vetted"), token=caller), 403, "vetting_required")


def test_62_a_place_that_one_caller_was_seen_at_is_not_the_next_ones(probe: Probe) -> None:
    for source, status in (("127.0.0.1", 200), ("127.0.0.2", 451), ("127.0.0.1", 200), ("127.0.0.3", 451)):
        assert probe.ask(probe.post(asked("gpt-here")), source).status == status
    probe.sent(2)


def test_62_an_answer_goes_to_whom_it_is_for(probe: Probe) -> None:
    """Many callers over the same pooled connections, each with an answer of its own."""

    def echo(upstream: Upstream, request: Received) -> object:
        body = json.dumps({"for": request.json["user"]}).encode()
        return raw(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))

    probe.upstream.answer = echo  # type: ignore[assignment]
    with probe.line() as one, probe.line() as two, probe.line() as three:
        for turn in range(50):
            for name, line in (("one", one), ("two", two), ("three", three)):
                line.send(probe.post({**asked("gpt-open"), "user": f"{name}-{turn}"}))
            for name, line in (("one", one), ("two", two), ("three", three)):
                assert line.answer().json == {"for": f"{name}-{turn}"}
    probe.sent(150)
