"""A new configuration, taken while requests flow (BYPASSES 68)."""

import copy

import pytest

from frontiergate.errors import ConfigError
from tests.fixtures.idp import IdentityProvider
from tests.fixtures.playbook import ANSWER, CHAT, FRONTIER, LAST_CHUNK, VETTED, ScriptedUpstream, chunk, granted, new_key


def _without_model(gate, id):
    return [model for model in gate.parts.config["models"] if model["id"] != id]


def _ends(client, reason):
    (event,) = client.gets_events_until_end()
    assert f'"{reason}"'.encode() in event
    client.gets_end()


def test_the_streams_of_a_model_that_is_removed_end(play):
    gate = play()
    client, upstream = gate.flow()
    other, other_upstream = gate.flow(FRONTIER)
    gate.reloads(models=_without_model(gate, "openai/gpt-open"))
    _ends(client, "caller_model_unknown")
    upstream.is_dropped()
    other_upstream.sends(chunk(b"data: 2\n\n"), LAST_CHUNK)
    other.gets_data(b"data: 2\n\n")
    other.gets_last_chunk()
    other.asks()
    other.gets_refusal(404, "caller_model_unknown")


def test_a_directive_of_the_file_ends_streams(play):
    gate = play()
    client, _ = gate.flow()
    order = {"authority": "A", "reference": "B"}
    gate.reloads(directives=[{"id": "f-1", "order": order, "models": ["openai/gpt-open"], "withdraw": True}])
    _ends(client, "policy_withdrawn")


def test_nothing_changes_for_streams_that_are_still_admitted(play):
    gate = play()
    gate.enforces(granted())
    client, upstream = gate.flow(VETTED)
    gate.reloads(docs_url="https://elsewhere.example")
    upstream.sends(chunk(b"data: 2\n\n"), LAST_CHUNK)
    client.gets_data(b"data: 2\n\n")
    client.gets_last_chunk()


def test_an_upstream_that_moves_is_asked_at_its_new_place(play):
    gate = play()
    client, upstream = gate.flow()
    idle = gate.client()
    idle.asks()
    idle_upstream = gate.upstream.accepts()
    idle_upstream.gets_request()
    idle_upstream.sends(ANSWER)
    idle.gets_answer()

    moved = ScriptedUpstream(gate)
    upstreams = copy.deepcopy(gate.parts.config["upstreams"])
    upstreams["stub"]["url"] = moved.url
    gate.reloads(upstreams=upstreams)
    idle_upstream.is_dropped()
    idle.asks()
    new = moved.accepts()
    assert new.gets_request()["host"] == moved.url.removeprefix("http://")
    new.sends(ANSWER)
    idle.gets_answer()
    upstream.sends(chunk(b"data: 2\n\n"), LAST_CHUNK)  # what flows flows on, then its connection goes
    client.gets_data(b"data: 2\n\n")
    client.gets_last_chunk()
    upstream.is_dropped()
    moved.closes()


def test_the_streams_of_an_issuer_that_is_removed_end(play):
    gate = play()
    client, _ = gate.flow()
    secret, known = new_key()
    gate.enforces(known)
    other, other_upstream = gate.flow(token=secret)
    gate.reloads(identity={"issuers": []})
    _ends(client, "caller_credential_invalid")
    other_upstream.sends(chunk(b"data: 2\n\n"), LAST_CHUNK)
    other.gets_data(b"data: 2\n\n")
    other.gets_last_chunk()
    other.asks()
    other.gets_refusal(401, "caller_credential_invalid")


def test_the_streams_of_keys_end_where_keys_are_switched_off(play):
    gate = play()
    secret, known = new_key()
    gate.enforces(known)
    client, _ = gate.flow(token=secret)
    gate.reloads(identity={**gate.parts.config["identity"], "api_keys": False})
    _ends(client, "caller_credential_invalid")


def test_a_limit_reaches_open_connections(play):
    gate = play()
    client = gate.client()
    client.asks(b"", line=b"GET /v1/nothing HTTP/1.1")
    client.gets_refusal(404, "caller_operation_unknown")
    gate.reloads(limits={**gate.parts.config["limits"], "body": "1KiB"})
    client.asks(b'{"model":"gpt-open","x":"' + b"x" * 2000 + b'"}')
    client.gets_refusal(413, "caller_body_too_large")


def test_an_identity_header_reaches_open_connections(play):
    gate = play()
    client = gate.client()
    client.asks(b"", line=b"GET /v1/nothing HTTP/1.1")
    client.gets_refusal(404, "caller_operation_unknown")
    gate.reloads(identity={**gate.parts.config["identity"], "header": "x-company"})
    client.asks(CHAT, b"x-company: " + gate.token().encode(), token=None)
    upstream = gate.upstream.accepts()
    assert upstream.gets_request()["x-company"] is None
    upstream.sends(ANSWER)
    client.gets_answer()


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(
            {"upstreams": {"stub": {"url": "http://127.0.0.1:9", "credential": {"file": "nothing-there"}}}}, id="a credential's file"
        ),
        pytest.param({"upstreams": {"stub": {"url": "https://127.0.0.1:9", "ca": "nothing-there"}}}, id="a CA bundle"),
        pytest.param({"country_groups": {"mine": ["Atlantis"]}}, id="a country"),
    ],
)
def test_a_configuration_that_cannot_be_used_changes_nothing(play, broken):
    gate = play()
    client, upstream = gate.flow()
    with pytest.raises((ConfigError, ValueError)):
        gate.reloads(**broken)
    upstream.sends(LAST_CHUNK)
    client.gets_last_chunk()
    client.asks()
    upstream.gets_request()
    upstream.sends(ANSWER)
    client.gets_answer()


def test_an_issuer_that_changes_its_claims_ends_what_rests_on_the_old_ones(play):
    gate = play()
    client, _ = gate.flow(FRONTIER)
    issuers = copy.deepcopy(gate.parts.config["identity"]["issuers"])
    issuers[0]["claims"] = {"nationality": "nationalities"}
    gate.reloads(identity={"issuers": issuers})
    _ends(client, "caller_credential_invalid")
    again = gate.client()
    again.asks(FRONTIER)
    again.gets_refusal(451, "policy_us_person")


def test_a_key_that_an_issuer_withdraws_ends_the_streams_of_its_tokens(play):
    idp = IdentityProvider()
    idp.add_key("one")
    with idp.serving() as server:
        issuer = {"issuer": "https://idp.example", "jwks": server.url, "audiences": ["frontier-gate"], "keys_refresh": "200ms"}
        gate = play(idp=idp, identity={"issuers": [issuer]})
        client, _ = gate.flow()
        idp.add_key("two")
        idp.remove_key("one")
        _ends(client, "caller_credential_invalid")
