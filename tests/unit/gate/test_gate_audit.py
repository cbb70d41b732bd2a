"""What is told of each request: records, durability, metrics; every conversation's end is checked besides (DESIGN 5; P5, P6, P7)."""

import contextlib
import json
import os
import threading

import pytest

from frontiergate.errors import GateError
from frontiergate.worker import pseudonym_key
from tests.fixtures.playbook import ALICE, ANSWER, CHAT, FRONTIER, LAST_CHUNK, VETTED, added, chunk


def _served(gate, client=None, body=CHAT):
    client = client or gate.client()
    client.asks(body)
    upstream = gate.upstream.accepts()
    upstream.gets_request(body)
    upstream.sends(ANSWER)
    return client, client.gets_answer()


def test_the_record_of_a_decision_says_who_what_and_on_which_facts(play):
    gate = play()
    _, head = _served(gate, body=FRONTIER)
    record = gate.records("decision")[0]
    assert record["id"] == head["x-gate-request-id"]
    assert (
        record
        | {
            "verdict": "forward",
            "epoch": 0,
            "credential": "token",
            "dialect": "openai",
            "operation": "chat.completions",
            "models": ["openai/gpt-frontier"],
            "location": "US",
            "address": "127.0.0.0/24",
        }
        == record
    )
    assert {"kind": "us_person", "value": "true", "assurance": "attested", "source": "token"} in record["facts"]
    assert ALICE not in json.dumps(record)
    assert gate.token() not in json.dumps(record)


def test_the_record_of_a_refusal_names_the_directive(play):
    gate = play()
    client = gate.client()
    client.asks(FRONTIER, token=gate.token(us_person=False))
    refused = client.gets_refusal(451, "policy_us_person")
    assert refused["frontier_gate"]["order"]["reference"] == "IS-2026-014"
    assert refused["head"]["link"] == '<https://frontiergate.example/docs>; rel="blocked-by"'
    record = gate.records("decision")[0]
    assert record | {"verdict": "refuse", "reason": "policy_us_person", "status": 451, "directives": ["is-2026-014"]} == record


def test_a_refusal_before_anybody_is_known_is_recorded_too(play):
    gate = play()
    client = gate.client()
    client.asks(CHAT, token=None)
    client.gets_refusal(401, "caller_credential_missing")
    record = gate.records("decision")[0]
    assert "principal" not in record
    assert record | {"verdict": "refuse", "reason": "caller_credential_missing", "dialect": "openai"} == record


@pytest.mark.parametrize(("mode", "recorded"), [("full", "127.0.0.1"), ("none", None)])
def test_the_address_is_recorded_as_configured(play, mode, recorded):
    gate = play(audit={"address": mode})
    _served(gate)
    assert gate.records("decision")[0].get("address") == recorded


def test_with_strict_durability_the_decision_is_on_disk_before_the_request_goes_on(play, monkeypatch):
    gate = play(audit={"durability": "strict"})
    with _held_fsync(monkeypatch) as (reached, go_on):
        client = gate.client()
        client.asks()
        assert reached.wait(10)
        gate.upstream.gets_no_connection()
        go_on.set()
        upstream = gate.upstream.accepts()
        upstream.gets_request()
        upstream.sends(ANSWER)
        client.gets_answer()


def test_with_strict_durability_a_request_is_severed_and_left_like_any_other(play, monkeypatch):
    gate = play(audit={"durability": "strict"})
    with _held_fsync(monkeypatch) as (reached, go_on):
        client, leaver = gate.client(), gate.client()
        leaver.asks()
        assert reached.wait(10)
        client.asks()
        gate.settle()
        leaver.ends()
        _severs_without_fsync(gate)
        client.gets_refusal(401, "caller_credential_invalid")
        go_on.set()
    gate.upstream.gets_no_connection()


def _severs_without_fsync(gate):
    """The session's caller ends, as with its issuer: an append to the store would wait for the same disk."""

    async def end():
        gate._worker._callers.forget_issuer("https://idp.example")
        await gate._worker._keeper.sessions.redecide(gate._worker._keeper)

    gate.within(end())


@contextlib.contextmanager
def _held_fsync(monkeypatch):
    """The audit's disk is slow: an event that it was asked to write, and one that lets it."""
    reached, go_on = threading.Event(), threading.Event()
    fsync = os.fsync

    def slow(descriptor):
        if threading.current_thread().name == "audit":
            reached.set()
            go_on.wait(10)
        fsync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", slow)
        try:
            yield reached, go_on
        finally:
            go_on.set()


