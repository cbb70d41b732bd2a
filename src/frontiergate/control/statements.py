"""Statements: what an operator says of a principal (for a key, or in a question to explain), as evidence."""

from collections.abc import Iterable, Iterator

import msgspec

from frontiergate.control.problems import FieldError, invalid
from frontiergate.domain.country import canonical
from frontiergate.domain.evidence import Assurance, Evidence, Kind
from frontiergate.domain.requirement import NETWORKS

Few = tuple[str, ...]


class Statements(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Each field is one kind of fact; those left out are not known."""

    nationality: Few = ()
    us_person: bool | None = None
    residence: str | None = None
    organisation: str | None = None
    organisation_country: Few = ()
    cohorts: Few = ()


Statement = tuple[Kind, str, str]  # what it speaks to, its field in the body, its value


def statements_in(statements: Statements, where: str = "") -> Iterator[Statement]:
    """Every single statement, with its path in a body that has `statements` at `where`."""
    for position, code in enumerate(statements.nationality):
        yield Kind.NATIONALITY, f"{where}nationality[{position}]", code
    if statements.us_person is not None:
        yield Kind.US_PERSON, f"{where}us_person", "true" if statements.us_person else "false"
    if statements.residence is not None:
        yield Kind.RESIDENCE, f"{where}residence", statements.residence
    if statements.organisation is not None:
        yield Kind.ORGANISATION, f"{where}organisation", statements.organisation
    for position, code in enumerate(statements.organisation_country):
        yield Kind.ORGANISATION_COUNTRY, f"{where}organisation_country[{position}]", code
    for position, cohort in enumerate(statements.cohorts):
        yield Kind.COHORT, f"{where}cohorts[{position}]", cohort


def evidence_of(said: Iterable[Statement], *, source: str, assurance: Assurance, at: float) -> tuple[Evidence, ...]:
    """One piece of evidence a statement; raises Problem (422) that lists the values that cannot be read."""
    errors: list[FieldError] = []
    found: list[Evidence] = []
    for kind, field, value in said:
        read = _canonical(kind, value)
        if read is None:
            errors.append(FieldError(field, _WANTED[kind].format(value=value)))
        else:
            found.append(Evidence(kind=kind, value=read, source=source, assurance=assurance, observed_at=at))
    if errors:
        raise invalid(errors)
    return tuple(found)


_COUNTRIES = frozenset({Kind.NATIONALITY, Kind.RESIDENCE, Kind.ORGANISATION_COUNTRY, Kind.LOCATION})
_WANTED = {
    **dict.fromkeys(Kind, "must not be empty"),
    **dict.fromkeys(_COUNTRIES, "{value!r} is not a country code: write ISO 3166-1, e.g. US or USA"),
    Kind.NETWORK: "{value!r} is not a kind of network: write one of " + ", ".join(NETWORKS),
}


def _canonical(kind: Kind, value: str) -> str | None:
    if kind in _COUNTRIES:
        return canonical(value)
    if kind is Kind.NETWORK:
        return value if value in NETWORKS else None
    return value.strip() or None
