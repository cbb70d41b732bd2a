"""Live sessions end when policy changes, each in the way that its phase allows (DESIGN 3, 5; P4)."""

import json

import pytest

from frontiergate.store.protocol import ModelPaused, Pause
from tests.fixtures.playbook import (
    ANSWER,
    CHAT,
    FRONTIER,
    LAST_CHUNK,
    STREAM,
    VETTED,
    added,
    chunk,
    grant_becomes,
    granted,
    key_revoked,
    new_key,
    unanswered,
)

MESSAGES = b"POST /v1/messages HTTP/1.1"
RESPONSES = b"POST /v1/responses HTTP/1.1"
VERSION = b"anthropic-version: 2023-06-01"


def _asked(gate, body=CHAT, *fields, **request):
    client = gate.client()
    client.asks(body, *fields, **request)
    upstream = gate.upstream.accepts()
    upstream.gets_request(body)
    return client, upstream


def _ends_with_error(client, reason):
    """The stream ends well, with one event of an error for `reason`; that event."""
    (event,) = client.gets_events_until_end()
    assert f'"{reason}"'.encode() in event
    client.gets_end()
    return event


def test_a_stream_at_an_event_boundary_ends_with_the_dialects_error_event(play):
    gate = play()
    client, upstream = gate.flow()
    gate.withdraws("openai/gpt-open")
    event = _ends_with_error(client, "policy_withdrawn")
    assert event.startswith(b"data: ")
    document = json.loads(event.removeprefix(b"data: "))
    assert document["error"]["code"] == "policy_withdrawn"
    assert document["frontier_gate"]["directive"] == "w-1"
    upstream.is_dropped()
    record = gate.records()[0]
    assert (record["end"], record["reason"], record["status"]) == ("severed", "policy_withdrawn", 200)
    assert gate.metric("frontiergate_severed_sessions_total", model="openai/gpt-open", reason="policy_withdrawn") == 1


@pytest.mark.parametrize(
    ("line", "fields", "beginning"),
    [(MESSAGES, [VERSION], b"event: error\ndata: {"), (RESPONSES, [], b"event: error\ndata: {")],
    ids=["messages", "responses"],
)
def test_each_operation_has_its_own_error_event(play, line, fields, beginning):
    gate = play()
    client, _ = gate.flow(CHAT, *fields, line=line)
    gate.withdraws("openai/gpt-open")
    assert _ends_with_error(client, "policy_withdrawn").startswith(beginning)


def test_a_part_of_an_event_that_was_held_is_not_sent(play):
    gate = play()
    client, upstream = gate.flow()
    upstream.sends(chunk(b"data: 2\n\ndata: unfin"))
    client.gets_data(b"data: 2\n\n")
    client.gets_nothing()
    gate.withdraws("openai/gpt-open")
    _ends_with_error(client, "policy_withdrawn")


def test_a_stream_within_a_long_event_is_cut(play):
    gate = play()
    client, upstream = gate.flow()
    upstream.sends(chunk(b"data: " + b"x" * 70_000))
    client.gets_data(b"data: " + b"x" * 70_000)
    gate.withdraws("openai/gpt-open")
    client.gets_cut()
    upstream.is_dropped()
    assert gate.records()[0]["end"] == "severed"


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(STREAM.replace(b"text/event-stream", b"application/json"), id="not events"),
        pytest.param(STREAM.replace(b"\r\n\r\n", b"\r\ncontent-encoding: br\r\n\r\n"), id="encoded"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 100\r\n\r\n", id="of known length"),
    ],
)
def test_what_cannot_carry_an_error_event_is_cut(play, head):
    gate = play()
    client, upstream = _asked(gate)
    upstream.sends(head)
    client.gets_head()
    gate.withdraws("openai/gpt-open")
    client.gets_cut()
    upstream.is_dropped()
    assert gate.records()[0]["end"] == "severed"


