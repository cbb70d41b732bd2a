"""Country groups: dated, sourced, overridable (NATIONALITY.md)."""

import pytest

from frontiergate.domain.country import ALL_CODES
from frontiergate.domain.groups import SHIPPED, resolve_groups

NAMES = {"five_eyes", "eu", "nato", "bis_a1", "bis_a5", "bis_a6", "bis_d1", "bis_d5", "bis_e1", "bis_e2"}


def test_shipped_groups_are_canonical_dated_and_say_that_counsel_reviews_them():
    assert SHIPPED.keys() == NAMES
    for data in SHIPPED.values():
        assert set(data.countries) <= set(ALL_CODES)
        assert len(set(data.countries)) == len(data.countries)
        assert "reviewed by counsel" in data.source
        assert data.date.year > 1940


def test_shipped_groups_have_the_sizes_of_their_sources():
    sizes = {name: len(data.countries) for name, data in SHIPPED.items()}
    assert sizes == {
        "five_eyes": 5,
        "eu": 27,
        "nato": 32,
        "bis_a1": 40,
        "bis_a5": 37,
        "bis_a6": 8,
        "bis_d1": 24,
        "bis_d5": 24,
        "bis_e1": 3,
        "bis_e2": 1,
    }


def test_former_states_and_the_stateless_are_in_no_shipped_group():
    assert not {"SU", "YU", "CS", "DD", "XXA", "XXB", "XXC", "XK"} & frozenset().union(*resolve_groups({}).values())


def test_british_variants_follow_gb_unless_a_group_takes_one_out():
    groups = resolve_groups({"partners": ["uk", "!GBO"], "mainland": ["CHN"]})
    assert "GBO" in groups["five_eyes"]
    assert groups["partners"] == {"GB", "GBD", "GBN", "GBP", "GBS"}
    assert groups["mainland"] == {"CN"}
    assert "GBO" not in groups["eu"]


def test_an_override_replaces_a_shipped_group():
    assert resolve_groups({"five_eyes": ["US"]})["five_eyes"] == {"US"}


def test_all_problems_of_overrides_are_named_at_once():
    with pytest.raises(ValueError) as error:
        resolve_groups({"partners": ["United Stats", "qqqqqq"], "us": ["US"]})
    lines = str(error.value).splitlines()
    assert len(lines) == 3
    assert "'United Stats' is not a country" in lines[0]
    assert "read as the country US" in lines[2]


def test_a_near_miss_is_suggested():
    with pytest.raises(ValueError, match="did you mean 'GBO'"):
        resolve_groups({"partners": ["GBOO"]})
