"""A defect of the gate's own refuses or cuts, is logged, and never forwards, hangs or leaks (P2, P6)."""

import pytest

from frontiergate.dialects.registry import Routes
from frontiergate.domain.catalogue import Catalogue
from frontiergate.gate.exchange import Exchange
from frontiergate.gate.relay import Relay
from frontiergate.identity.caller import Callers
from frontiergate.store import tables
from tests.fixtures.playbook import ANSWER, CHAT, STREAM, VETTED, chunk
from tests.fixtures.sources import of_sources


def _breaks(monkeypatch, owner, name):
    def broken(*args, **kwargs):
        raise RuntimeError("a secret of the implementation")

    monkeypatch.setattr(owner, name, broken)


def _served(gate, client):
    client.asks()
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    upstream.sends(ANSWER)
    client.gets_answer()


@pytest.mark.parametrize(
    ("owner", "name", "body"),
    [(Catalogue, "resolve", CHAT), (tables, "grants", VETTED), (Callers, "establish", CHAT)],
    ids=["at once", "in a task", "in the first task"],
)
def test_a_defect_in_the_judgement_refuses(play, monkeypatch, owner, name, body):
    gate = play()
    gate.tolerates("fault in an exchange")
    client = gate.client()
    with monkeypatch.context() as patched:
        _breaks(patched, owner, name)
        client.asks(body)
        refused = client.gets_refusal(503, "gate_fault")
        assert "secret" not in str(refused)
        gate.upstream.gets_no_connection()
    assert gate.records()[0] | {"end": "refused", "reason": "gate_fault", "status": 503} == gate.records()[0]
    _served(gate, client)


def test_a_defect_in_the_reading_refuses_and_closes(play, monkeypatch):
    gate = play()
    gate.tolerates("fault in the listener")
    client = gate.client()
    with monkeypatch.context() as patched:
        _breaks(patched, Routes, "match")
        client.asks()
        assert client.gets_refusal(503, "gate_fault")["closes"]
    client.is_dropped()
    _served(gate, gate.client())


@of_sources
@pytest.mark.parametrize("name", ["begin", "body"])
def test_a_defect_in_the_relay_cuts(play, monkeypatch, name):
    gate = play()
    gate.tolerates("fault in an exchange")
    client = gate.client()
    with monkeypatch.context() as patched:
        _breaks(patched, Relay, name)
        client.asks()
        upstream = gate.upstream.accepts()
        upstream.gets_request()
        upstream.sends(STREAM, chunk(b"data: 1\n\n"))
        client.gets_until_dropped()
        upstream.is_dropped()
    assert gate.records()[0] | {"end": "fault", "reason": "gate_fault"} == gate.records()[0]
    _served(gate, gate.client())


@of_sources
def test_a_defect_at_a_deadline_cuts_that_connection_alone(play, monkeypatch):
    gate = play(limits={"stream_idle": "200ms"})
    gate.tolerates("fault at a deadline")
    client, upstream = gate.flow()
    with monkeypatch.context() as patched:
        _breaks(patched, Exchange, "deadline_passed")
        client.gets_cut()
        upstream.is_dropped()
    _served(gate, gate.client())