def test_with_strict_durability_nothing_goes_on_that_cannot_be_recorded(play, monkeypatch):
    gate = play(audit={"durability": "strict"})
    fsync = os.fsync

    def full(descriptor):
        if threading.current_thread().name == "audit":
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        gate.tolerates("the audit log cannot be written")
        client = gate.client()
        client.asks()
        client.gets_refusal(503, "gate_store_unavailable")
        client.asks()
        client.gets_refusal(503, "gate_store_unavailable")
        gate.upstream.gets_no_connection()


def test_requests_are_counted_by_what_became_of_them(play):
    gate = play()
    client, _ = _served(gate)
    client.asks(FRONTIER, token=gate.token(us_person=False))
    client.gets_refusal(451, "policy_us_person")
    client.asks(VETTED)
    client.gets_refusal(403, "vetting_required")
    client.asks(b'{"model":"nothing"}')
    client.gets_refusal(404, "caller_model_unknown")
    client.asks(b"", line=b"GET /nothing HTTP/1.1")
    client.gets_refusal(404, "caller_operation_unknown")
    counts = "frontiergate_requests_total"
    assert gate.metric(counts, model="openai/gpt-open", dialect="openai", verdict="forward", reason="none") == 1
    assert gate.metric(counts, model="openai/gpt-frontier", verdict="refuse", reason="policy_us_person") == 1
    assert gate.metric(counts, model="openai/gpt-vetted", verdict="queue", reason="vetting_required") == 1
    assert gate.metric(counts, model="none", verdict="refuse", reason="caller_model_unknown") == 1
    assert gate.metric(counts, model="none", verdict="refuse", reason="caller_operation_unknown") == 1
    assert gate.metric("frontiergate_decision_seconds_count") == 3
    assert gate.metric("frontiergate_overhead_seconds_count") == 1


def test_levels_say_what_is_alive(play):
    gate = play()
    client, upstream = gate.flow()
    gate.wait(lambda: gate.metric("frontiergate_live_sessions", model="openai/gpt-open") == 1)
    assert gate.metric("frontiergate_client_connections") == 1
    assert gate.metric("frontiergate_upstream_connections", upstream="stub") == 1
    upstream.sends(LAST_CHUNK)
    client.gets_last_chunk()
    client.ends()
    gate.wait(lambda: gate.metric("frontiergate_live_sessions") == 0)
    gate.wait(lambda: gate.metric("frontiergate_client_connections") == 0)
    assert gate.metric("frontiergate_upstream_connections", upstream="stub") == 1  # idle, kept


def test_a_replica_tells_what_it_severed(play):
    gate = play()
    clients = [gate.flow()[0] for _ in range(3)]
    gate.enforces(added("w-1", "openai/gpt-open", withdraw=True))
    (report,) = gate.within(gate.store.replicas())
    assert (report.epoch, report.enforced[-1].severed, report.live_sessions) == (1, 3, 0)
    for client in clients:
        assert len(client.gets_events_until_end()) == 1


def test_a_worker_that_stops_lets_what_flows_end(play):
    gate = play(limits={"drain": "5s"})
    idle = gate.client()
    gate.settle()
    client, upstream = gate.flow()
    gate.drains()
    idle.gets_end()
    upstream.sends(chunk(b"data: 2\n\n"), LAST_CHUNK)
    client.gets_data(b"data: 2\n\n")
    client.gets_last_chunk()
    client.gets_end()
    with pytest.raises(OSError, match="refused"):
        gate.client()


def test_a_worker_that_stops_severs_what_does_not_end_in_time(play):
    gate = play(limits={"drain": "100ms"})
    client, upstream = gate.flow()
    waiting = gate.client()
    waiting.asks()
    gate.upstream.accepts().gets_request()
    half = gate.client()
    half.sends(b"GET /v1/models HT")
    gate.settle()
    gate.drains()
    assert b"gate_draining" in client.gets_events_until_end()[0]
    upstream.is_dropped()
    assert waiting.gets_refusal(503, "gate_draining")["closes"]
    half.is_dropped()


def test_the_key_of_pseudonyms_is_made_once(play, tmp_path):
    config = play().configuration()
    made = pseudonym_key(config)
    assert len(made) == 32
    keys: list[bytes] = []
    os.unlink(f"{config.audit.path}/pseudonym.key")
    threads = [threading.Thread(target=lambda: keys.append(pseudonym_key(config))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1
    assert len(keys[0]) == 32
    assert os.stat(f"{config.audit.path}/pseudonym.key").st_mode & 0o777 == 0o600
    assert [name for name in os.listdir(config.audit.path) if name.startswith(".")] == []


def test_a_folder_for_the_audit_that_cannot_be_used_is_an_error_that_says_so(play, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(GateError, match=r"audit\.path"):
        play(audit={"path": str(tmp_path / "file" / "audit")})
