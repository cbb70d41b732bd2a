"""Directives through the admin API."""

import pytest

from tests.unit.control.control_harness import Answer, Desk

PATH = "/admin/v1/directives"
WITHDRAWAL = {"id": "is-2", "order": {"authority": "Bureau", "reference": "IS-2"}, "models": ["acme/*-5"], "withdraw": True}


def create(desk: Desk, **changes: object) -> Answer:
    return desk.ask("POST", PATH, {"directive": {**WITHDRAWAL, **changes}, "reason": "the order came"})


def test_a_directive_is_put_in_force_and_shown(desk: Desk) -> None:
    made = create(desk)
    assert (made.status, made.headers["Location"], made.headers["ETag"]) == (201, f"{PATH}/is-2", '"1"')
    assert made.json["epoch"] == 1
    assert made.json["appended_at"] > 1_700_000_000
    shown = desk.ask("GET", f"{PATH}/is-2", who="viewer")
    assert shown.headers["ETag"] == '"1"'
    assert shown.json["directive"] == WITHDRAWAL
    assert (shown.json["source"], shown.json["state"], shown.json["by"]) == ("runtime", "in_force", "olga")
    assert shown.json["sentence"].startswith("Under IS-2 (Bureau), nobody may use acme/*-5")


def test_the_listing_has_those_of_the_file_and_those_of_runtime(desk: Desk) -> None:
    create(desk)
    listing = desk.ask("GET", PATH)
    assert listing.headers["ETag"] == '"1"'
    assert [(d["id"], d["source"], d["epoch"]) for d in listing.json["directives"]] == [
        ("from-file", "config", None),
        ("is-2", "runtime", 1),
    ]


def test_a_directive_of_the_file_is_shown_without_an_etag(desk: Desk) -> None:
    shown = desk.ask("GET", f"{PATH}/from-file")
    assert shown.json["source"] == "config"
    assert "ETag" not in shown.headers


def test_states_follow_the_instants(desk: Desk) -> None:
    create(desk, id="later", **{"from": "2999-01-01T00:00:00Z"})
    create(desk, id="over", until="2001-01-01T00:00:00Z")
    states = {d["id"]: d["state"] for d in desk.ask("GET", PATH).json["directives"]}
    assert states == {"from-file": "in_force", "later": "scheduled", "over": "ended"}


@pytest.mark.parametrize(
    ("changes", "field", "detail"),
    [
        (
            {"models": ["acme/frontier5"]},
            "directive.models[0]",
            "no model of the catalogue is 'acme/frontier5'; did you mean 'acme/frontier-5'?",
        ),
        ({"models": [{"tag": "ciber"}]}, "directive.models[0]", "no model has the tag 'ciber'; did you mean 'cyber'?"),
        ({"models": ["acme/frontier-?"]}, "directive.models[0]", "'acme/frontier-?': * is the only wildcard; list the ids one by one"),
        ({"withdraw": True, "otherwise": "refuse"}, "directive.otherwise", "withdraw already says"),
        ({"id": "no spaces"}, "directive.id", "expected text"),
        ({"from": "2026-01-01T00:00:00"}, "directive.from", "has no time zone"),
    ],
)
def test_a_directive_that_means_nothing_is_refused_with_its_field(desk: Desk, changes: dict[str, object], field: str, detail: str) -> None:
    answer = create(desk, **changes)
    assert (answer.status, answer.kind) == (422, "invalid")
    assert any(error["field"] == field and detail in error["detail"] for error in answer.json["errors"]), answer.json


def test_a_directive_without_a_form_is_told_which_there_are(desk: Desk) -> None:
    body = {"directive": {key: value for key, value in WITHDRAWAL.items() if key != "withdraw"}, "reason": "r"}
    (error,) = desk.ask("POST", PATH, body).json["errors"]
    assert error == {"field": "directive", "detail": "has no form; write exactly one of require, withdraw and stage"}


