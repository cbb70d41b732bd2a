"""The wall clock is set while the gate runs: what is judged by it follows, and what counts time does not (BYPASSES 61)."""

import time

import pytest

from tests.fixtures.playbook import ANSWER, CHAT, LAST_CHUNK, VETTED, added, chunk, granted, new_key
from tests.fixtures.sources import of_sources

HOUR = 3600.0
pytestmark = of_sources


@pytest.fixture
def step(monkeypatch):
    """Sets the wall clock of this process, the gate's in it, so many seconds on from where it is now."""
    true, ahead = time.time, [0.0]

    def now():
        return true() + ahead[0]

    def step(seconds):
        ahead[0] += seconds

    monkeypatch.setattr("time.time", now)
    for module in ("exchange", "gatekeeper", "record"):
        monkeypatch.setattr(f"frontiergate.gate.{module}.time", now)
    return step


def _ends(client, reason):
    (event,) = client.gets_events_until_end()
    assert f'"{reason}"'.encode() in event
    client.gets_end()


def _at(seconds):
    """An instant so many seconds from now, as people write it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


def _answered(gate, client, body=CHAT, **request):
    client.asks(body, **request)
    upstream = gate.upstream.accepts()
    upstream.gets_request(body)
    upstream.sends(ANSWER.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
    client.gets_answer()


def test_a_step_forward_ends_at_once_what_ends_within_it(play, step):
    gate = play()
    secret, known = new_key(expires_at=time.time() + HOUR / 2)
    gate.enforces(known)
    gate.enforces(granted(lasts=HOUR / 2))
    by_key, _ = gate.flow(token=secret)
    by_grant, _ = gate.flow(VETTED, token=gate.token(exp=int(time.time() + 3 * HOUR)))
    lasting, upstream = gate.flow(token=gate.token(exp=int(time.time() + 3 * HOUR)))
    step(HOUR)
    _ends(by_key, "caller_credential_expired")
    _ends(by_grant, "vetting_required")
    upstream.sends(chunk(b"data: 2\n\n"), LAST_CHUNK)
    lasting.gets_data(b"data: 2\n\n")
    lasting.gets_last_chunk()


def test_a_step_back_brings_back_what_had_ended_for_streams_too(play, step):
    gate = play()
    gate.enforces(added("for-now", "openai/gpt-open", withdraw=True, until=_at(HOUR)))
    step(2 * HOUR)
    client, upstream = gate.flow(token=gate.token(exp=int(time.time() + 9 * HOUR)))
    gate.wait(lambda: gate._worker._instants._ahead > time.time() - time.monotonic() - HOUR)  # it has looked at the clock
    step(-2 * HOUR)
    _ends(client, "policy_withdrawn")
    upstream.is_dropped()
    again = gate.client()
    again.asks()
    again.gets_refusal(451, "policy_withdrawn")


def test_a_directive_begins_for_streams_by_the_clock_as_it_is(play, step):
    gate = play()
    gate.enforces(added("later", "openai/gpt-open", **{"withdraw": True, "from": _at(HOUR)}))
    client, _ = gate.flow(token=gate.token(exp=int(time.time() + 9 * HOUR)))
    step(HOUR)
    _ends(client, "policy_withdrawn")


@pytest.mark.parametrize("seconds", [HOUR, -HOUR, 0.9, -0.9])
def test_neither_lease_nor_deadlines_go_by_the_wall_clock(play, step, seconds):
    gate = play(enforcement={"lease": "5s"})
    token = gate.token(exp=int(time.time() + 9 * HOUR), iat=int(time.time() - 9 * HOUR))
    client, upstream = gate.flow(token=token)
    step(seconds)
    for _ in range(3):
        assert not gate.stale()
        _answered(gate, gate.client(), token=token)
    client.gets_nothing()
    upstream.sends(chunk(b"data: 2\n\n"), LAST_CHUNK)
    client.gets_data(b"data: 2\n\n")
    client.gets_last_chunk()
