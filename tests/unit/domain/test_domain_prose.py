"""A directive reads back as one plain sentence (P7)."""

import pytest

from frontiergate.domain.policy import describe
from frontiergate.domain.prose import either
from tests.reference.made import directive


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {
                "models": ["anthropic/frontier-*", {"tag": "cyber"}],
                "require": {"all_of": [{"us_person": True}, {"location": {"none_in": ["bis_d5"]}}]},
                "otherwise": "refuse",
                "unknown": {"vet": "caisi"},
                "from": "2026-11-23T01:00:00+01:00",
                "until": "2027-01-01T00:00:00Z",
            },
            "whoever uses anthropic/frontier-* or any model tagged cyber must be a US person and be located outside bis_d5; "
            "others are refused, and need an approval under caisi where it cannot be told; "
            "from 2026-11-23 00:00 UTC; until 2027-01-01 00:00 UTC.",
        ),
        ({"withdraw": True}, "nobody may use any model: they are told that it is withdrawn."),
        (
            {"stage": {"cohorts": ["alpha", "beta"], "vet": "caisi"}},
            "whoever uses any model must belong to cohort alpha or beta; "
            "others need an approval under caisi, also where it cannot be told.",
        ),
        (
            {
                "models": ["a", "b", "c"],
                "require": {
                    "any_of": [
                        {"nationality": {"all_in": ["five_eyes", "jpn"]}, "assurance": "verified", "count": "most_recent"},
                        {"all_of": [{"not": {"us_person": True}}, {"all_of": [{"not": {"network": "hosting"}}]}]},
                    ]
                },
                "mode": "observe",
                "allow_presumed": True,
            },
            "whoever uses a, b or c must hold only nationalities of five_eyes or Japan (verified; the most recent counts) or "
            "(not be a US person and call through a network that is not hosting); others are refused, also where it cannot be told; "
            "where no nationality is known, that of the address counts; observed only, not acted on.",
        ),
        (
            {"require": {"all_of": [{"not": {"never": True}}, {"any_of": [{"never": True}, {"residence": {"any_in": ["US"]}}]}]}},
            "whoever uses any model must meet no condition and (do what nobody can or reside in United States); "
            "others are refused, also where it cannot be told.",
        ),
    ],
)
def test_a_directive_reads_as_one_sentence(fields, sentence):
    assert describe(directive(**fields)) == f"Under IS-2026-014 (Bureau of Industry and Security), {sentence}"


def test_lists_read_as_people_write_them():
    assert [either(words) for words in ("a", "ab", "abc")] == ["a", "a or b", "a, b or c"]


def test_a_directive_without_a_form_cannot_be_described():
    with pytest.raises(ValueError, match="exactly one"):
        describe(directive())
    with pytest.raises(ValueError, match="exactly one operator or atom"):
        describe(directive(require={}))
    with pytest.raises(ValueError, match="nationality has exactly one of"):
        describe(directive(require={"nationality": {}}))
