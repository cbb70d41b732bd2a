"""Explain answers as the gate would decide."""

import time
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures import mmdb
from tests.unit.control.control_harness import Desk

PATH = "/admin/v1/explain"
MODEL = "acme/frontier-5"


def explain(desk: Desk, **question: object) -> Any:
    answer = desk.ask("POST", PATH, {"model": MODEL, **question}, who="viewer")
    assert answer.status == 200, answer.raw
    return answer.json


def refused(desk: Desk, **question: object) -> list[dict[str, str]]:
    answer = desk.ask("POST", PATH, {"model": MODEL, **question})
    assert answer.status == 422
    errors: list[dict[str, str]] = answer.json["errors"]
    return errors


def restrict(desk: Desk, **changes: object) -> None:
    directive = {
        "id": "is-2",
        "order": {"authority": "Bureau", "reference": "IS-2"},
        "models": [MODEL],
        "require": {"nationality": {"all_in": ["five_eyes"]}},
        "otherwise": "refuse",
        "unknown": {"vet": "caisi"},
        **changes,
    }
    assert desk.ask("POST", "/admin/v1/directives", {"directive": directive, "reason": "r"}).status == 201


def test_without_directives_the_request_is_forwarded(desk: Desk) -> None:
    said = explain(desk)
    assert said["verdict"]["outcome"] == "forward"
    assert said["summary"] == "The request is forwarded: every directive in force is satisfied."
    assert said["models"][0]["directives"] == []
    assert said["notes"] == ["neither an address nor a location is given: the location is not known"]


def test_a_refusal_names_order_demand_and_evidence(desk: Desk) -> None:
    restrict(desk)
    said = explain(desk, nationality=["US", "CHN"])
    assert (said["epoch"], said["verdict"]["outcome"], said["verdict"]["reason"]) == (1, "refuse", "policy_nationality")
    (directive,) = said["models"][0]["directives"]
    assert (directive["id"], directive["truth"], directive["outcome"]) == ("is-2", "false", "refuse")
    (finding,) = directive["findings"]
    assert [(e["value"], e["assurance"], e["source"]) for e in finding["evidence"]] == [
        ("US", "attested", "given in the question"),
        ("CN", "attested", "given in the question"),
    ]
    assert said["summary"].startswith(
        "The request is refused with 451. is-2 (Bureau, IS-2) is not satisfied: the caller must hold only nationalities of five_eyes"
    )
    assert {fact["value"] for fact in said["facts"]} == {"US", "CN"}


def test_a_satisfied_directive_is_judged_true(desk: Desk) -> None:
    restrict(desk)
    (directive,) = explain(desk, nationality=["US"])["models"][0]["directives"]
    assert (directive["truth"], "outcome" in directive) == ("true", False)


def test_weak_evidence_leaves_it_unknown_and_leads_to_vetting(desk: Desk) -> None:
    restrict(desk)
    said = explain(desk, nationality=["US"], assurance="asserted")
    assert (said["verdict"]["outcome"], said["models"][0]["directives"][0]["truth"]) == ("queue", "unknown")
    assert "A grant of the programme caisi (CAISI user review) would satisfy it." in said["summary"]
    assert "cannot be told to be satisfied" in said["summary"]


def test_a_grant_that_waives_a_directive_is_named(desk: Desk) -> None:
    restrict(desk)
    body = {"principal": "https://idp.example|u", "programme": "caisi", "models": [MODEL], "reason": "r"}
    grant = desk.ask("POST", "/admin/v1/grants", body).json["grant"]
    said = explain(desk, principal="https://idp.example|u")
    (directive,) = said["models"][0]["directives"]
    assert (said["verdict"]["outcome"], directive["truth"], directive["waived_by"]) == ("forward", "unknown", [grant["id"]])
    assert said["summary"] == f"The request is forwarded, thanks to the grant {grant['id']}."
    assert [(g["id"], g["counts"]) for g in said["grants"]] == [(grant["id"], True)]
    assert "the gate keeps no evidence of a token's bearer: what the token claims must be given in the question" in said["notes"]


def test_a_key_brings_its_own_evidence(desk: Desk) -> None:
    restrict(desk)
    key = desk.ask("POST", "/admin/v1/keys", {"name": "k", "evidence": {"nationality": ["GB"]}, "expires": "1h", "reason": "r"}).json["key"]
    said = explain(desk, principal=key["principal"])
    assert (said["verdict"]["outcome"], said["facts"][0]["source"]) == ("forward", f"key {key['id']}")
    later = explain(desk, principal=key["principal"], at="2999-01-01T00:00:00Z")
    assert any("the key expired at" in note for note in later["notes"])
    desk.ask("DELETE", f"/admin/v1/keys/{key['id']}")
    assert any("the key was revoked at" in note for note in explain(desk, principal=key["principal"])["notes"])
    unknown = desk.ask("POST", PATH, {"model": MODEL, "principal": "key|k_nobody"})
    assert (unknown.status, unknown.json["detail"].startswith("there is no key 'k_nobody'")) == (404, True)


