"""Who gets in, and how every error looks."""

import hashlib
from pathlib import Path
from typing import NoReturn

import pytest

from frontiergate.config.schema import Control, Operator
from frontiergate.control.app import ROUTES
from frontiergate.control.bodies import MAX_BODY
from frontiergate.control.operators import load_operators
from frontiergate.errors import ConfigError, OutcomeUnknown
from tests.unit.control.control_harness import Desk


def test_every_admin_route_asks_for_a_token(desk: Desk) -> None:
    for method, path, _, _ in ROUTES:
        answer = desk.ask(method, path.replace("{id:.+}", "x").replace("{id}", "x"), who=None)
        assert (answer.status, answer.kind) == (401, "unauthenticated"), path
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="frontier-gate control"'


def test_every_mutation_needs_the_role_operator(desk: Desk) -> None:
    for method, path, role, _ in ROUTES:
        answer = desk.ask(method, path.replace("{id:.+}", "x").replace("{id}", "x"), who="reviewer")
        changes = method != "GET" and not path.endswith("explain")
        assert (answer.status == 403) is (role in ("operator", "admin")) is changes, path
        if changes:
            needed = "admin" if role == "admin" else "operator (or admin)"
            assert answer.json["detail"].startswith(f"rita has the role reviewer; this needs the role {needed}")


@pytest.mark.parametrize(
    ("header", "error", "detail"),
    [
        ("Bearer nobodys-token", "invalid_token", "no operator has this token"),
        ("Basic b3A6cA==", "invalid_request", "not one bearer token"),
        ("Bearer a b", "invalid_request", "not one bearer token"),
        ("operator-token", "invalid_request", "not one bearer token"),
    ],
)
def test_a_wrong_credential_is_told_what_is_wrong(desk: Desk, header: str, error: str, detail: str) -> None:
    answer = desk.ask("GET", "/admin/v1/epoch", who=None, headers={"Authorization": header})
    assert answer.status == 401
    assert f'error="{error}"' in answer.headers["WWW-Authenticate"]
    assert detail in answer.json["detail"]


def test_the_scheme_is_read_in_any_case(desk: Desk) -> None:
    assert desk.ask("GET", "/admin/v1/epoch", who=None, headers={"Authorization": "bearer viewer-token"}).status == 200


