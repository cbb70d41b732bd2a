"""Facts from evidence (DESIGN 4.1; NATIONALITY.md)."""

import math

import pytest

from frontiergate.domain.country import BIT
from frontiergate.domain.evidence import Assurance, Kind
from frontiergate.domain.facts import NO, YES, establish
from frontiergate.domain.policy import compile_policy, decide
from frontiergate.domain.verdict import Outcome
from tests.reference.made import CATALOGUE, CYBER, GROUPS, directive, evidence

AT = 100.0
REFUSED, QUEUED, FORWARDED = Outcome.REFUSE, Outcome.QUEUE, Outcome.FORWARD


def outcome(pieces, **require):
    rule = directive(require=require, otherwise="refuse", unknown={"vet": "caisi"})
    return decide(establish(pieces, AT), [CYBER], compile_policy(CATALOGUE, [rule], {}, GROUPS, 1), (), AT).outcome


def test_values_are_kept_by_what_they_are_worth():
    facts = establish([evidence("nationality", "US", "verified"), evidence("nationality", "CN", "asserted")], AT)
    reading = facts.reading(Kind.NATIONALITY, "current")
    both = BIT["US"] | BIT["CN"]
    assert reading.strong == (both, both, BIT["US"], BIT["US"])
    assert reading.stated[Assurance.ATTESTED] == both
    assert reading.presumed == 0
    assert not reading.incomplete


def test_facts_last_until_the_first_expiry_and_begin_at_the_last_one():
    pieces = [evidence("nationality", "US", expires_at=expiry) for expiry in (50.0, 90.0, 150.0, 200.0, None)]
    facts = establish(pieces, AT)
    assert (facts.valid_from, facts.valid_until) == (90.0, 150.0)
    assert facts.evidence == tuple(pieces[2:])
    assert (establish([], AT).valid_from, establish([], AT).valid_until) == (-math.inf, math.inf)


def test_a_clock_that_steps_back_brings_expired_evidence_to_life_again():
    facts = establish([evidence("nationality", "CN", expires_at=90.0)], AT)
    assert facts.at(95.0) is facts
    assert facts.at(80.0).reading(Kind.NATIONALITY, "current").strong[0] == BIT["CN"]


def test_facts_without_expired_evidence_share_its_tuple():
    pieces = (evidence("nationality", "US"),)
    assert establish(pieces, AT).evidence is pieces


def test_evidence_observed_in_the_future_counts():
    assert outcome([evidence("nationality", "US", observed_at=AT + 60)], nationality={"all_in": ["US"]}) is FORWARDED


def test_the_presumed_nationality_ends_with_the_location_and_names_it():
    facts = establish([evidence("location", "US", source="geoip db", expires_at=150.0)], AT)
    presumed = facts.about(Kind.NATIONALITY)[0]
    assert (presumed.value, presumed.assurance, presumed.expires_at) == ("US", Assurance.PRESUMED, 150.0)
    assert presumed.source == "presumed from location, geoip db"
    assert facts.at(150.0).evidence == ()


def test_a_former_location_presumes_nothing():
    assert establish([evidence("location", "US", held="former")], AT).about(Kind.NATIONALITY) == ()


def test_a_value_outside_the_table_counts_as_unreadable():
    facts = establish([evidence("nationality", "us"), evidence("us_person", "yes")], AT)
    assert facts.reading(Kind.NATIONALITY, "current").incomplete
    assert facts.reading(Kind.US_PERSON, "current").incomplete


def test_us_person_has_two_values():
    facts = establish([evidence("us_person", "true"), evidence("us_person", "false", "asserted")], AT)
    assert facts.reading(Kind.US_PERSON, "current").strong == (YES | NO, YES | NO, YES, 0)


def test_contradicted_us_person_is_neither():
    pieces = [evidence("us_person", "true"), evidence("us_person", "false", "asserted")]
    assert outcome(pieces, us_person=True) is REFUSED
    assert outcome(pieces, us_person=False) is REFUSED