def test_directives_that_are_observed_are_judged_but_do_not_act(desk: Desk) -> None:
    restrict(desk, mode="observe")
    said = explain(desk, nationality=["CN"])
    assert (said["verdict"]["outcome"], said["verdict"]["observed"]) == ("forward", ["is-2"])
    assert said["summary"].endswith("Only observed, not enforced: is-2.")
    assert said["models"][0]["directives"][0]["waived_by"] == []


def test_the_instant_asked_for_decides(desk: Desk) -> None:
    restrict(desk, **{"from": "2998-01-01T00:00:00Z"})
    assert explain(desk)["verdict"]["valid_until"] == "2998-01-01T00:00:00.000Z"
    assert explain(desk, at="2999-01-01T00:00:00Z", nationality=["CN"])["verdict"]["outcome"] == "refuse"
    assert explain(desk, at="2001-01-01T00:00:00Z", nationality=["CN"])["verdict"]["outcome"] == "forward"
    assert refused(desk, at="2999-01-01T00:00:00")[0]["detail"] == "2999-01-01T00:00:00 has no time zone: write 2999-01-01T00:00:00Z"


def test_several_models_are_judged_together(desk: Desk) -> None:
    restrict(desk)
    desk.ask("POST", "/admin/v1/models/acme%2Fsmall/pause", {"reason": "r"})
    said = explain(desk, models=["acme/small", MODEL], us_person=True, nationality=["US"])
    assert [model["id"] for model in said["models"]] == ["acme/small", MODEL]
    assert (said["verdict"]["outcome"], said["models"][0]["state"]) == ("paused", "paused")
    assert said["summary"].startswith("The request is answered 503")


def test_a_question_needs_a_model_that_exists(desk: Desk) -> None:
    assert desk.ask("POST", PATH, {}).json["errors"][0]["field"] == "model"
    answer = desk.ask("POST", PATH, {"model": "acme/frontier-7"})
    assert (answer.status, "did you mean 'acme/frontier-" in answer.json["detail"]) == (404, True)


@pytest.mark.parametrize(
    ("question", "field", "detail"),
    [
        ({"location": "Atlantis"}, "location", "'Atlantis' is not a country code"),
        ({"network": ["tor"]}, "network[0]", "'tor' is not a kind of network: write one of anonymous, anonymous_vpn"),
        ({"address": "1.2.3"}, "address", "'1.2.3' is not an IP address"),
        ({"address": "8.8.8.8", "location": "US"}, "address", "give either an address, or location and network"),
        ({"nationality": ["Q"]}, "nationality[0]", "'Q' is not a country code"),
        ({"nationalty": ["US"]}, "nationalty", "did you mean 'nationality'?"),
    ],
)
def test_a_question_that_cannot_be_read_is_told_where(desk: Desk, question: dict[str, object], field: str, detail: str) -> None:
    (error,) = refused(desk, **question)
    assert error["field"] == field
    assert detail in error["detail"]


def test_a_location_and_a_network_can_be_given(desk: Desk) -> None:
    restrict(desk, require={"location": {"none_in": ["CN"]}})
    assert explain(desk, location="CN")["verdict"]["reason"] == "policy_location"
    said = explain(desk, location="US", network=["tor_exit"])
    assert said["models"][0]["directives"][0]["truth"] == "unknown"


class TestWithADatabase:
    @pytest.fixture
    def located(self, desk: Desk, tmp_path: Path) -> Desk:
        database = mmdb.country(tmp_path / "country.mmdb", {"81.2.69.0/24": "GB", "1.2.4.0/24": "CN"}, built=time.time())
        desk.reconfigure(lambda text: text + f"geoip: {{country: {database}}}\n")
        restrict(desk, require={"location": {"none_in": ["CN"]}})
        return desk

    def test_an_address_is_located_by_the_gates_own_database(self, located: Desk) -> None:
        said = explain(located, address="::ffff:1.2.4.8")
        assert (said["verdict"]["outcome"], said["notes"]) == ("refuse", [])
        assert ("location", "CN", "geoip GeoLite2-Country") in {(f["kind"], f["value"], f["source"]) for f in said["facts"]}

    def test_an_address_of_no_country_is_told(self, located: Desk) -> None:
        assert explain(located, address="10.0.0.1")["notes"] == ["the country of the address is not known"]

    def test_a_database_that_broke_is_told(self, located: Desk, tmp_path: Path) -> None:
        mmdb.truncated(tmp_path / "other.mmdb")
        (tmp_path / "other.mmdb").replace(tmp_path / "country.mmdb")
        assert explain(located, address="81.2.69.1")["notes"][0].startswith("GeoIP: ")


def test_without_a_database_an_address_stays_unknown(desk: Desk, tmp_path: Path) -> None:
    assert explain(desk, address="8.8.8.8")["notes"][0] == "the address cannot be located: no database is configured (geoip.country)"
    desk.reconfigure(lambda text: text + f"geoip: {{country: {tmp_path}/none.mmdb}}\n")
    assert "cannot be read" in explain(desk, address="8.8.8.8")["notes"][0]
