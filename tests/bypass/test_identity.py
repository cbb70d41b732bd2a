"""BYPASSES 44-50: credentials, principals, claims and what a caller says of itself."""

import hashlib
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.bypass.probe import CHAT, Probe
from tests.fixtures.gate import UPSTREAM_SECRET
from tests.fixtures.idp import IdentityProvider

OPEN = {"model": "gpt-open", "messages": []}
FRONTIER = {"model": "gpt-frontier", "messages": []}
MISSING, INVALID, AMBIGUOUS = "caller_credential_missing", "caller_credential_invalid", "caller_credential_ambiguous"
HEADERS = ("Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key")


@pytest.fixture
def token(shared_idp: IdentityProvider) -> Callable[..., str]:
    return lambda **claims: shared_idp.token(time.time(), **{"us_person": True, **claims}).decode()


def field(name: str, value: str) -> str:
    return f"{name}: Bearer {value}" if name == "Authorization" else f"{name}: {value}"


# -- 44, 45 where and how


@pytest.mark.parametrize("first", HEADERS)
@pytest.mark.parametrize("second", HEADERS)
def test_44_two_credentials_that_differ_are_refused(probe: Probe, first: str, second: str) -> None:
    fields = [field(first, probe.mallory), field(second, probe.alice)]
    probe.refused(probe.post(OPEN, *fields, token=None), 401, AMBIGUOUS)
    probe.refused(probe.post(OPEN, *fields[::-1], token=None), 401, AMBIGUOUS)


@pytest.mark.parametrize("header", HEADERS)
def test_44_one_header_twice_is_refused(probe: Probe, header: str) -> None:
    probe.refused(probe.post(OPEN, field(header, probe.alice), field(header.upper(), probe.alice), token=None), 401, AMBIGUOUS)


def test_44_the_same_credential_in_two_headers_is_one_and_neither_passes(probe: Probe) -> None:
    received = probe.forwarded(probe.post(FRONTIER, f"x-api-key: {probe.alice}"))
    assert (received.header("x-api-key"), received.header("authorization")) == (None, f"Bearer {UPSTREAM_SECRET}")
    assert probe.alice.encode() not in received.raw


@pytest.mark.parametrize(
    "name",
    [
        "x_api_key",
        "X_API_KEY",
        "api_key",
        "Api_Key",
        "x-goog_api-key",
        "proxy-authorization",
        "x-authorization",
        "x-amz-security-token",
        "cookie",
        "authorization-",
    ],
)
def test_44_a_header_that_only_looks_like_a_credential_is_none_and_does_not_pass(probe: Probe, name: str) -> None:
    probe.refused(probe.post(OPEN, f"{name}: {probe.alice}", token=None), 401, MISSING)
    assert probe.forwarded(probe.post(OPEN, f"{name}: {probe.mallory}")).header(name.lower()) is None


@pytest.mark.parametrize("query", ["key={}", "api_key={}", "access_token={}", "token={}"])
def test_44_a_credential_in_the_query_is_none(probe: Probe, query: str) -> None:
    probe.refused(
        probe.post(OPEN, path=f"{CHAT}?{query.format(probe.alice)}", token=None), (400, 401), (MISSING, "caller_query_unexpected")
    )
    probe.refused(probe.post(OPEN, path=f"{CHAT}?{query.format(probe.alice)}"), 400, "caller_query_unexpected")


@pytest.mark.parametrize(
    "value",
    [
        *(
            "{}",
            "Bearer",
            "Bearer ",
            "Bearer  {}",
            "Bearer\t{}",
            "Bearer {} {}",
            "Bearer {},{}",
            "Bearer {}, Bearer {}",
            "Bearer {};x",
            "Bearer={}",
        ),
        *(
            "Basic {}",
            "Token {}",
            "bearer{}",
            "Bearer Bearer {}",
            'Bearer "{}"',
            "Bearer {}\x00",
            "Bearer {}\xa0",
            "Bearer %20{}",
            "DPoP {}",
            "Negotiate {}",
        ),
        *("Bearer {}=x", "Bearer =", "Bearer ====", "Bearer fg_", "Bearer {}\u00e9"),
    ],
)
def test_45_what_is_not_one_bearer_token_is_refused(probe: Probe, value: str) -> None:
    data = probe.post(OPEN, f"Authorization: {value.replace('{}', probe.alice)}", token=None)
    probe.refused(data, (400, 401), (INVALID, "caller_request_malformed"))


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "bEaReR"])
def test_45_the_schemes_case_does_not_matter(probe: Probe, scheme: str) -> None:
    probe.forwarded(probe.post(OPEN, f"Authorization: {scheme} {probe.alice}", token=None))