def test_an_unreadable_piece_bars_universal_demands_and_not_existential_ones():
    pieces = [evidence("nationality", "US"), evidence("nationality", "??", readable=False)]
    assert outcome(pieces, nationality={"all_in": ["US"]}) is QUEUED
    assert outcome(pieces, nationality={"none_in": ["CN"]}) is QUEUED
    assert outcome(pieces, nationality={"any_in": ["US"]}) is FORWARDED
    assert outcome(pieces, nationality={"any_in": ["CN"]}) is QUEUED
    assert outcome(pieces, nationality={"all_in": ["CN"]}) is REFUSED


def test_what_makes_a_location_unknown_is_part_of_its_evidence():
    pieces = (evidence("location", "US"), evidence("network", "hosting"), evidence("cohort", "alpha"))
    assert establish(pieces, AT).about(Kind.LOCATION) == pieces[:2]


def test_an_ordinary_network_leaves_the_location_known():
    assert outcome([evidence("location", "US"), evidence("network", "ordinary")], location={"all_in": ["US"]}) is FORWARDED


@pytest.mark.parametrize(("kind", "name"), [("organisation", "acme"), ("cohort", "alpha"), ("network", "tor_exit")])
def test_names_are_any_of_and_their_complement_none_of(kind, name):
    other = "ordinary" if kind == "network" else "else"
    assert outcome([evidence(kind, name)], **{kind: name}) is FORWARDED
    assert outcome([evidence(kind, other)], **{kind: [name]}) is REFUSED
    assert outcome([evidence(kind, other)], **{"not": {kind: name}}) is FORWARDED
    assert outcome([evidence(kind, name)], **{"not": {kind: name}}) is REFUSED
    assert outcome([], **{kind: name}) is QUEUED
    assert outcome([evidence(kind, name, readable=False)], **{kind: name}) is QUEUED


def nationality(code, since=None, assurance="attested", **fields):
    return evidence("nationality", code, assurance, since=since, **fields)


def recent(pieces, **selection):
    return outcome(pieces, nationality=selection, count="most_recent")


def test_former_nationalities_count_only_where_ever_is_asked():
    pieces = [nationality("US"), nationality("CN", held="former")]
    assert outcome(pieces, nationality={"all_in": ["US"]}) is FORWARDED
    assert recent(pieces, all_in=["US"]) is FORWARDED
    assert outcome(pieces, nationality={"all_in": ["US"]}, count="ever") is REFUSED


def test_the_most_recent_nationality_decides_where_all_say_since_when():
    pieces = [nationality("CN", "2000-01-01"), nationality("US", "2020-01-01")]
    assert recent(pieces, all_in=["US"]) is FORWARDED
    assert recent(pieces, any_in=["CN"]) is REFUSED
    assert outcome(pieces, nationality={"all_in": ["US"]}) is REFUSED


def test_two_most_recent_nationalities_both_decide():
    pieces = [nationality("CN", "2020-01-01"), nationality("US", "2020-01-01")]
    assert recent(pieces, all_in=["US"]) is REFUSED


@pytest.mark.parametrize("since", [None, "2020", "long ago"])
def test_most_recent_is_judged_on_all_where_one_does_not_say_since_when(since):
    assert recent([nationality("CN", "2000-01-01"), nationality("US", since)], all_in=["US"]) is REFUSED


def test_a_later_nationality_on_weak_evidence_neither_displaces_nor_lets_through():
    weak_us = nationality("US", "2020-01-01", "asserted")
    weak_cn = nationality("CN", "2020-01-01", "asserted")
    assert recent([nationality("CN", "2000-01-01"), weak_us], all_in=["US"]) is REFUSED
    assert recent([nationality("US", "2000-01-01"), weak_cn], all_in=["US"]) is REFUSED
    assert recent([nationality("US", "2000-01-01"), weak_cn], any_in=["US"]) is QUEUED


def test_an_undated_nationality_on_weak_evidence_revives_nothing():
    pieces = [nationality("CN", "2000-01-01"), nationality("US", "2020-01-01"), nationality("BR", None, "asserted")]
    assert recent(pieces, any_in=["CN"]) is not FORWARDED


def test_dated_presumptions_count_as_presumptions():
    assert recent([nationality("US", "2020-01-01", "presumed")], all_in=["US"]) is QUEUED
