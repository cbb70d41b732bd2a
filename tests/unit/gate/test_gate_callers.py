"""The slow paths before a verdict: credentials that are not known yet, approvals in the store, a store that is away (DESIGN 5; P2)."""

import json
import threading
import time

from tests.fixtures import mmdb
from tests.fixtures.idp import IdentityProvider
from tests.fixtures.playbook import ANSWER, CHAT, FRONTIER, LAST_CHUNK, VETTED, added, chunk, grant_becomes, granted, new_key

USUAL_CLAIMS = {"nationality": "nationalities", "us_person": "us_person"}
LIST = b"GET /v1/models HTTP/1.1"


def _issuer(jwks):
    return {"issuer": "https://idp.example", "jwks": jwks, "audiences": ["frontier-gate"], "claims": USUAL_CLAIMS}


def _served(gate, body=CHAT, **request):
    client = gate.client()
    client.asks(body, **request)
    upstream = gate.upstream.accepts()
    upstream.gets_request(body)
    upstream.sends(ANSWER)
    client.gets_answer()
    return client, upstream


def test_a_token_of_an_unknown_key_waits_for_the_issuers_new_keys(play):
    idp = IdentityProvider()
    idp.add_key("old")
    with idp.serving() as server:
        gate = play(idp=idp, identity={"issuers": [_issuer(server.url)]})
        idp.add_key("new")
        server.gate = threading.Event()
        server.asked.clear()
        _forget_last_attempt(gate)
        client = gate.client()
        client.asks()
        assert server.asked.wait(10)
        client.gets_nothing()
        gate.upstream.gets_no_connection()
        server.gate.set()
        upstream = gate.upstream.accepts()
        upstream.gets_request()
        upstream.sends(ANSWER)
        client.gets_answer()


def test_a_caller_that_leaves_while_the_issuers_keys_are_fetched_leaves_nothing_behind(play):
    idp = IdentityProvider()
    idp.add_key("old")
    with idp.serving() as server:
        gate = play(idp=idp, identity={"issuers": [_issuer(server.url)]})
        idp.add_key("new")
        server.gate = threading.Event()
        server.asked.clear()
        _forget_last_attempt(gate)
        client = gate.client()
        client.asks()
        assert server.asked.wait(10)
        client.ends()
        record = gate.records()[0]
        assert (record["end"], record["reason"]) == ("client_gone", "caller_gone")
        server.gate.set()
        assert gate.records("decision")[0]["verdict"] == "refuse"


def _forget_last_attempt(gate):
    """The issuer was asked a moment ago, at the start; it may be asked again now."""

    async def forget():
        for key_set in gate._worker._callers._key_sets.values():
            key_set._attempted_at = None

    gate.within(forget())


def test_an_issuer_whose_keys_cannot_be_had_is_no_fault_of_the_caller(play):
    idp = IdentityProvider()
    idp.add_key()
    with idp.serving() as server:
        server.status = 500
        gate = play(idp=idp, identity={"issuers": [_issuer(server.url)]})
        client = gate.client()
        client.asks()
        assert client.gets_refusal(503, "gate_identity_unavailable")["head"]["retry-after"] == "5"


def test_a_credential_is_established_once(play):
    gate = play()
    client, upstream = _served(gate)
    client.asks()
    upstream.gets_request()
    upstream.sends(ANSWER)
    client.gets_answer()
    principals = {record["principal"] for record in gate.records("decision")}
    assert len(principals) == 1
    assert "alice" not in json.dumps(gate.records("decision"))


def test_credentials_that_are_not_good_are_refused(play):
    gate = play()
    other = IdentityProvider()
    other.add_key("k1", "ES256")
    for token, reason in [
        ("nonsense", "caller_credential_invalid"),
        ("fg_nonsense", "caller_credential_invalid"),
        (new_key()[0], "caller_credential_invalid"),
        (other.token(time.time()).decode(), "caller_credential_invalid"),
        (gate.token(exp=int(time.time()) - 3600), "caller_credential_expired"),
        (gate.token(aud="another"), "caller_credential_invalid"),
    ]:
        client = gate.client()
        client.asks(CHAT, token=token)
        refused = client.gets_refusal(401, reason)
        assert refused["head"]["www-authenticate"] == 'Bearer realm="frontiergate"'
        assert token not in json.dumps(refused["error"])
    gate.upstream.gets_no_connection()


