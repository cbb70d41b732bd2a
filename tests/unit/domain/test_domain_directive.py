"""Directives: normal form, and what is said of those that mean nothing."""

import msgspec
import pytest
from msgspec import UNSET

from frontiergate.domain.directive import Directive, Vet, normal_form, validate
from frontiergate.domain.requirement import Requirement
from tests.reference.made import GROUPS, directive

US = {"us_person": True}


def problems(**fields):
    return validate(directive(**fields), GROUPS, {"caisi"})


def requirement_problems(**require):
    return problems(require=require)


def test_withdraw_expands_to_never():
    normal = normal_form(directive(withdraw=True))
    assert (normal.require, normal.otherwise, normal.unknown) == (Requirement(never=True), "withdraw", "withdraw")
    assert normal.withdraw is UNSET


@pytest.mark.parametrize(("stage", "answer"), [({}, "refuse"), ({"vet": "caisi"}, Vet("caisi"))])
def test_stage_expands_to_cohorts(stage, answer):
    normal = normal_form(directive(stage={"cohorts": ["alpha", "beta"], **stage}))
    assert (normal.require, normal.otherwise, normal.unknown) == (Requirement(cohort=("alpha", "beta")), answer, answer)
    assert normal.stage is UNSET


def test_unknown_defaults_to_otherwise_and_otherwise_to_refuse():
    assert normal_form(directive(require=US, otherwise={"vet": "caisi"})).unknown == Vet("caisi")
    assert normal_form(directive(require=US)).otherwise == "refuse"
    assert normal_form(directive(require=US, unknown="withdraw")).unknown == "withdraw"


def test_the_normal_form_of_a_normal_form_is_itself():
    for given in (directive(withdraw=True), directive(stage={"cohorts": ["a"]}), directive(require=US)):
        assert normal_form(normal_form(given)) == normal_form(given)


def test_a_normal_form_survives_being_written_and_read():
    normal = normal_form(directive(require={"not": US}, **{"from": "2026-11-23T00:00:00Z"}))
    assert msgspec.json.decode(msgspec.json.encode(normal), type=Directive) == normal


@pytest.mark.parametrize("fields", [{}, {"withdraw": True, "require": US}, {"stage": {"cohorts": ["a"]}, "withdraw": True}])
def test_a_directive_has_exactly_one_form(fields):
    assert "exactly one of require, withdraw and stage" in problems(**fields)[0]
    with pytest.raises(ValueError, match="exactly one of require, withdraw and stage"):
        normal_form(directive(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"withdraw": True},
        {"stage": {"cohorts": ["a"], "vet": "caisi"}},
        {"require": US, "unknown": "withdraw", "from": "2026-01-01T00:00:00Z", "until": "2026-01-01T01:00:00+00:30"},
        {"require": US, "until": "2026-01-01T00:00:00Z", "models": ["a/*", {"tag": "bio"}]},
        {"require": {"nationality": {"none_in": ["bis_d5", "chn", "D"]}, "count": "ever", "assurance": "verified"}},
        {"require": {"all_of": [{"not": {"network": "tor_exit"}}, {"any_of": [{"cohort": ["a"]}, {"never": True}]}]}},
    ],
)
def test_sound_directives_have_no_problems(fields):
    assert problems(**fields) == []


def test_shorthands_take_no_answers():
    found = problems(withdraw=True, otherwise="refuse", unknown="refuse")
    assert [problem.split(":")[0] for problem in found] == ["otherwise", "unknown"]


def test_unknown_programmes_are_named_with_the_nearest():
    found = problems(require=US, otherwise={"vet": "caisy"}, unknown={"vet": "zzz"})
    assert found == ["otherwise.vet: no programme 'caisy'; did you mean 'caisi'?", "unknown.vet: no programme 'zzz'; add it to programmes"]
    assert problems(stage={"cohorts": ["a"], "vet": "zzz"})[0].startswith("stage.vet: no programme")


def test_models_are_ids_globs_with_stars_or_tags():
    found = problems(withdraw=True, models=["", {"tag": " "}, "a/[bc]", "a/?"])
    assert [problem.split(":")[0] for problem in found] == ["models[0]", "models[1]", "models[2]", "models[3]"]
    assert "* is the only wildcard" in found[2]


def test_instants_have_a_time_zone_and_an_order():
    assert problems(withdraw=True, **{"from": "2026-01-01T00:00:00"})[0].startswith("from: has no time zone")
    assert problems(withdraw=True, until="2026-01-01T00:00:00")[0].startswith("until: has no time zone")
    same = {"from": "2026-01-01T00:00:00Z", "until": "2026-01-01T01:00:00+01:00"}
    assert problems(withdraw=True, **same)[0].startswith("until: is not after from")


@pytest.mark.parametrize(
    ("require", "start"),
    [
        ({}, "require: has nothing"),
        ({"us_person": True, "never": True}, "require: has us_person and never"),
        ({"all_of": [US, {"not": {}}]}, "require.all_of[1].not: has nothing"),
        ({"nationality": {}}, "require.nationality: has nothing; write exactly one of all_in"),
        ({"residence": {"all_in": ["US"], "any_in": ["US"]}}, "require.residence: has all_in and any_in"),
        ({"location": {"none_in": ["US", "bis_d6"]}}, "require.location.none_in[1]: 'bis_d6' is neither"),
        ({"location": {"none_in": ["zzzz"]}}, "require.location.none_in[0]: 'zzzz' is neither"),
        ({"network": ["tor_exi"]}, "require.network: 'tor_exi' is not one of"),
        ({"cohort": " "}, "require.cohort: an empty name"),
        ({"location": {"all_in": ["US"]}, "assurance": "verified"}, "require.assurance: does not apply to location"),
        ({"network": "hosting", "assurance": "verified"}, "require.assurance: does not apply to network"),
        ({"any_of": [US], "assurance": "verified"}, "require.assurance: does not apply to any_of"),
        ({"never": True, "assurance": "verified"}, "require.assurance: does not apply to never"),
        ({"residence": {"all_in": ["US"]}, "count": "ever"}, "require.count: applies to nationality only"),
    ],
)
def test_what_a_requirement_cannot_mean_is_named_by_its_path(require, start):
    found = requirement_problems(**require)
    assert len(found) == 1
    assert found[0].startswith(start)


def test_nearest_names_are_suggested():
    assert "did you mean 'bis_d5'" in requirement_problems(location={"none_in": ["bis_d55"]})[0]
    assert "did you mean 'tor_exit'" in requirement_problems(network="tor_exi")[0]
    assert "add it to country_groups" in requirement_problems(location={"none_in": ["qqqqqqqq"]})[0]


def test_depth_size_and_clauses_are_bounded():
    deep = US
    for _ in range(20):
        deep = {"not": deep}
    assert "nested deeper than 16" in requirement_problems(**deep)[0]
    assert "more than 512" in requirement_problems(all_of=[{"cohort": str(n)} for n in range(600)])[0]
    wide = {"any_of": [{"all_of": [{"cohort": f"{n}a"}, {"cohort": f"{n}b"}]} for n in range(9)]}
    assert "expands to 512 clauses, more than 256" in requirement_problems(**wide)[0]