def test_the_stream_of_an_http_1_0_caller_is_cut(play):
    gate = play()
    client, upstream = _asked(gate, line=b"POST /v1/chat/completions HTTP/1.0")
    upstream.sends(STREAM, chunk(b"data: 1\n\n"))
    client.gets_head()
    client.gets(b"data: 1\n\n")
    gate.withdraws("openai/gpt-open")
    client.gets_cut()


def test_a_request_that_waits_for_its_answer_gets_the_refusal_itself(play):
    gate = play()
    client, upstream = _asked(gate)
    gate.withdraws("openai/gpt-open")
    assert not client.gets_refusal(451, "policy_withdrawn")["closes"]
    upstream.is_dropped()
    assert gate.records()[0] | {"end": "severed", "status": 451} == gate.records()[0]
    client.asks()
    client.gets_refusal(451, "policy_withdrawn")


def test_a_request_is_severed_while_the_gate_dials(play):
    with unanswered() as (host, port):
        gate = play(upstreams={"stub": {"url": f"http://{host}:{port}"}})
        client = gate.client()
        client.asks()
        gate.withdraws("openai/gpt-open")
        client.gets_refusal(451, "policy_withdrawn")
        assert gate.records()[0]["end"] == "severed"


def test_a_stream_whose_caller_reads_nothing_is_severed_too(play):
    gate = play()
    client = gate.client(receive_buffer=4096)
    client.asks()
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    upstream.sends(STREAM)
    upstream.sends_all_it_can(chunk(b"data: " + b"x" * 1000 + b"\n\n"), most=32 << 20)
    gate.withdraws("openai/gpt-open")
    upstream.is_dropped()
    client.gets_stream()
    events = client.gets_events_until_end()
    assert b"policy_withdrawn" in events[-1]
    client.gets_end()


def test_what_was_pipelined_behind_a_severed_stream_is_dropped_with_it(play):
    gate = play()
    client, _ = gate.flow()
    client.sends(gate.request())
    gate.asked -= 1
    gate.settle()
    gate.withdraws("openai/gpt-open")
    _ends_with_error(client, "policy_withdrawn")


def test_only_sessions_that_the_change_concerns_end(play):
    gate = play()
    other, other_upstream = gate.flow(FRONTIER)
    client, _ = gate.flow(CHAT)
    gate.withdraws("openai/gpt-open")
    _ends_with_error(client, "policy_withdrawn")
    other_upstream.sends(chunk(b"data: 2\n\n"), LAST_CHUNK)
    other.gets_data(b"data: 2\n\n")
    other.gets_last_chunk()


def test_a_directive_ends_only_the_streams_of_those_whom_it_does_not_admit(play):
    gate = play()
    british, upstream = gate.flow(token=gate.token(sub="bob", nationalities=["GB"], us_person=False))
    french, _ = gate.flow(token=gate.token(sub="chloe", nationalities=["GB", "FR"], us_person=False))
    gate.changes(added("gb-only", "openai/gpt-open", require={"nationality": {"all_in": ["GB", "US"]}}, otherwise="refuse"))
    _ends_with_error(french, "policy_nationality")
    upstream.sends(chunk(b"data: 2\n\n"), LAST_CHUNK)
    british.gets_data(b"data: 2\n\n")
    british.gets_last_chunk()


def test_a_directive_that_only_observes_ends_nothing_and_is_counted(play):
    gate = play()
    gate.enforces(added("watch", "openai/gpt-open", withdraw=True, mode="observe"))
    client, upstream = gate.flow()
    upstream.sends(LAST_CHUNK)
    client.gets_last_chunk()
    assert gate.records("decision")[0]["observed"] == ["watch"]
    assert gate.metric("frontiergate_observed_violations_total", directive="watch") == 1


def test_a_paused_model_ends_its_streams_without_a_legal_claim(play):
    gate = play()
    client, _ = gate.flow()
    gate.changes(ModelPaused(Pause(model="openai/gpt-open", reason="maintenance", by="olga", since=1.0)))
    event = _ends_with_error(client, "operator_paused")
    assert b"directive" not in event