def test_two_credentials_that_differ_are_refused(play):
    gate = play()
    client = gate.client()
    client.asks(CHAT, b"x-api-key: another")
    client.gets_refusal(401, "caller_credential_ambiguous")


def test_a_key_of_the_gate_is_a_credential(play):
    gate = play()
    secret, known = new_key()
    gate.enforces(known)
    client = gate.client()
    client.asks(FRONTIER, b"x-api-key: " + secret.encode(), token=None)
    upstream = gate.upstream.accepts()
    assert secret not in str(upstream.gets_request(FRONTIER).fields)
    upstream.sends(ANSWER)
    client.gets_answer()
    assert gate.records("decision")[0]["credential"] == "key"


def test_keys_of_the_gate_are_refused_where_they_are_switched_off(play):
    gate = play(identity={"api_keys": False})
    secret, known = new_key()
    gate.enforces(known)
    client = gate.client()
    client.asks(token=secret)
    client.gets_refusal(401, "caller_credential_invalid")


def test_a_model_that_needs_an_approval_waits_for_one(play):
    gate = play()
    client = gate.client()
    client.asks(VETTED)
    refused = client.gets_refusal(403, "vetting_required")
    assert refused["frontier_gate"]["programme"] == "caisi"
    assert refused["head"]["x-gate-verdict"] == "queue"
    gate.enforces(granted())
    client.asks(VETTED)
    upstream = gate.upstream.accepts()
    upstream.gets_request(VETTED)
    upstream.sends(ANSWER)
    client.gets_answer()
    assert [record.get("grants") for record in gate.records("decision")] == [None, ["g-1"]]


def test_a_revoked_approval_admits_no_more(play):
    gate = play()
    gate.enforces(granted())
    client, _ = _served(gate, VETTED)
    gate.enforces(grant_becomes("revoked"))
    client.asks(VETTED)
    client.gets_refusal(403, "vetting_required")


def test_an_approval_of_another_model_or_person_does_not_admit(play):
    gate = play()
    gate.enforces(granted("g-1", "https://idp.example|bob"))
    gate.enforces(granted("g-2", models=("openai/gpt-frontier",)))
    client = gate.client()
    client.asks(VETTED)
    client.gets_refusal(403, "vetting_required")


def test_an_approval_never_overrides_a_withdrawal(play):
    gate = play()
    gate.enforces(granted())
    gate.enforces(added("w-1", "openai/gpt-vetted", withdraw=True))
    client = gate.client()
    client.asks(VETTED)
    client.gets_refusal(451, "policy_withdrawn")


def test_two_requests_of_one_new_caller_at_once(play):
    gate = play()
    gate.enforces(granted())
    clients = [gate.client() for _ in range(2)]
    for client in clients:
        client.asks(VETTED)
    for upstream in [gate.upstream.accepts() for _ in range(2)]:
        upstream.gets_request(VETTED)
        upstream.sends(ANSWER)
    for client in clients:
        client.gets_answer()


def test_without_its_store_a_gate_admits_nobody(play, tmp_path):
    (tmp_path / "not-a-folder").write_text("")
    gate = play(confirmed=False, store=f"sqlite://{tmp_path}/not-a-folder/state.db")
    gate.tolerates("the policy cannot be confirmed")
    client = gate.client()
    client.asks()
    refused = client.gets_refusal(503, "gate_policy_stale")
    assert refused["head"]["retry-after"] == "5"
    client.asks(b"", line=LIST)
    client.gets_refusal(503, "gate_policy_stale")
    gate.upstream.gets_no_connection()