def test_45_a_credential_without_end_is_refused(probe: Probe) -> None:
    probe.refused(probe.post(OPEN, token="a" * 10_000), 401, INVALID)


# -- 46 API keys


def new_key(probe: Probe, **evidence: Any) -> tuple[str, str]:
    reply = probe.gate.admin("POST", "/admin/v1/keys", {"name": "test", "reason": "a test", "evidence": evidence})
    assert reply.status == 201, reply
    return reply.json["key"]["id"], reply.json["secret"]


def test_46_only_the_whole_key_is_the_key(probe: Probe) -> None:
    _, secret = new_key(probe, us_person=True)
    probe.forwarded(probe.post(FRONTIER, token=secret))
    for guess in (
        secret[:-1],
        secret + "A",
        secret[:-1] + ("A" if secret[-1] != "A" else "B"),
        secret.swapcase(),
        secret.removeprefix("fg_"),
        "fg_",
        "FG" + secret[2:],
        secret + "=",
    ):
        for _ in range(2):
            probe.refused(probe.post(OPEN, token=guess), 401, INVALID)


def test_46_a_keys_id_and_digest_are_no_key(probe: Probe) -> None:
    key_id, secret = new_key(probe, us_person=True)
    for guess in (key_id, f"fg_{key_id}", hashlib.sha256(secret.encode()).hexdigest(), f"key|{key_id}"):
        probe.refused(probe.post(OPEN, token=guess), 401, INVALID)


def test_46_a_revoked_key_is_refused_everywhere_and_its_successor_is_another_caller(probe: Probe) -> None:
    key_id, secret = new_key(probe, us_person=True)
    successor = new_key(probe, us_person=False)[1]
    for _ in range(8):  # both workers know it
        probe.ask(probe.post(FRONTIER, token=secret))
    probe.sent(8)
    revoked = probe.gate.admin("POST", f"/admin/v1/keys/{key_id}/revoke", {"reason": "rotated"}).json
    assert probe.gate.admin("GET", f"/admin/v1/replicas?epoch={revoked['epoch']}&wait=10").json["complete"]
    for _ in range(8):
        probe.refused(probe.post(OPEN, token=secret), 401, INVALID)
    probe.refused(probe.post(FRONTIER, token=successor), 451, "policy_us_person")


def test_46_each_key_has_its_own_evidence(probe: Probe) -> None:
    mine, yours = new_key(probe, us_person=True)[1], new_key(probe, us_person=False)[1]
    with probe.line() as line:
        assert [line.send(probe.post(FRONTIER, token=key)).answer().status for key in (mine, yours, mine, yours)] == [200, 451, 200, 451]
    probe.sent(2)


def test_46_the_answer_to_a_wrong_key_does_not_depend_on_how_much_of_it_is_right(probe: Probe) -> None:
    """The look-up is by the digest of the whole; what can be seen from outside, the answer, is one and the same."""
    _, secret = new_key(probe)
    near, far = (probe.refused(probe.post(OPEN, token=guess), 401, INVALID) for guess in (secret[:-1] + "_", "fg_" + "A" * 43))
    assert [{**reply.json["error"]} for reply in (near, far)] == [near.json["error"]] * 2
    assert near.headers.keys() == far.headers.keys()


# -- 47 principals


@pytest.mark.parametrize(
    "subject",
    [
        "Alice",
        "ALICE",
        "alice ",
        " alice",
        "ａlice",
        "alicé",
        "alice|x",
        "x|alice",
        "|alice",
        "alice\u200b",
        "al\u0131ce",
        "https://idp.example|alice",
    ],
)
def test_47_only_the_very_subject_has_the_grant(probe: Probe, token: Callable[..., str], subject: str) -> None:
    grant(probe, "https://idp.example|alice")
    probe.refused(probe.post({"model": "gpt-vetted"}, token=token(sub=subject)), (401, 403), ("vetting_required", INVALID))


