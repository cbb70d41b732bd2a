"""Grants through the admin API."""

import time
from urllib.parse import quote

import pytest

from tests.unit.control.control_harness import Answer, Desk

PATH = "/admin/v1/grants"
GRANT = {"principal": "https://idp.example|u-1", "programme": "caisi", "models": ["acme/frontier-*"], "reason": "approved by hand"}


def create(desk: Desk, **changes: object) -> Answer:
    return desk.ask("POST", PATH, {**GRANT, **changes})


def test_a_grant_names_the_models_of_today_one_by_one_and_lasts_as_the_programme_says(desk: Desk) -> None:
    made = create(desk)
    grant = made.json["grant"]
    assert (made.status, made.headers["Location"]) == (201, f"{PATH}/{grant['id']}")
    assert grant["models"] == ["acme/frontier-5", "acme/frontier-6"]
    assert (grant["state"], grant["in_force"], grant["reason"]) == ("active", True, "approved by hand")
    stored = desk.run(desk.plane.store.grant(grant["id"]))
    assert stored.expires_at - stored.issued_at == 90 * 86400
    assert desk.ask("GET", f"{PATH}/{grant['id']}").json == grant


@pytest.mark.parametrize(("expires", "seconds"), [("30d", 30 * 86400), ("+2h", 7200), ("2999-01-01T00:00:00Z", None)])
def test_its_expiry_is_a_duration_or_an_instant(desk: Desk, expires: str, seconds: float | None) -> None:
    grant = create(desk, expires=expires).json["grant"]
    stored = desk.run(desk.plane.store.grant(grant["id"]))
    assert stored.expires_at == pytest.approx(32472144000.0 if seconds is None else stored.issued_at + seconds)


@pytest.mark.parametrize(
    ("changes", "field", "detail"),
    [
        ({"principal": "someone"}, "principal", "write ISSUER|SUBJECT for the bearer of a token, or key|KEY-ID for an API key"),
        (
            {"principal": "https://idp.exampl|u"},
            "principal",
            "no issuer 'https://idp.exampl' is configured; did you mean 'https://idp.example'?",
        ),
        ({"principal": "key|k_1"}, "principal", "there is no key 'k_1'"),
        ({"programme": "casi"}, "programme", "there is no programme 'casi'; did you mean 'caisi'?"),
        ({"models": ["acme/smal"]}, "models[0]", "no model of the catalogue is 'acme/smal'; did you mean 'acme/small'?"),
        ({"expires": "2026-01-01T00:00:00"}, "expires", "'2026-01-01T00:00:00' has no time zone: write 2026-01-01T00:00:00Z"),
        ({"expires": "2026-01-01"}, "expires", "'2026-01-01' has no time zone: write 2026-01-01T00:00:00Z"),
        (
            {"expires": "2026-13-01"},
            "expires",
            "'2026-13-01' is not an instant: write 2026-11-23T00:00:00Z, or a duration from now such as +30d",
        ),
        ({"expires": "soon"}, "expires", "'soon' is not an instant: write 2026-11-23T00:00:00Z, or a duration from now such as +30d"),
        (
            {"expires": "999999999d"},
            "expires",
            "'999999999d' is not an instant: write 2026-11-23T00:00:00Z, or a duration from now such as +30d",
        ),
        ({"expires": "2001-01-01T00:00:00Z"}, "expires", "2001-01-01T00:00:00Z is in the past"),
    ],
)
def test_a_grant_that_cannot_hold_is_refused_with_its_field(desk: Desk, changes: dict[str, object], field: str, detail: str) -> None:
    answer = create(desk, **changes)
    assert (answer.status, answer.json["errors"]) == (422, [{"field": field, "detail": detail}])


def test_a_grant_for_a_key_needs_a_key_that_lives(desk: Desk) -> None:
    key = desk.ask("POST", "/admin/v1/keys", {"name": "k", "reason": "r"}).json["key"]
    assert create(desk, principal=key["principal"]).status == 201
    desk.ask("DELETE", f"/admin/v1/keys/{key['id']}")
    assert f"the key '{key['id']}' is revoked" in create(desk, principal=key["principal"]).json["detail"]


def test_a_grant_is_suspended_resumed_and_revoked_once(desk: Desk) -> None:
    name = create(desk).json["grant"]["id"]
    for verb, state, in_force in (("suspend", "suspended", False), ("resume", "active", True), ("revoke", "revoked", False)):
        moved = desk.ask("POST", f"{PATH}/{name}/{verb}", {"reason": "r"}).json["grant"]
        assert (moved["state"], moved["in_force"]) == (state, in_force)
    again = desk.ask("POST", f"{PATH}/{name}/resume", {"reason": "r"})
    assert (again.status, again.json["detail"]) == (409, f"{name} is revoked: it cannot become active")


def test_resuming_loosens(desk: Desk) -> None:
    name = create(desk).json["grant"]["id"]
    desk.ask("POST", f"{PATH}/{name}/suspend", {"reason": "r"})
    desk.reconfigure(lambda text: text + "enforcement: {loosening: second_person}\n")
    assert desk.ask("POST", f"{PATH}/{name}/resume", {"reason": "r"}).kind == "second-person"
    assert desk.ask("POST", f"{PATH}/{name}/revoke", {"reason": "r"}).status == 200


def test_an_unknown_grant_is_told_where_to_look(desk: Desk) -> None:
    for method, path, body in (("GET", f"{PATH}/g_1", None), ("POST", f"{PATH}/g_1/revoke", {"reason": "r"})):
        answer = desk.ask(method, path, body)
        assert (answer.status, answer.json["detail"]) == (404, "there is no grant 'g_1': list them with GET /admin/v1/grants")


def test_the_listing_goes_page_by_page_or_by_principal(desk: Desk) -> None:
    ids = sorted(create(desk, principal=f"https://idp.example|u-{number}").json["grant"]["id"] for number in range(3))
    first = desk.ask("GET", f"{PATH}?limit=2").json
    assert ([grant["id"] for grant in first["grants"]], first["next"]) == (ids[:2], ids[1])
    second = desk.ask("GET", f"{PATH}?limit=2&cursor={first['next']}").json
    assert ([grant["id"] for grant in second["grants"]], second["next"]) == (ids[2:], None)
    (mine,) = desk.ask("GET", f"{PATH}?principal=https://idp.example%7Cu-1").json["grants"]
    assert mine["principal"] == "https://idp.example|u-1"


@pytest.mark.parametrize("limit", ["x", "-1", "1001", "٣"])
def test_a_page_has_a_bounded_size(desk: Desk, limit: str) -> None:
    answer = desk.ask("GET", f"{PATH}?limit={quote(limit)}")
    assert answer.json["errors"] == [{"field": "?limit", "detail": "must be a whole number from 0 to 1000"}]


def test_a_grant_whose_time_is_over_is_not_in_force(desk: Desk) -> None:
    create(desk, expires="1h")
    desk.plane.clock = lambda: time.time() + 3601
    (grant,) = desk.ask("GET", PATH).json["grants"]
    assert (grant["state"], grant["in_force"]) == ("active", False)