def test_a_gate_that_started_without_its_store_serves_once_it_is_there(play, tmp_path, monkeypatch):
    monkeypatch.setattr("frontiergate.worker._RETRY", 0.02)
    folder = tmp_path / "later"
    gate = play(confirmed=False, store=f"sqlite://{folder}/state.db")
    gate.tolerates("the policy cannot be confirmed")
    client = gate.client()
    client.asks()
    client.gets_refusal(503, "gate_policy_stale")
    folder.mkdir()
    gate.wait(lambda: not gate.stale())
    client.asks()
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    upstream.sends(ANSWER)
    client.gets_answer()


def test_a_geoip_database_is_replaced_while_the_gate_runs_and_a_broken_one_is_not_taken(play, monkeypatch):
    monkeypatch.setattr("frontiergate.worker._HOUSEKEEPING", 0.02)
    gate = play(
        directives=[
            {
                "id": "gb",
                "order": {"authority": "A", "reference": "B"},
                "models": ["openai/gpt-open"],
                "require": {"location": {"any_in": ["GB"]}},
            }
        ]
    )
    client = gate.client()
    client.asks()
    client.gets_refusal(451, "policy_location")
    mmdb.country(gate.parts.database, {"127.0.0.0/8": "GB"})
    gate.wait(lambda: _is_admitted(gate))
    gate.tolerates("GeoIP database refused")
    mmdb.truncated(gate.parts.database)
    gate.wait(lambda: gate.tolerated("GeoIP database refused"))
    assert _is_admitted(gate)
    assert gate.metric("frontiergate_geoip_age_seconds") >= 0


