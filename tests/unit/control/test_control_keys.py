"""API keys through the admin API."""

import hashlib
import time

import pytest

from frontiergate.domain.evidence import Assurance
from tests.unit.control.control_harness import Answer, Desk

PATH = "/admin/v1/keys"
KEY = {
    "name": "batch jobs",
    "evidence": {
        "nationality": ["USA", "fr"],
        "us_person": True,
        "residence": "US",
        "organisation": "ACME",
        "organisation_country": ["US", "GB"],
        "cohorts": ["trusted"],
    },
    "expires": "90d",
    "reason": "contract 7",
}


def create(desk: Desk, who: str = "operator", **changes: object) -> Answer:
    return desk.ask("POST", PATH, {**KEY, **changes}, who=who)


def test_the_secret_is_shown_once_and_stored_as_a_digest(desk: Desk) -> None:
    made = create(desk)
    secret, key = made.json["secret"], made.json["key"]
    assert made.status == 201
    assert secret.startswith("fg_")
    stored = desk.run(desk.plane.store.key(hashlib.sha256(secret.encode()).hexdigest()))
    assert stored is not None
    assert stored.id == key["id"]
    listing = desk.ask("GET", PATH)
    assert secret.encode() not in listing.raw
    assert stored.sha256.encode() not in listing.raw


def test_evidence_is_canonical_and_attested_by_default(desk: Desk) -> None:
    made = create(desk)
    (key,) = desk.ask("GET", PATH).json["keys"]
    assert key == made.json["key"]
    assert [(e["kind"], e["value"]) for e in key["evidence"]] == [
        ("nationality", "US"),
        ("nationality", "FR"),
        ("us_person", "true"),
        ("residence", "US"),
        ("organisation", "ACME"),
        ("organisation_country", "US"),
        ("organisation_country", "GB"),
        ("cohort", "trusted"),
    ]
    assert {e["assurance"] for e in key["evidence"]} == {"attested"}
    assert (key["principal"], key["state"]) == (f"key|{key['id']}", "active")
    (stored,) = desk.run(desk.plane.store.keys())
    assert stored.evidence[0].source == f"key {key['id']}"
    assert stored.evidence[0].assurance is Assurance.ATTESTED


def test_every_statement_that_cannot_be_read_is_named(desk: Desk) -> None:
    answer = create(desk, evidence={"nationality": ["US", "Atlantis"], "residence": "", "organisation": " ", "us_person": False})
    assert answer.json["errors"] == [
        {"field": "evidence.nationality[1]", "detail": "'Atlantis' is not a country code: write ISO 3166-1, e.g. US or USA"},
        {"field": "evidence.residence", "detail": "'' is not a country code: write ISO 3166-1, e.g. US or USA"},
        {"field": "evidence.organisation", "detail": "must not be empty"},
    ]


def test_only_an_admin_may_say_that_documents_were_checked(desk: Desk) -> None:
    refused = create(desk, assurance="verified")
    assert (refused.status, refused.kind) == (403, "forbidden")
    assert "this needs the role admin:" in refused.json["detail"]
    made = create(desk, who="admin", assurance="verified")
    assert made.json["key"]["evidence"][0]["assurance"] == "verified"


def test_a_key_may_not_expire_in_the_past(desk: Desk) -> None:
    assert create(desk, expires="2001-01-01T00:00:00Z").json["errors"] == [
        {"field": "expires", "detail": "2001-01-01T00:00:00Z is in the past"}
    ]


def test_a_key_shows_that_it_expired(desk: Desk) -> None:
    create(desk)
    desk.plane.clock = lambda: time.time() + 91 * 86400
    (key,) = desk.ask("GET", PATH).json["keys"]
    assert key["state"] == "expired"


@pytest.mark.parametrize("verb", ["POST", "DELETE"])
def test_a_key_is_revoked_once(desk: Desk, verb: str) -> None:
    name = create(desk).json["key"]["id"]

    def revoke() -> Answer:
        if verb == "DELETE":
            return desk.ask("DELETE", f"{PATH}/{name}?reason=leaked")
        return desk.ask("POST", f"{PATH}/{name}/revoke", {"reason": "leaked"})

    assert revoke().json["revoked"] == name
    (key,) = desk.ask("GET", PATH).json["keys"]
    assert (key["state"], key["revoked_at"] is not None) == ("revoked", True)
    again = revoke()
    assert (again.status, again.json["detail"]) == (409, f"the key {name} is revoked already")
    assert desk.run(desk.plane.store.entries(0))[-1].reason == "leaked"


def test_an_unknown_key_is_told(desk: Desk) -> None:
    answer = desk.ask("DELETE", f"{PATH}/k_1")
    assert (answer.status, answer.json["detail"]) == (404, "there is no key 'k_1'")
