"""The table of countries (NATIONALITY.md, codes)."""

import pytest

from frontiergate.domain.country import ALL_CODES, BIT, NAMES, UNIVERSE, canonical, mask


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("US", "US"),
        (" us\t", "US"),
        ("USA", "US"),
        ("chn", "CN"),
        ("United States of America", "US"),
        ("germany", "DE"),
        ("D", "DE"),
        ("Côte d'Ivoire", "CI"),
        ("cote d'ivoire", "CI"),
        ("TÜRKIYE", "TR"),
        ("UK", "GB"),
        ("el", "GR"),
        ("RKS", "XK"),
        ("XKX", "XK"),
        ("XXA", "XXA"),
        ("GBO", "GBO"),
        ("UNO", "UNO"),
        ("EUE", "EUE"),
        ("XOM", "XOM"),
        ("SU", "SU"),
        ("SUN", "SU"),
        ("YU", "YU"),
        ("CS", "CS"),
        ("DD", "DD"),
        ("HKG", "HK"),
        ("Macau", "MO"),
        ("Taiwan", "TW"),
    ],
)
def test_codes_and_names_are_read_whatever_their_case(text, code):
    assert canonical(text) == code


@pytest.mark.parametrize("text", ["ZZ", "", "  ", "Chinese", "XXX", "A1", "EU", "U S", "US,CN", "ß", "ﬁ", "ıN", "ＵＳ", "Korea", "840"])
def test_what_is_no_country_is_unreadable(text):
    assert canonical(text) is None


def test_every_iso_code_has_one_alpha_2_one_alpha_3_and_a_name():
    assert len([code for code in ALL_CODES if len(code) == 2]) == 249 + len(("XK", "SU", "YU", "CS", "DD"))
    assert all(canonical(code) == code and canonical(NAMES[code]) == code for code in ALL_CODES)


def test_codes_have_one_bit_each():
    assert mask(ALL_CODES) == UNIVERSE == sum(BIT.values())
    assert mask(["US", "CN"]) == BIT["US"] | BIT["CN"]
    with pytest.raises(KeyError):
        mask(["us"])
