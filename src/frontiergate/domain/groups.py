"""Country groups: dated, sourced defaults, to be reviewed by counsel before they are relied on (NATIONALITY.md).

A group lists codes. A group that lists GB holds the British variants (GBD GBN GBO GBP GBS) too, unless it takes one out
with an entry `!GBO`. Nothing else is implied: HK, MO and TW are members only where listed. A bare code in a directive
means exactly that code.
"""

import datetime
import difflib
from collections.abc import Iterable, Mapping

import msgspec

from frontiergate.domain.country import BRITISH_VARIANTS, NAMES, canonical


class CountryGroupData(msgspec.Struct, frozen=True):
    """One shipped group: its countries as of `date`, and where they are from."""

    countries: tuple[str, ...]
    source: str
    date: datetime.date


_REVIEW = "; default to be reviewed by counsel"


def _group(countries: str, source: str, date: datetime.date) -> CountryGroupData:
    return CountryGroupData(tuple(countries.split()), source + _REVIEW, date)


def _bis(group: str, countries: str) -> CountryGroupData:
    """BIS has treated Hong Kong as China since 85 FR 83765 (2020-12-23), so groups with CN list HK; Macau is listed apart."""
    source = f"15 CFR part 740, Supplement No. 1, Country Group {group}, as amended by 91 FR 5091"
    return _group(countries, source, datetime.date(2026, 2, 3))


SHIPPED: dict[str, CountryGroupData] = {
    "five_eyes": _group("AU CA GB NZ US", "UKUSA Agreement (1946) and its later parties", datetime.date(1956, 10, 10)),
    "eu": _group(
        "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK",
        "Treaty on European Union, Article 52, after the United Kingdom's withdrawal",
        datetime.date(2020, 2, 1),
    ),
    "nato": _group(
        "AL BE BG CA CZ DE DK EE ES FI FR GB GR HR HU IS IT LT LU LV ME MK NL NO PL PT RO SE SI SK TR US",
        "North Atlantic Treaty, accessions up to Sweden's",
        datetime.date(2024, 3, 7),
    ),
    "bis_a1": _bis(
        "A:1 (Wassenaar participating states)",
        "AR AT AU BE BG CA CH CZ DE DK EE ES FI FR GB GR HR HU IE IN IS IT JP KR LT LU LV MX NL NO NZ PL PT RO SE SI SK TR US ZA",
    ),
    "bis_a5": _bis("A:5", "AR AT AU BE BG CA CH CZ DE DK EE ES FI FR GB GR HR HU IE IN IS IT JP KR LT LU LV NL NO NZ PL PT RO SE SI SK TR"),
    "bis_a6": _bis("A:6", "AL CY IL MT MX SG TW ZA"),
    "bis_d1": _bis("D:1 (national security)", "AM AZ BY CN GE HK IQ KG KH KP KZ LA LY MD MM MN MO RU TJ TM UZ VE VN YE"),
    # 22 CFR 126.1 governs D:5 where the two differ (note to D:5); it has also listed Ethiopia since 2021: ask counsel.
    "bis_d5": _bis("D:5 (US arms embargoed countries)", "AF BY CD CF CN CU CY ER HK HT IQ IR KP LB LY MM NI RU SD SO SS SY VE ZW"),
    "bis_e1": _bis("E:1 (terrorist supporting countries)", "IR KP SY"),
    "bis_e2": _bis("E:2 (unilateral embargo)", "CU"),
}


def resolve_groups(overrides: Mapping[str, Iterable[str]]) -> dict[str, frozenset[str]]:
    """All groups by name as canonical codes: the shipped ones, replaced or joined by `overrides`.

    Raises ValueError, one line a problem, where an entry is not a country or a group's name would be read as a country.
    """
    problems: list[str] = []
    resolved: dict[str, frozenset[str]] = {}
    for name, entries in ({group: data.countries for group, data in SHIPPED.items()} | dict(overrides)).items():
        if canonical(name) is not None:
            problems.append(f"country group {name!r}: the name is read as the country {canonical(name)}; choose another")
        resolved[name] = _members(name, entries, problems)
    if problems:
        raise ValueError("\n".join(problems))
    return resolved


def _members(name: str, entries: Iterable[str], problems: list[str]) -> frozenset[str]:
    listed: set[str] = set()
    removed: set[str] = set()
    for entry in entries:
        code = canonical(entry.removeprefix("!"))
        if code is None:
            problems.append(f"country group {name!r}: {entry!r} is not a country{suggestion(entry, NAMES)}")
        else:
            (removed if entry.startswith("!") else listed).add(code)
    if "GB" in listed:
        listed.update(BRITISH_VARIANTS)
    return frozenset(listed - removed)


def suggestion(text: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` with the nearest of `known`, or nothing."""
    nearest = difflib.get_close_matches(text, list(known), n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""
