"""Claims to evidence (BYPASSES 49, 50; NATIONALITY.md)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontiergate.config.schema import Claims, Issuer
from frontiergate.domain.evidence import Assurance, Evidence, Kind
from frontiergate.domain.facts import establish
from frontiergate.identity.claims import MISSING, claim_at, evidence_of

ISSUER = Issuer(
    issuer="https://idp.example",
    jwks="keys.json",
    audiences=("gate",),
    assurance="asserted",
    trust_frameworks=("eidas",),
    claims=Claims(
        nationality="nationalities",
        us_person="us_person",
        residence="address.country",
        organisation="org",
        organisation_country="https://idp.example/org.country",
        cohorts="groups",
    ),
)
BARE = Issuer(issuer="https://idp.example", jwks="keys.json", audiences=("gate",))
SEEN, ENDS = 1000.0, 2000.0
US = ("nationality", "US", Assurance.ASSERTED, True)


def evidence(claims: dict[str, Any], issuer: Issuer = ISSUER) -> tuple[Evidence, ...]:
    return evidence_of(claims, issuer, SEEN, ENDS)


def said(claims: dict[str, Any], issuer: Issuer = ISSUER) -> list[tuple[str, str, Assurance, bool]]:
    return [(piece.kind.value, piece.value, piece.assurance, piece.readable) for piece in evidence(claims, issuer)]


def verified(framework: object = "eidas", time: object = None, **claims: Any) -> dict[str, Any]:
    return {"verified_claims": {"verification": {"trust_framework": framework, "time": time}, "claims": claims}}


def test_each_configured_claim_is_evidence_of_its_kind() -> None:
    claims = {
        "nationalities": ["US", "FR"],
        "us_person": True,
        "address": {"country": "Germany"},
        "org": "Example Labs",
        "https://idp.example/org.country": "gbr",
        "groups": ["preview", "red team"],
    }
    assert said(claims) == [
        ("nationality", "US", Assurance.ASSERTED, True),
        ("nationality", "FR", Assurance.ASSERTED, True),
        ("us_person", "true", Assurance.ASSERTED, True),
        ("residence", "DE", Assurance.ASSERTED, True),
        ("organisation", "Example Labs", Assurance.ASSERTED, True),
        ("organisation_country", "GB", Assurance.ASSERTED, True),
        ("cohort", "preview", Assurance.ASSERTED, True),
        ("cohort", "red team", Assurance.ASSERTED, True),
    ]


def test_evidence_names_its_issuer_and_ends_with_its_token() -> None:
    (piece,) = evidence({"us_person": False})
    assert (piece.value, piece.source, piece.observed_at, piece.expires_at) == ("false", "token https://idp.example", SEEN, ENDS)


@pytest.mark.parametrize("value", ["US", "us", "USA", " usa ", "United States of America", ["US"], ["US", "usa", "US"]])
def test_a_nationality_is_one_string_or_an_array_in_any_form(value: object) -> None:
    assert said({"nationalities": value}) == [US]


@pytest.mark.parametrize("value", [None, []])
def test_an_empty_claim_says_nothing(value: object) -> None:
    assert said({"nationalities": value, "us_person": None, "groups": value, "address": {}, "verified_claims": value}) == []


@pytest.mark.parametrize(
    ("value", "remnant"),
    [
        ("", ""),
        ("Chinese", "Chinese"),
        ("QQ", "QQ"),
        (7, "(int)"),
        (True, "(bool)"),
        ({"code": "US"}, "(dict)"),
        ([["US"]], "(list)"),
        ([None], "(NoneType)"),
        ("<script>alert(1)</script>", "<script>alert(1)"),
        ("a\x00\n\u202eb", "ab"),
        (["US"] * 65, "(65 values)"),
        ("x" * 10_000, "x" * 16),
    ],
)
def test_an_unreadable_nationality_is_evidence_that_says_so_and_no_more(value: object, remnant: str) -> None:
    assert said({"nationalities": value}) == [("nationality", remnant, Assurance.ASSERTED, False)]


def test_ten_thousand_nationalities_are_unreadable_as_a_whole() -> None:
    assert said({"nationalities": ["US"] * 10_000}) == [("nationality", "(10000 values)", Assurance.ASSERTED, False)]


def test_a_readable_and_an_unreadable_value_both_stand() -> None:
    assert said({"nationalities": ["US", "ZZZ"]}) == [US, ("nationality", "ZZZ", Assurance.ASSERTED, False)]


@pytest.mark.parametrize("value", ["true", "false", "yes", 1, 0, 1.0, [True], {}])
def test_us_person_is_a_boolean_and_nothing_like_it(value: object) -> None:
    ((kind, _, _, readable),) = said({"us_person": value})
    assert (kind, readable) == ("us_person", False)


@pytest.mark.parametrize("value", ["", 7, "a\nb", "x" * 257, {}])
def test_an_organisation_or_cohort_that_is_no_name_is_unreadable(value: object) -> None:
    assert [(kind, readable) for kind, _, _, readable in said({"org": value, "groups": [value]})] == [
        ("organisation", False),
        ("cohort", False),
    ]


def test_many_groups_are_cohorts_and_too_many_are_not() -> None:
    assert len(said({"groups": [f"g{n}" for n in range(512)]})) == 512
    assert said({"groups": [f"g{n}" for n in range(513)]}) == [("cohort", "(513 values)", Assurance.ASSERTED, False)]


def test_one_string_is_one_cohort() -> None:
    assert said({"groups": "preview"}) == [("cohort", "preview", Assurance.ASSERTED, True)]


def test_only_configured_claims_count() -> None:
    claims = {
        "nationalities": ["US"],
        "nationality": "US",
        "ctry": "US",
        "us_person": True,
        "birthplace": {"country": "US"},
        "locale": "en-US",
    }
    assert said(claims, BARE) == []


def test_ctry_is_residence_and_never_nationality() -> None:
    issuer = Issuer(issuer="i", jwks="k", audiences=("a",), claims=Claims(residence="ctry"))
    assert said({"ctry": "US"}, issuer) == [("residence", "US", Assurance.ATTESTED, True)]


def test_a_claim_is_found_by_its_whole_name_before_its_path() -> None:
    assert claim_at({"a.b": 1, "a": {"b": 2}}, "a.b") == 1
    assert claim_at({"a": {"b": 2}}, "a.b") == 2
    assert claim_at({"a": "b"}, "a.b") is MISSING
    assert claim_at({"a": {"b": None}}, "a.b") is MISSING


def test_verified_claims_of_an_accepted_framework_are_verified() -> None:
    claims = verified(nationalities=["US"], address={"country": "FR"}, birthdate="1970-01-01", us_person=True)
    assert said(claims) == [
        ("nationality", "US", Assurance.VERIFIED, True),
        ("us_person", "true", Assurance.VERIFIED, True),
        ("residence", "FR", Assurance.VERIFIED, True),
    ]


def test_the_standard_names_are_read_in_verified_claims_without_configuration() -> None:
    assert said(verified(nationalities=["US"], address={"country": "FR"}), BARE) == [
        ("nationality", "US", Assurance.ATTESTED, True),
        ("residence", "FR", Assurance.ATTESTED, True),
    ]


@pytest.mark.parametrize("framework", [None, "", "EIDAS", "us_aml", 7, ["eidas"]])
def test_claims_of_another_framework_are_worth_what_the_issuer_is(framework: object) -> None:
    assert said(verified(framework, nationalities=["US"])) == [US]


@pytest.mark.parametrize("verification", [None, "eidas", []])
def test_claims_without_a_verification_are_worth_what_the_issuer_is(verification: object) -> None:
    assert said({"verified_claims": {"verification": verification, "claims": {"nationalities": ["US"]}}}) == [US]


def test_several_verifications_each_count_for_themselves() -> None:
    entries = [verified(nationalities=["US"])["verified_claims"], verified("other", nationalities=["FR"])["verified_claims"]]
    assert [(value, assurance) for _, value, assurance, _ in said({"verified_claims": entries})] == [
        ("US", Assurance.VERIFIED),
        ("FR", Assurance.ASSERTED),
    ]


def test_plain_and_verified_claims_that_disagree_both_stand() -> None:
    claims = {"nationalities": ["CN"], **verified(nationalities=["US"])}
    facts = establish(evidence(claims), SEEN)
    assert {(piece.value, piece.assurance) for piece in facts.about(Kind.NATIONALITY)} == {
        ("CN", Assurance.ASSERTED),
        ("US", Assurance.VERIFIED),
    }


@pytest.mark.parametrize(
    ("time", "observed"),
    [
        ("1970-01-01T00:10:00Z", 600.0),
        ("1970-01-01T01:10+01:00", 600.0),
        ("1970-01-01T00:10", 600.0),
        ("1970-01-01", 0.0),
        ("2099-01-01T00:00Z", SEEN),
        ("yesterday", SEEN),
        ("", SEEN),
        (600, SEEN),
        ("0001-01-01T00:00+23:59", None),
        (None, SEEN),
    ],
)
def test_the_time_of_verification_is_when_it_was_observed(time: object, observed: float | None) -> None:
    (piece,) = evidence(verified(time=time, nationalities=["US"]))
    assert piece.observed_at <= SEEN
    assert observed is None or piece.observed_at == observed


@pytest.mark.parametrize("malformed", ["US", 7, True, {}, {"claims": ["US"]}, [7], [[]], [{}] * 65])
def test_malformed_verified_claims_are_unreadable(malformed: object) -> None:
    assert set(said({"verified_claims": malformed})) == {("nationality", "(verified_claims)", Assurance.ASSERTED, False)}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["country", "claims", "verification", "time", "trust_framework", "nationalities"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["nationalities", "us_person", "address", "org", "groups", "verified_claims"]), JSON))
def test_no_claims_raise_and_all_evidence_is_short_and_printable(claims: dict[str, Any]) -> None:
    for piece in evidence(claims):
        assert len(piece.value) <= 256
        assert piece.value.isprintable()
        assert piece.readable or len(piece.value) <= 32
