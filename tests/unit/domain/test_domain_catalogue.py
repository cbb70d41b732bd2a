"""The catalogue: names stand for one model each, exactly as written."""

import pytest

from frontiergate.domain.catalogue import Catalogue, Model

FIVE = Model(id="a/five", names=("five", "a/five"), dialects=("anthropic",), upstream="a")
SIX = Model(id="o/six", names=("five",), dialects=("openai",), upstream="o")


def test_a_name_is_resolved_within_its_dialect_and_exactly():
    catalogue = Catalogue([SIX, FIVE])
    assert catalogue.resolve("anthropic", "five") is FIVE
    assert catalogue.resolve("openai", "five") is SIX
    assert catalogue.resolve("anthropic", "a/five") is FIVE
    assert catalogue.resolve("anthropic", "Five") is None
    assert catalogue.resolve("gemini", "five") is None
    assert catalogue.of_dialect("anthropic") == [FIVE]


def test_a_name_that_would_stand_for_two_models_is_an_error():
    other = Model(id="a/other", names=("five",), dialects=("anthropic",), upstream="a")
    with pytest.raises(ValueError, match="'five' stands for both 'a/five' and 'a/other'"):
        Catalogue([FIVE, other])
    with pytest.raises(ValueError, match="listed twice"):
        Catalogue([FIVE, FIVE])