def test_a_problem_says_type_title_status_and_detail_and_carries_the_security_headers(desk: Desk) -> None:
    answer = desk.ask("GET", "/admin/v1/nothing")
    assert answer.json == {
        "type": "/docs/reference/api#not-found",
        "title": "There is no such thing",
        "status": 404,
        "detail": "there is nothing at /admin/v1/nothing: see /docs/reference/api",
    }
    for path in ("/admin/v1/nothing", "/healthz", "/admin/v1/epoch"):
        headers = desk.ask("GET", path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert "Server" not in headers


def test_another_method_is_told_which_are_offered(desk: Desk) -> None:
    answer = desk.ask("PUT", "/admin/v1/directives", {})
    assert (answer.status, answer.kind, answer.headers["Allow"]) == (405, "method-not-allowed", "GET, POST")
    assert answer.json["detail"] == "PUT is not offered here, but GET, POST"


@pytest.mark.parametrize(
    ("raw", "kind", "status", "detail"),
    [
        (b"", "unreadable", 400, "is not one JSON object"),
        (b"{", "unreadable", 400, "is not one JSON object"),
        (b'{"reason": "a", "reason": "b"}', "unreadable", 400, "a name is there twice"),
        (b'{"reason": "\\ud800"}', "unreadable", 400, "is not one JSON object"),
        (b'{"reason": NaN}', "unreadable", 400, "is not one JSON object"),
        (b'{"reason": "\xff"}', "unreadable", 400, "is not one JSON object"),
        (b"[" * 100_000, "unreadable", 400, "is not one JSON object"),
        (b'{"reason": "%s"}' % (b"x" * MAX_BODY), "too-large", 413, f"a body may have at most {MAX_BODY} bytes"),
        (b"[]", "unreadable", 400, "it is not a JSON object"),
        (b'{"reasn": "x"}', "invalid", 422, "reasn: unknown key; did you mean 'reason'?"),
        (b'{"reason": ""}', "invalid", 422, "reason: expected"),
        (b'{"reason": 5}', "invalid", 422, "reason: expected text"),
    ],
)
def test_a_body_that_cannot_be_used_is_told_why(desk: Desk, raw: bytes, kind: str, status: int, detail: str) -> None:
    answer = desk.ask("POST", "/admin/v1/models/acme%2Fsmall/pause", raw=raw)
    assert (answer.status, answer.kind) == (status, kind)
    assert detail in answer.json["detail"]
    assert desk.ask("GET", "/admin/v1/epoch").json == {"epoch": 0}


@pytest.mark.parametrize("content_type", ["text/plain", "application/json; charset=utf-16", "application/x-www-form-urlencoded"])
def test_only_json_is_read(desk: Desk, content_type: str) -> None:
    answer = desk.ask("POST", "/admin/v1/explain", raw=b"{}", headers={"Content-Type": content_type})
    assert (answer.status, answer.kind) == (415, "not-json")


def test_every_fault_of_a_body_is_listed_with_its_path(desk: Desk) -> None:
    body = {"directive": {"id": "x", "order": {"authority": "A", "refrence": "B"}, "models": [7], "withdraw": True}, "reason": "r"}
    errors = {error["field"]: error["detail"] for error in desk.ask("POST", "/admin/v1/directives", body).json["errors"]}
    assert errors["directive.order.refrence"] == "unknown key; did you mean 'reference'?"
    assert "directive.models[0]" in errors


def test_an_unknown_or_repeated_query_parameter_is_refused(desk: Desk) -> None:
    answer = desk.ask("GET", "/admin/v1/grants?princpal=x&cursor=a&cursor=b")
    assert answer.json["errors"] == [
        {"field": "?princpal", "detail": "unknown parameter; did you mean 'principal'?"},
        {"field": "?cursor", "detail": "is there twice"},
    ]


def test_without_its_store_the_plane_changes_nothing_and_says_so(desk: Desk) -> None:
    desk.plane.trouble = "the disk is gone"
    answer = desk.ask("GET", "/admin/v1/epoch")
    assert (answer.status, answer.kind, answer.headers["Retry-After"]) == (503, "store-unavailable", "1")
    assert "the disk is gone" in answer.json["detail"]


def test_a_store_lost_in_between_is_told_as_such(desk: Desk) -> None:
    desk.run(desk.plane.store.close())
    assert desk.ask("GET", "/admin/v1/epoch").kind == "store-unavailable"


def test_a_change_that_may_have_been_made_is_not_called_undone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lost(*_: object, **__: object) -> NoReturn:
        raise OutcomeUnknown("store redis://h: it does not answer. Whether it was changed is not known: look before you repeat it")

    monkeypatch.setattr(desk.plane.store, "append", lost)
    answer = desk.ask("POST", "/admin/v1/models/acme%2Fsmall/pause", {"reason": "r"})
    assert (answer.status, answer.kind) == (503, "outcome-unknown")
    assert "look before you repeat it" in answer.json["detail"]
    assert "nothing was changed" not in answer.json["detail"]
    assert "Retry-After" not in answer.headers


def test_operators_of_a_new_configuration_replace_the_old_ones(desk: Desk) -> None:
    desk.reconfigure(lambda text: text.replace("{name: olga, roles: [operator]", "{name: olga, roles: [auditor]"))
    assert desk.ask("GET", "/admin/v1/epoch", who="viewer").status == 200
    assert desk.ask("POST", "/admin/v1/grants", {}, who="operator").status == 403


class TestLoadOperators:
    def load(self, *operators: Operator, environ: dict[str, str] | None = None) -> list[str]:
        with pytest.raises(ConfigError) as raised:
            load_operators(Control(operators=operators), environ or {})
        return raised.value.problems

    def test_a_token_needs_exactly_one_source(self) -> None:
        (problem,) = self.load(Operator(name="ann", token_sha256="0" * 64, token_env="T"), environ={"T": "t"})
        assert problem == "control.operators[0] (ann): give exactly one of token_sha256, token_env and token_file"
        assert self.load(Operator(name="ann"))[0].startswith("control.operators[0] (ann): a secret needs exactly one source")

    def test_each_bad_source_is_told_with_its_remedy(self) -> None:
        problems = self.load(
            Operator(name="a", token_sha256="abc"),
            Operator(name="b", token_env="MISSING"),
            Operator(name="c", token_env="BLANK"),
            environ={"BLANK": "two words"},
        )
        assert "printf %s TOKEN | sha256sum" in problems[0]
        assert "MISSING is not set" in problems[1]
        assert "openssl rand -hex 32" in problems[2]

    def test_two_operators_may_not_share_a_token(self) -> None:
        (problem,) = self.load(Operator(name="a", token_env="T"), Operator(name="b", token_env="T"), environ={"T": "same"})
        assert problem == "control.operators[1] (b): has the same token as a: give each operator their own"

    def test_a_token_is_known_by_its_digest_or_from_a_file(self, tmp_path: Path) -> None:
        file = tmp_path / "token"
        file.write_text("from-a-file\n")
        operators = load_operators(
            Control(
                operators=(
                    Operator(name="a", token_sha256=hashlib.sha256(b"by-digest").hexdigest()),
                    Operator(name="b", roles=("admin",), token_file=str(file)),
                )
            ),
            {},
        )
        assert operators.identify(["Bearer by-digest"]).roles == {"viewer"}
        assert operators.identify(["Bearer from-a-file"]).roles == {"viewer", "operator", "reviewer", "auditor", "admin"}