def test_an_id_is_taken_once(desk: Desk) -> None:
    create(desk)
    again = create(desk)
    assert (again.status, again.kind) == (409, "conflict")
    assert "choose another id, or lift that one first" in again.json["detail"]
    in_file = create(desk, id="from-file")
    assert (in_file.status, in_file.kind) == (409, "in-config-file")
    assert "choose another id, or edit the file" in in_file.json["detail"]


def test_lifting_takes_if_match_and_leaves_the_history(desk: Desk) -> None:
    create(desk)
    missing = desk.ask("DELETE", f"{PATH}/is-2")
    assert (missing.status, missing.kind) == (428, "if-match-missing")
    lifted = desk.ask("DELETE", f"{PATH}/is-2?reason=served+its+time", headers={"If-Match": '"1"'})
    assert lifted.json["lifted"] == "is-2"
    assert desk.ask("GET", f"{PATH}/is-2").status == 404
    history = desk.ask("GET", f"{PATH}/is-2/history").json["history"]
    assert [(e["epoch"], e["actor"], e["reason"], e["change"]) for e in history] == [
        (1, "olga", "the order came", "put in force"),
        (2, "olga", "served its time", "lifted"),
    ]
    assert history[0]["directive"] == WITHDRAWAL


@pytest.mark.parametrize("tag", ['"7"', 'W/"2"', "2", '"2", "3"', '""'])
def test_a_stale_or_foreign_etag_does_not_lift(desk: Desk, tag: str) -> None:
    desk.ask("POST", "/admin/v1/models/acme%2Fsmall/pause", {"reason": "so that the epochs differ"})
    create(desk)
    desk.ask("POST", "/admin/v1/models/acme%2Fsmall/resume")
    answer = desk.ask("DELETE", f"{PATH}/is-2", headers={"If-Match": tag})
    assert (answer.status, answer.kind) == (412, "changed")
    assert desk.ask("GET", f"{PATH}/is-2").status == 200


def test_a_star_lifts_whatever_is_there(desk: Desk) -> None:
    create(desk)
    assert desk.ask("DELETE", f"{PATH}/is-2", headers={"If-Match": "*"}).status == 200


def test_a_directive_of_the_file_is_lifted_only_there(desk: Desk) -> None:
    answer = desk.ask("DELETE", f"{PATH}/from-file", headers={"If-Match": "*"})
    assert (answer.status, answer.kind) == (409, "in-config-file")
    assert answer.json["detail"] == "from-file is kept in the config file: remove it there and reload (SIGHUP)"


def test_an_unknown_directive_is_told_the_nearest(desk: Desk) -> None:
    create(desk)
    for method, path in (("GET", f"{PATH}/is-3"), ("DELETE", f"{PATH}/is-3"), ("GET", f"{PATH}/is-3/history")):
        answer = desk.ask(method, path, headers={"If-Match": "*"})
        assert (answer.status, answer.json["detail"]) == (404, "there is no directive 'is-3'; did you mean 'is-2'?")


def test_what_needs_a_second_person_is_refused_for_now(desk: Desk) -> None:
    create(desk)
    desk.ask("POST", "/admin/v1/models/acme%2Fsmall/pause", {"reason": "r"})
    desk.reconfigure(lambda text: text + "enforcement: {loosening: second_person}\n")
    grant = {"principal": "https://idp.example|u", "programme": "caisi", "models": ["acme/small"], "reason": "r"}
    loosening = [
        desk.ask("DELETE", f"{PATH}/is-2", headers={"If-Match": "*"}),
        desk.ask("POST", "/admin/v1/models/acme%2Fsmall/resume"),
        desk.ask("POST", "/admin/v1/grants", grant),
        desk.ask("POST", "/admin/v1/keys", {"name": "k", "evidence": {"us_person": True}, "reason": "r"}),
    ]
    for answer in loosening:
        assert (answer.status, answer.kind) == (409, "second-person")
        assert "change enforcement.loosening to immediate" in answer.json["detail"]
    assert create(desk, id="tighter").status == 201
    assert desk.ask("POST", "/admin/v1/keys", {"name": "k", "reason": "r"}).status == 201