def _is_admitted(gate):
    """Whether a new caller gets through to the upstream."""
    client = gate.client()
    client.asks()
    if not gate.upstream.is_asked_before(client):
        client.gets_refusal(451, "policy_location")
        return False
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    upstream.sends(ANSWER.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
    client.gets_answer()
    return True


def test_a_store_that_is_lost_admits_nobody_on_what_it_would_have_to_say(play):
    gate = play(enforcement={"lease": "60s"})
    _loses_its_store(gate)
    client = gate.client()
    client.asks(VETTED)
    client.gets_refusal(503, "gate_store_unavailable")
    client.asks(CHAT, token=new_key()[0])
    client.gets_refusal(503, "gate_store_unavailable")
    client.asks(CHAT)  # what needs no look at the store goes on for a lease
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    upstream.sends(ANSWER)
    client.gets_answer()


def test_a_store_that_is_lost_for_longer_than_the_lease_admits_nobody(play):
    gate = play(enforcement={"lease": "200ms"})
    client, upstream = gate.flow()
    _loses_its_store(gate)
    gate.wait(gate.stale)
    other = gate.client()
    other.asks()
    other.gets_refusal(503, "gate_policy_stale")
    upstream.sends(chunk(b"data: 2\n\n"), LAST_CHUNK)
    client.gets_data(b"data: 2\n\n")  # what was admitted flows on
    client.gets_last_chunk()


def _loses_its_store(gate):
    """From now on the worker's store cannot be read."""
    gate.within(gate._worker._store.close())
    gate.tolerates("the policy cannot be confirmed")


def test_the_list_of_models_is_this_callers(play):
    gate = play()
    client = gate.client()
    client.asks(b"", line=LIST)
    assert _listed(client) == ["openai/gpt-frontier", "gpt-frontier", "openai/gpt-open", "gpt-open"]
    client.asks(b"", line=LIST, token=gate.token(sub="bob", us_person=False))
    assert _listed(client) == ["openai/gpt-open", "gpt-open"]
    client.asks(b"", b"anthropic-version: 2023-06-01", line=LIST)
    assert _listed(client) == ["anthropic/claude-frontier-5", "claude-frontier", "openai/gpt-open", "gpt-open"]
    gate.upstream.gets_no_connection()
    assert ["models" in record for record in gate.records("decision")] == [False, False, False]


def test_the_list_of_models_holds_those_that_an_approval_opens(play):
    gate = play()
    gate.enforces(granted())
    client = gate.client()
    client.asks(b"", line=LIST)
    assert "openai/gpt-vetted" in _listed(client)
    gate.enforces(grant_becomes("suspended"))
    client.asks(b"", line=LIST)
    assert "openai/gpt-vetted" not in _listed(client)


def test_one_model_is_shown_to_whom_it_is_open_and_to_others_does_not_exist(play):
    gate = play()
    gate.enforces(granted())
    client = gate.client()
    for path in (b"openai/gpt-frontier", b"gpt-frontier", b"openai%2Fgpt-frontier", b"openai/gpt-vetted"):
        client.asks(b"", line=b"GET /v1/models/" + path + b" HTTP/1.1")
        head = client.gets_head()
        assert head.status == 200
        assert json.loads(client.gets_body(int(head["content-length"])))["id"].startswith("openai/gpt-")
    bob = gate.token(sub="bob", us_person=False)
    for path in (b"gpt-frontier", b"gpt-vetted", b"no-such-model", b"claude-frontier", b"%FF"):
        client.asks(b"", line=b"GET /v1/models/" + path + b" HTTP/1.1", token=bob)
        assert client.gets_head_of_refusal(404).startswith("caller_")


def test_without_its_store_nobody_is_told_what_approvals_open(play):
    gate = play(enforcement={"lease": "60s"})
    _loses_its_store(gate)
    client = gate.client()
    client.asks(b"", line=LIST)
    client.gets_refusal(503, "gate_store_unavailable")


def test_a_list_takes_no_body(play):
    gate = play()
    client = gate.client()
    client.asks(b"{}", line=LIST)
    client.gets_refusal(400, "caller_request_malformed")


def _listed(client):
    head = client.gets_head()
    assert head.status == 200
    assert head["cache-control"] == "private, no-store"
    return [entry["id"] for entry in json.loads(client.gets_body(int(head["content-length"])))["data"]]


def test_a_trusted_proxys_word_on_the_address_counts_and_anothers_does_not(play):
    directive = {
        "id": "gb",
        "order": {"authority": "A", "reference": "B"},
        "models": ["openai/gpt-open"],
        "require": {"location": {"any_in": ["GB"]}},
    }
    gate = play(clients={"trusted_proxies": ["127.0.0.1/32"]}, directives=[directive])
    client, stranger = gate.client(), gate.client("127.0.0.2")
    client.asks(CHAT, b"x-forwarded-for: 203.0.113.9, 198.51.100.7")
    upstream = gate.upstream.accepts()
    upstream.gets_request()
    upstream.sends(ANSWER)
    client.gets_answer()
    stranger.asks(CHAT, b"x-forwarded-for: 198.51.100.7")
    stranger.gets_refusal(451, "policy_location")
    client.asks(CHAT, b"x-forwarded-for: 198.51.100.7, nonsense")
    client.gets_refusal(400, "caller_request_malformed")


def test_models_of_two_upstreams_in_one_request_are_ambiguous(play):
    second = {"id": "b/b", "names": ["b"], "dialects": ["openai"], "upstream": "two"}
    first = {"id": "a/a", "names": ["a"], "dialects": ["openai"], "upstream": "stub"}
    gate = play(models=[first, second], directives=[], upstreams={"two": {"url": "http://127.0.0.1:9"}})
    client = gate.client()
    client.asks(b'{"model":"a","fallbacks":["b"]}')
    client.gets_refusal(400, "caller_model_ambiguous")


def test_a_request_is_judged_on_every_model_that_it_names(play):
    gate = play()
    client = gate.client()
    client.asks(b'{"model":"gpt-open","fallbacks":["gpt-frontier"]}', token=gate.token(sub="bob", us_person=False))
    client.gets_refusal(451, "policy_us_person")
    assert gate.records("decision")[0]["models"] == ["openai/gpt-open", "openai/gpt-frontier"]