def test_47_the_same_subject_of_another_issuer_is_somebody_else(
    probe: Probe, token: Callable[..., str], other_idp: IdentityProvider
) -> None:
    grant(probe, "https://idp.example|alice")
    probe.forwarded(probe.post({"model": "gpt-vetted"}, token=token(sub="alice")))
    probe.refused(probe.post({"model": "gpt-vetted"}, token=other_idp.token(time.time(), sub="alice").decode()), 403, "vetting_required")
    probe.refused(
        probe.post({"model": "gpt-vetted"}, token=other_idp.token(time.time(), sub="https://idp.example|alice").decode()),
        403,
        "vetting_required",
    )


def test_47_a_token_cannot_pass_for_an_api_key(probe: Probe, token: Callable[..., str]) -> None:
    key_id, secret = new_key(probe)
    grant(probe, f"key|{key_id}")
    probe.forwarded(probe.post({"model": "gpt-vetted"}, token=secret))
    for subject in (key_id, f"key|{key_id}"):
        probe.refused(probe.post({"model": "gpt-vetted"}, token=token(sub=subject)), 403, "vetting_required")
    probe.refused(probe.post({"model": "gpt-vetted"}, token=token(sub=key_id, iss="key")), 401, INVALID)


@pytest.mark.parametrize("subject", ["", None, 1, ["alice"], "a" * 257, "ali\nce", "alice\u0000", "\u202ealice", True, {"a": 1}])
def test_47_a_subject_that_is_no_plain_name_is_refused(probe: Probe, token: Callable[..., str], subject: object) -> None:
    probe.refused(probe.post(OPEN, token=token(sub=subject)), 401, INVALID)


def grant(probe: Probe, principal: str) -> None:
    if any(
        given["state"] == "active"
        for given in probe.gate.admin("GET", "/admin/v1/grants?principal=" + principal.replace("|", "%7C")).json["grants"]
    ):
        return
    probe.gate.new_grant(principal, "openai/gpt-vetted")
    epoch = probe.gate.admin("GET", "/admin/v1/epoch").json["epoch"]
    assert probe.gate.admin("GET", f"/admin/v1/replicas?epoch={epoch}&wait=10").json["complete"]


# -- 48 what a caller says of itself


SAID = {
    "X-Nationality": "US", "X-US-Person": "true", "X-Geo-Country": "US", "CF-IPCountry": "US", "CloudFront-Viewer-Country": "US", "X-AppEngine-Country": "US",
    "X-Forwarded-User": "alice", "X-Remote-User": "alice", "Remote-User": "alice", "X-Authenticated-Userid": "alice", "X-Auth-Request-User": "alice",
    "X-Gate-Verdict": "forward", "X-Gate-Request-Id": "req_mine", "X-Gate-Principal": "alice", "X-Gate-Reason": "none", "X-Client-Cert": "x", "X-SSL-Client-Verify": "SUCCESS",
    "X-Real-IP": "127.0.0.1", "True-Client-IP": "127.0.0.1", "CF-Connecting-IP": "127.0.0.1", "X-Client-IP": "127.0.0.1", "Forwarded": "for=127.0.0.1", "X-Forwarded-For": "127.0.0.1",
    "X-Forwarded-Host": "evil", "X-Forwarded-Proto": "https", "Via": "1.1 x", "Cookie": "a=b", "X-Amz-Target": "x", "X-Goog-User-Project": "x", "OpenAI-Organization": "org", "OpenAI-Project": "p",
}  # fmt: skip


def test_48_what_a_caller_says_of_itself_neither_counts_nor_passes(probe: Probe) -> None:
    fields = [f"{name}: {value}" for name, value in SAID.items()]
    probe.refused(probe.post(FRONTIER, *fields, token="mallory"), 451, "policy_us_person")
    probe.refused(probe.post({"model": "gpt-here"}, *fields), 451, "policy_location", source="127.0.0.2")
    received = probe.forwarded(probe.post(OPEN, *fields))
    assert [name for name, _ in received.headers] == [
        "host",
        "accept-encoding",
        "authorization",
        "content-type",
        "x-gate-request-id",
        "content-length",
    ]
    assert received.header("x-gate-request-id") != "req_mine"


