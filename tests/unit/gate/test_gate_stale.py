"""When the policy cannot be confirmed: who is refused, who may be served all the same, and who never (DESIGN 6; decision 0017)."""

import asyncio
import json
import time

import pytest

from frontiergate.gate.upstream import Upstream
from frontiergate.store.lineage import accepted
from frontiergate.store.protocol import StoreAccepted
from frontiergate.store.sqlite import SqliteStore
from frontiergate.telemetry.audit import AuditLog
from tests.fixtures.playbook import ANSWER, CHAT, FRONTIER, LAST_CHUNK, VETTED, added, chunk, lifted, new_key
from tests.fixtures.sources import of_sources

LIST = b"GET /v1/models HTTP/1.1"
OTHER = b'{"model":"gpt-other","messages":[]}'
BOTH = b'{"model":"gpt-open","fallbacks":["gpt-frontier"],"messages":[]}'
FOREIGN = {"sub": "chen", "nationalities": ["CN"], "us_person": False}


def _model(name, **more):
    return {"id": f"openai/gpt-{name}", "names": [f"gpt-{name}"], "dialects": ["openai"], "upstream": "stub", **more}


MODELS = [_model("frontier", tags=["frontier"]), _model("open", on_stale="serve"), _model("other", on_stale="serve"), _model("vetted")]


@pytest.fixture
def start(play):
    """A gate with two models that may be served stale and two that may not; its lease is short."""
    return lambda **config: play(models=MODELS, enforcement={"lease": "300ms"}, **config)


