"""Every row of the table "Combining" in NATIONALITY.md; R = all_in five_eyes, attested, else refuse, unknown: vet."""

import pytest

from frontiergate.domain.country import canonical
from frontiergate.domain.facts import establish
from frontiergate.domain.policy import compile_policy, decide
from frontiergate.domain.verdict import Outcome
from tests.reference.made import CATALOGUE, CYBER, GROUPS, directive, evidence

AT = 100_000.0
TRUE, FALSE, UNKNOWN = Outcome.FORWARD, Outcome.REFUSE, Outcome.QUEUE
R = {"nationality": {"all_in": ["five_eyes"]}, "assurance": "attested"}
ANY = {"nationality": {"any_in": ["five_eyes"]}, "assurance": "attested"}
BY_PLACE = {"location": {"none_in": ["bis_d5"]}}
US_PERSON = {"us_person": True}


def outcome(pieces, require, **fields):
    rule = directive(require=require, otherwise="refuse", unknown={"vet": "caisi"}, **fields)
    policy = compile_policy(CATALOGUE, [rule], {}, GROUPS, 1)
    return decide(establish(pieces, AT), [CYBER], policy, (), AT).outcome


def test_verified_us_satisfies():
    assert outcome([evidence("nationality", "US", "verified")], R) is TRUE


def test_asserted_us_is_not_enough_to_admit():
    assert outcome([evidence("nationality", "US", "asserted")], R) is UNKNOWN


def test_asserted_cn_counts_against():
    assert outcome([evidence("nationality", "CN", "asserted")], R) is FALSE


def test_attested_us_and_asserted_cn_are_united():
    pieces = [evidence("nationality", "US"), evidence("nationality", "CN", "asserted")]
    assert outcome(pieces, R) is FALSE
    assert outcome(pieces[::-1], R) is FALSE


def test_attested_us_and_fr_fail_all_in_and_satisfy_any_in():
    pieces = [evidence("nationality", "US"), evidence("nationality", "FR")]
    assert outcome(pieces, R) is FALSE
    assert outcome(pieces, ANY) is TRUE


@pytest.mark.parametrize("place", ["US", "CN"])
def test_an_address_alone_tells_no_nationality(place):
    assert outcome([evidence("location", place)], R) is UNKNOWN


def test_an_address_in_cn_fails_a_directive_by_place():
    assert outcome([evidence("location", "CN")], BY_PLACE) is FALSE


def test_attested_us_calling_from_cn_satisfies_by_nationality_and_fails_by_place():
    pieces = [evidence("nationality", "US"), evidence("location", "CN")]
    assert outcome(pieces, R) is TRUE
    assert outcome(pieces, BY_PLACE) is FALSE


def test_attested_us_behind_a_tor_exit_satisfies_by_nationality_and_has_no_place():
    pieces = [evidence("nationality", "US"), evidence("location", "US"), evidence("network", "tor_exit")]
    assert outcome(pieces, R) is TRUE
    assert outcome(pieces, BY_PLACE) is UNKNOWN


def test_attested_us_that_expired_is_no_evidence():
    assert outcome([evidence("nationality", "US", expires_at=AT - 86400)], R) is UNKNOWN
    assert outcome([evidence("nationality", "US", expires_at=AT)], R) is UNKNOWN


@pytest.mark.parametrize("text", ["ZZ", "", "Chinese"])
def test_unreadable_text_is_unknown_and_reported(text):
    assert canonical(text) is None
    piece = evidence("nationality", text, readable=False)
    assert outcome([piece], R) is UNKNOWN
    assert piece in establish([piece], AT).evidence


def test_a_record_and_a_token_are_united():
    pieces = [evidence("nationality", "US"), evidence("nationality", "GB", "verified", source="token https://idp.example")]
    assert outcome(pieces, R) is TRUE


def test_a_permanent_resident_is_a_us_person_with_a_foreign_nationality():
    pieces = [evidence("nationality", "CN"), evidence("us_person", "true")]
    assert outcome(pieces, R) is FALSE
    assert outcome(pieces, US_PERSON) is TRUE


@pytest.mark.parametrize(("place", "expected"), [("US", TRUE), ("CN", FALSE)])
def test_presumption_lets_the_address_stand_in_where_the_directive_allows_it(place, expected):
    assert outcome([evidence("location", place)], R, allow_presumed=True) is expected


def test_presumption_does_not_stand_in_for_an_unreadable_nationality():
    pieces = [evidence("location", "US"), evidence("nationality", "ZZ", readable=False)]
    assert outcome(pieces, R, allow_presumed=True) is UNKNOWN


def test_presumption_does_not_see_through_an_anonymiser():
    pieces = [evidence("location", "US"), evidence("network", "anonymous_vpn")]
    assert outcome(pieces, R, allow_presumed=True) is UNKNOWN