@pytest.mark.parametrize("listed", ["authorization", "content-type", "x-gate-request-id, host", "content-length", "close, authorization"])
def test_48_connection_cannot_take_a_field_of_the_gates_away(probe: Probe, listed: str) -> None:
    received = probe.forwarded(probe.post(OPEN, f"Connection: {listed}"))
    assert [name for name, _ in received.headers] == [
        "host",
        "accept-encoding",
        "authorization",
        "content-type",
        "x-gate-request-id",
        "content-length",
    ]
    assert received.header("connection") is None


# -- 49, 50 claims


@pytest.mark.parametrize("said", ["true", "yes", 1, "True", [True], {"value": True}, "US", None, [], 0, "", False])
def test_49_only_true_is_true(probe: Probe, token: Callable[..., str], said: object) -> None:
    probe.refused(probe.post(FRONTIER, token=token(us_person=said)), 451, "policy_us_person")


@pytest.mark.parametrize(
    "nationalities",
    [
        *(
            [],
            None,
            "",
            " ",
            "ZZ",
            "XX",
            "EU",
            "Utopia",
            ["US", "CN"],
            ["US", ""],
            ["US", None],
            ["US", 1],
            ["US", ["GB"]],
            {"0": "US"},
            1,
            True,
            [[]],
            "US,GB",
        ),
        *(
            ["US"] * 9 + ["RU"],
            ["US", "ＣＮ"],
            ["US", "cn"],
            ["US", "CHN"],
            ["US", " cn "],
            "US CN",
            ["US"] + ["GB", "CA"] * 5_000,
            "XXA",
            ["D"],
            "UNO",
        ),
    ],
)
def test_49_nationalities_that_are_not_all_admitted_and_readable_do_not_admit(
    probe: Probe, token: Callable[..., str], nationalities: object
) -> None:
    reply = probe.ask(probe.post({"model": "gpt-allied"}, token=token(nationalities=nationalities)))
    probe.is_refusal(reply, (401, 403, 431, 451))
    assert reply.reason in {"policy_nationality", INVALID, "caller_head_too_large"}


@pytest.mark.parametrize("nationalities", ["US", ["US"], "us", " usa ", ["GBR", "au"], ["US", "US"], "United States of America", "UK"])
def test_49_a_country_in_any_readable_form_is_that_country(probe: Probe, token: Callable[..., str], nationalities: object) -> None:
    probe.forwarded(probe.post({"model": "gpt-allied"}, token=token(nationalities=nationalities)))


def verified(*countries: str, framework: str = "eidas") -> dict[str, Any]:
    return {"verification": {"trust_framework": framework}, "claims": {"nationalities": list(countries)}}


@pytest.mark.parametrize(
    "claims",
    [
        {"nationalities": ["US"], "verified_claims": verified("CN")},
        {"nationalities": ["CN"], "verified_claims": verified("US")},
        {"nationalities": ["US"], "verified_claims": [verified("US"), verified("RU")]},
        {"nationalities": ["US"], "verified_claims": [verified("US"), "x"]},
        {"nationalities": ["US"], "verified_claims": {"verification": {}, "claims": {"nationalities": ["IR"]}}},
        {"nationalities": ["US"], "verified_claims": {"claims": []}},
        {"nationalities": ["US"], "verified_claims": [verified("US")] * 100},
        {"verified_claims": {"verification": {"trust_framework": "eidas"}, "claims": "US"}},
    ],
)
def test_50_claims_that_disagree_are_united(probe: Probe, token: Callable[..., str], claims: dict[str, Any]) -> None:
    reply = probe.ask(probe.post({"model": "gpt-allied"}, token=token(**claims)))
    probe.is_refusal(reply, (401, 451), ("policy_nationality", INVALID))


def test_50_a_verified_claim_alone_admits(probe: Probe, token: Callable[..., str]) -> None:
    probe.forwarded(probe.post({"model": "gpt-allied"}, token=token(verified_claims=verified("US"))))


def test_50_what_one_caller_is_does_not_rub_off_on_the_next(probe: Probe, token: Callable[..., str]) -> None:
    """The same subject with other claims is judged by the token that it sends (62: no cache is shared by subject)."""
    us, cn = (token(sub="carol", nationalities=[country]) for country in ("US", "CN"))
    with probe.line() as line:
        assert [line.send(probe.post({"model": "gpt-allied"}, token=sent)).answer().status for sent in (us, cn, us, cn)] == [
            200,
            451,
            200,
            451,
        ]
    probe.sent(2)
