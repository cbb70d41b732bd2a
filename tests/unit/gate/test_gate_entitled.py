"""Nobody is severed for want of an answer that the store can give: after a gap of the log, and when vetting is newly demanded."""

import pytest

from tests.fixtures.playbook import ANSWER, CHAT, FRONTIER, LAST_CHUNK, VETTED, added, chunk, granted, key_revoked, new_key

BOB = "https://idp.example|bob"


def _ends(client, reason):
    (event,) = client.gets_events_until_end()
    assert f'"{reason}"'.encode() in event
    client.gets_end()


def _flows_on(client, upstream):
    upstream.sends(chunk(b"data: 2\n\n"), LAST_CHUNK)
    client.gets_data(b"data: 2\n\n")
    client.gets_last_chunk()


@pytest.fixture
def gaps(monkeypatch):
    """From then on every epoch is beyond what the log still tells."""
    return lambda: monkeypatch.setattr("frontiergate.store.feed._WHOLE", 0)


def test_after_a_gap_of_the_log_keys_and_approvals_that_still_hold_are_kept(play, gaps):
    gate = play()
    good, known = new_key("k-1")
    gate.enforces(known)
    lost, known = new_key("k-2")
    gate.enforces(known)
    gate.enforces(granted())
    by_key, by_key_upstream = gate.flow(FRONTIER, token=good)
    by_grant, by_grant_upstream = gate.flow(VETTED)
    revoked, _ = gate.flow(token=lost)
    gaps()
    gate.changes(key_revoked("k-2"))
    _ends(revoked, "caller_credential_invalid")
    gate.enforces(added("w-1", "anthropic/claude-frontier-5", withdraw=True))
    _flows_on(by_key, by_key_upstream)
    _flows_on(by_grant, by_grant_upstream)
    by_key.asks(FRONTIER, token=good)
    by_grant_upstream.gets_request(FRONTIER)  # the connection that was idle last
    by_grant_upstream.sends(ANSWER)
    by_key.gets_answer()


def test_vetting_that_is_newly_demanded_leaves_those_alone_who_have_an_approval(play):
    gate = play()
    gate.enforces(granted(principal=BOB, models=("openai/gpt-open",)))
    approved, upstream = gate.flow(CHAT, token=gate.token(sub="bob", nationalities=["GB"], us_person=False))
    other, _ = gate.flow(CHAT)
    gate.changes(added("vet", "openai/gpt-open", require={"never": True}, otherwise={"vet": "caisi"}))
    _ends(other, "vetting_required")
    _flows_on(approved, upstream)
