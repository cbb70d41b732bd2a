"""Instants take effect for live streams when they come, to a quarter of a second (DESIGN 4.2; BYPASSES 43, 60)."""

import datetime
import time

import pytest

from tests.fixtures.playbook import ANSWER, CHAT, FRONTIER, LAST_CHUNK, VETTED, added, chunk, granted, new_key


def _in(seconds: float) -> str:
    return (datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)).isoformat()


def _ends(client, reason):
    (event,) = client.gets_events_until_end()
    assert f'"{reason}"'.encode() in event
    client.gets_end()


def test_a_stream_ends_with_its_token(play):
    gate = play(identity={"leeway": "0s"})
    token = gate.token(exp=int(time.time()) + 2)
    client, upstream = gate.flow(token=token)
    _ends(client, "caller_credential_expired")
    upstream.is_dropped()
    again = gate.client()
    again.asks(token=token)
    again.gets_refusal(401, "caller_credential_expired")


def test_a_stream_ends_with_its_key(play):
    gate = play()
    secret, known = new_key(expires_at=time.time() + 0.6)
    gate.enforces(known)
    client, _ = gate.flow(token=secret)
    _ends(client, "caller_credential_expired")


def test_a_stream_ends_with_the_evidence_that_it_rests_on(play):
    gate = play()
    secret, known = new_key(evidence_until=time.time() + 0.6)
    gate.enforces(known)
    client, _ = gate.flow(FRONTIER, token=secret)
    other, upstream = gate.flow(CHAT, token=secret)
    _ends(client, "policy_us_person")
    upstream.sends(chunk(b"data: 2\n\n"), LAST_CHUNK)  # what does not rest on it flows on
    other.gets_data(b"data: 2\n\n")
    other.gets_last_chunk()


def test_a_stream_ends_with_the_approval_that_it_rests_on(play):
    gate = play()
    gate.enforces(granted(lasts=0.6))
    client, _ = gate.flow(VETTED)
    _ends(client, "vetting_required")
    again = gate.client()
    again.asks(VETTED)
    again.gets_refusal(403, "vetting_required")


def test_a_directive_that_begins_ends_streams(play):
    gate = play()
    gate.enforces(added("later", "openai/gpt-open", withdraw=True, **{"from": _in(0.6)}))
    client, _ = gate.flow()
    _ends(client, "policy_withdrawn")
    again = gate.client()
    again.asks()
    again.gets_refusal(451, "policy_withdrawn")


def test_a_directive_that_ends_admits_again(play):
    gate = play()
    gate.enforces(added("for-now", "openai/gpt-open", withdraw=True, until=_in(0.5)))
    client = gate.client()
    client.asks()
    client.gets_refusal(451, "policy_withdrawn")
    client.waits(0.6)
    client.asks()
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    upstream.sends(ANSWER)
    client.gets_answer()


def test_a_directive_that_ends_leaves_streams_alone(play):
    gate = play()
    gate.enforces(added("for-now", "openai/gpt-open", require={"us_person": True}, until=_in(0.5)))
    client, upstream = gate.flow()
    client.waits(0.9)
    client.gets_nothing()
    upstream.sends(LAST_CHUNK)
    client.gets_last_chunk()


def test_one_stream_after_another_meets_its_instant(play):
    gate = play()
    now = time.time()
    secrets = []
    for number, lasts in enumerate([0.5, 1.0, 1.5]):
        secret, known = new_key(f"k-{number}", expires_at=now + lasts)
        gate.enforces(known)
        secrets.append(secret)
    flows = [gate.flow(token=secret) for secret in reversed(secrets)]
    for client, _ in reversed(flows):
        _ends(client, "caller_credential_expired")


@pytest.mark.parametrize("phase", ["waiting", "flowing"])
def test_an_instant_meets_a_request_in_each_phase(play, phase):
    gate = play()
    secret, known = new_key(expires_at=time.time() + 0.5)
    gate.enforces(known)
    if phase == "waiting":
        client = gate.client()
        client.asks(token=secret)
        upstream = gate.upstream.accepts()
        upstream.gets_request()
        client.gets_refusal(401, "caller_credential_expired")
    else:
        client, upstream = gate.flow(token=secret)
        _ends(client, "caller_credential_expired")
    upstream.is_dropped()
    assert gate.records()[0]["end"] == "severed"