def test_a_revoked_grant_ends_the_stream_that_rests_on_it(play):
    gate = play()
    gate.enforces(granted())
    client, upstream = gate.flow(VETTED)
    other, other_upstream = gate.flow(CHAT)
    gate.changes(grant_becomes("revoked"))
    _ends_with_error(client, "vetting_required")
    upstream.is_dropped()
    other_upstream.sends(LAST_CHUNK)
    other.gets_last_chunk()


def test_a_suspended_grant_ends_its_stream_and_a_resumed_one_admits_again(play):
    gate = play()
    gate.enforces(granted())
    client, _ = gate.flow(VETTED)
    gate.changes(grant_becomes("suspended"))
    _ends_with_error(client, "vetting_required")
    gate.enforces(grant_becomes("active"))
    client, upstream = gate.flow(VETTED)
    assert gate.within(gate.store.replicas())[0].live_sessions <= 1
    upstream.sends(LAST_CHUNK)
    client.gets_last_chunk()


def test_anothers_grant_ends_nothing(play):
    gate = play()
    gate.enforces(granted())
    gate.enforces(granted("g-2", "https://idp.example|bob"))
    client, upstream = gate.flow(VETTED)
    gate.enforces(grant_becomes("revoked", "g-2", "https://idp.example|bob"))
    upstream.sends(chunk(b"data: 2\n\n"), LAST_CHUNK)
    client.gets_data(b"data: 2\n\n")
    client.gets_last_chunk()


def test_a_second_grant_keeps_a_stream_alive_when_the_first_is_revoked(play):
    gate = play()
    gate.enforces(granted())
    client, upstream = gate.flow(VETTED)
    gate.enforces(granted("g-2"))
    gate.enforces(grant_becomes("revoked"))
    upstream.sends(chunk(b"data: 2\n\n"), LAST_CHUNK)
    client.gets_data(b"data: 2\n\n")
    client.gets_last_chunk()
    assert gate.records("decision")[0]["grants"] == ["g-1"]


def test_a_revoked_key_ends_its_streams(play):
    gate = play()
    secret, known = new_key()
    gate.enforces(known)
    client, _ = gate.flow(FRONTIER, token=secret)
    gate.changes(key_revoked())
    _ends_with_error(client, "caller_credential_invalid")
    again = gate.client()
    again.asks(FRONTIER, token=secret)
    again.gets_refusal(401, "caller_credential_invalid")


def test_an_answer_that_has_ended_is_not_severed(play):
    gate = play()
    client, upstream = _asked(gate)
    upstream.sends(ANSWER)
    client.gets_answer()
    gate.enforces(added("w-1", "openai/gpt-open", withdraw=True))
    client.asks()
    client.gets_refusal(451, "policy_withdrawn")
    assert gate.metric("frontiergate_severed_sessions_total") == 0


def test_each_of_many_severed_streams_is_told_its_own_request_id(play):
    gate = play()
    flows = [gate.flow() for _ in range(3)]
    gate.withdraws("openai/gpt-open")
    told = [
        json.loads(_ends_with_error(client, "policy_withdrawn").removeprefix(b"data: "))["frontier_gate"]["request_id"]
        for client, _ in flows
    ]
    assert sorted(told) == sorted(record["id"] for record in gate.records())
    assert len(set(told)) == 3


def test_nothing_that_the_upstream_still_sends_reaches_a_caller_that_was_told(play, monkeypatch):
    """Between the last event and the end of the connections."""
    monkeypatch.setattr("frontiergate.gate.sessions._ENFORCE_FIRST", 60.0)
    gate = play()
    client, upstream = gate.flow()
    gate.withdraws("openai/gpt-open")
    (event,) = client.gets_events_until_end()
    assert b'"policy_withdrawn"' in event
    upstream.sends(chunk(b"data: more\n\n"))
    upstream.is_dropped()
    client.resets()
    assert [record["end"] for record in gate.records()] == ["severed"]