def _forwarded(gate, client, body=CHAT, **request):
    client.asks(body, **request)
    upstream = gate.upstream.accepts()
    upstream.gets_request(body)
    upstream.sends(ANSWER.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
    client.gets_answer()


def _loses_its_store(gate):
    gate.tolerates("cannot be confirmed")
    database = gate.parts.directory / "state.db"
    database.rename(database.with_suffix(".away"))
    gate.wait(gate.stale)


def _finds_its_store(gate):
    (gate.parts.directory / "state.away").rename(gate.parts.directory / "state.db")
    gate.wait(lambda: not gate.stale())


def test_a_model_that_may_be_is_served_by_the_policy_known_last_and_no_other(start):
    gate = start()
    gate.enforces(added("w-1", "openai/gpt-other", withdraw=True))
    gate.enforces(added("not-cn", "openai/gpt-open", require={"nationality": {"none_in": ["CN"]}}, otherwise="refuse"))
    _loses_its_store(gate)
    client = gate.client()
    _forwarded(gate, client)
    client.asks(OTHER)
    client.gets_refusal(451, "policy_withdrawn")  # what was withdrawn stays so
    client.asks(token=gate.token(**FOREIGN))
    client.gets_refusal(451, "policy_nationality")
    for body in (FRONTIER, BOTH, b'{"model":"gpt-unknown"}', b'{"model":["gpt-open"]}'):
        client.asks(body)
        assert client.gets_refusal(503, "gate_policy_stale")["head"]["retry-after"] == "5"
    client.asks(b"", line=LIST)
    client.gets_refusal(503, "gate_policy_stale")
    gate.wait(lambda: gate.metric("frontiergate_stale_replicas") == 1)
    assert gate.metric("frontiergate_replica_lag_seconds") > 0.3

    _finds_its_store(gate)
    _forwarded(gate, client, FRONTIER)
    gate.wait(lambda: gate.metric("frontiergate_stale_replicas") == 0)


def test_what_it_would_have_to_ask_the_store_is_not_assumed(start):
    gate = start()
    secret, known = new_key()
    gate.enforces(known)
    _loses_its_store(gate)
    client = gate.client()
    client.asks(token=secret)
    client.gets_refusal(503, "gate_store_unavailable")


def test_nobody_is_served_before_a_policy_was_ever_known(play, tmp_path):
    (tmp_path / "not-a-folder").write_text("")
    gate = play(confirmed=False, models=MODELS, store=f"sqlite://{tmp_path}/not-a-folder/state.db")
    gate.tolerates("the policy cannot be confirmed")
    client = gate.client()
    client.asks()
    client.gets_refusal(503, "gate_policy_stale")


def test_nobody_is_served_from_a_store_that_went_back_until_an_operator_accepts_it(start, play):
    other = play()
    other.stop()
    gate = start()
    gate.enforces(added("w-1", "openai/gpt-other", withdraw=True))
    gate.tolerates("the store went back")
    for file in gate.parts.directory.glob("state.db*"):
        file.unlink()
    (other.parts.directory / "state.db").rename(gate.parts.directory / "state.db")
    gate.wait(gate.stale)
    client = gate.client()
    for body in (CHAT, OTHER, FRONTIER):
        client.asks(body)
        client.gets_refusal(503, "gate_policy_stale")

    gate.wait(lambda: gate.within(gate.store.replicas()))
    (report,) = gate.within(gate.store.replicas())
    assert report.regressed
    lineage = gate.within(gate.store.position()).lineage
    gate.changes(StoreAccepted(accepted(lineage, [report.lineage])))
    gate.wait(lambda: not gate.stale())
    _forwarded(gate, client, OTHER)  # the withdrawal was lost, and that was accepted


def test_nobody_is_served_while_the_clock_is_wrong(start):
    """The store's clock is set here, since this process has but one."""
    gate = start()
    _forwarded(gate, gate.client(), FRONTIER)
    gate.tolerates("this host's clock is 60 s ahead")
    gate._worker._store._clock = lambda: time.time() - 60
    gate.changes(added("w-1", "openai/gpt-other", withdraw=True))
    gate.wait(gate.stale)
    client = gate.client()
    for body in (CHAT, FRONTIER, OTHER):
        client.asks(body)
        client.gets_refusal(503, "gate_policy_stale")
    gate.wait(lambda: gate.within(gate.store.replicas())[0].epoch == 1)  # it goes on enforcing
    gate.wait(lambda: gate.metric("frontiergate_clock_offset_seconds") == pytest.approx(60, abs=1))

    gate._worker._store._clock = time.time
    gate.changes(lifted("w-1"))
    gate.wait(lambda: not gate.stale())
    _forwarded(gate, client, FRONTIER)


def test_a_lease_that_ends_while_a_caller_is_being_established_ends_for_it_too(start, monkeypatch):
    gate = start()
    establish = gate._worker._callers.establish

    async def slowly(credential, at):
        await asyncio.to_thread(gate.wait, gate.stale)
        return await establish(credential, at)

    monkeypatch.setattr(gate._worker._callers, "establish", slowly)
    client = gate.client()
    client.asks(FRONTIER)
    gate.settle()
    _loses_its_store(gate)
    client.gets_refusal(503, "gate_policy_stale")
    gate.upstream.gets_no_connection()


@of_sources
@pytest.mark.parametrize(
    ("holder", "method", "config"),
    [(Upstream, "dial", {}), (AuditLog, "durable", {"audit": {"durability": "strict"}}), (SqliteStore, "grants_of", {})],
    ids=["for a connection", "for the disk", "for grants"],
)
def test_a_lease_that_ends_while_a_request_waits_ends_for_it_too(start, monkeypatch, holder, method, config):
    usual = getattr(holder, method)

    async def slowly(*arguments):
        await asyncio.to_thread(gate.wait, gate.stale)
        return () if method == "grants_of" else await usual(*arguments)  # the store's last answer came in time

    monkeypatch.setattr(holder, method, slowly)
    gate = start(**config)
    client = gate.client()
    client.asks(VETTED if method == "grants_of" else FRONTIER)
    gate.settle()
    _loses_its_store(gate)
    client.gets_refusal(503, "gate_policy_stale")
    if method == "dial":
        gate.upstream.accepts().is_dropped()
    else:
        gate.upstream.gets_no_connection()


def test_a_reload_may_let_a_model_be_served(start):
    gate = start()
    gate.reloads(models=[{**model, "on_stale": "serve"} for model in MODELS], enforcement={"lease": "300ms"})
    _loses_its_store(gate)
    _forwarded(gate, gate.client(), FRONTIER)


def test_what_flows_goes_on_and_meets_its_instants_while_the_store_is_away(start):
    gate = start()
    secret, known = new_key(expires_at=time.time() + 2)
    gate.enforces(known)
    flows, upstream = gate.flow()
    ends, _ = gate.flow(token=secret)
    _loses_its_store(gate)
    (event,) = ends.gets_events_until_end()
    assert json.loads(event.removeprefix(b"data: "))["error"]["code"] == "caller_credential_expired"
    upstream.sends(chunk(b"data: 2\n\n"), LAST_CHUNK)
    flows.gets_data(b"data: 2\n\n")
    flows.gets_last_chunk()
