"""Evidence from the claims of a verified token (NATIONALITY.md; OpenID Connect for Identity Assurance 1.0; BYPASSES 49, 50).

Every statement becomes evidence of its own: where a plain and a verified claim disagree, both stand. What cannot be read
is evidence that says so. A claim that is not there, null or an empty array says nothing.
"""

import datetime
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from frontiergate.config.schema import Issuer
from frontiergate.domain.country import canonical
from frontiergate.domain.evidence import Assurance, Evidence, Kind

MISSING: Final = object()
_MOST_COUNTRIES: Final = 64
_MOST_NAMES: Final = 512  # cohorts are an enterprise's groups; the token's length bounds them anyway
_LONGEST_NAME: Final = 256
_ASSURANCES: Final = {"asserted": Assurance.ASSERTED, "attested": Assurance.ATTESTED, "verified": Assurance.VERIFIED}
# Where verified_claims carry facts whatever is configured (OpenID Connect for Identity Assurance, section 4; OpenID Connect Core 5.1.1).
_STANDARD: Final = ((Kind.NATIONALITY, "nationalities"), (Kind.RESIDENCE, "address.country"))

Reading = tuple[str, bool]  # a canonical value and True, or a shortened, printable remnant and False


def claim_at(claims: Mapping[str, object], path: str) -> object:
    """The claim with the name `path`, else the one that its dots lead to; MISSING where there is none or it is null."""
    value: object = claims.get(path, MISSING)
    if value is MISSING:
        value = claims
        for name in path.split("."):
            value = value.get(name, MISSING) if isinstance(value, Mapping) else MISSING
    return MISSING if value is None else value


def evidence_of(claims: Mapping[str, object], issuer: Issuer, observed_at: float, expires_at: float) -> tuple[Evidence, ...]:
    """All evidence in `claims`, a verified token's payload. It ends with the token."""
    source = f"token {issuer.issuer}"
    plain = _ASSURANCES[issuer.assurance]
    configured = _configured(issuer)
    found: list[Evidence] = []

    def add(statements: Iterable[tuple[Kind, Reading]], assurance: Assurance, seen_at: float) -> None:
        found.extend(
            Evidence(
                kind=kind, value=value, source=source, assurance=assurance, observed_at=seen_at, expires_at=expires_at, readable=readable
            )
            for kind, (value, readable) in statements
        )

    add(_statements(claims, configured), plain, observed_at)
    for entry in _entries(claims.get("verified_claims")):
        verification, inner = (entry.get("verification"), entry.get("claims")) if isinstance(entry, Mapping) else (None, None)
        if not isinstance(inner, Mapping):
            add([(Kind.NATIONALITY, ("(verified_claims)", False))], plain, observed_at)
            continue
        assurance, seen_at = plain, observed_at
        if isinstance(verification, Mapping):
            framework = verification.get("trust_framework")
            if isinstance(framework, str) and framework in issuer.trust_frameworks:
                assurance = Assurance.VERIFIED
            seen_at = _verified_at(verification.get("time"), observed_at)
        add(_statements(inner, tuple(dict.fromkeys((*configured, *_STANDARD)))), assurance, seen_at)
    return tuple(found)


def _configured(issuer: Issuer) -> tuple[tuple[Kind, str], ...]:
    paths = issuer.claims
    places = (
        (Kind.NATIONALITY, paths.nationality),
        (Kind.US_PERSON, paths.us_person),
        (Kind.RESIDENCE, paths.residence),
        (Kind.ORGANISATION, paths.organisation),
        (Kind.ORGANISATION_COUNTRY, paths.organisation_country),
        (Kind.COHORT, paths.cohorts),
    )
    return tuple((kind, path) for kind, path in places if path is not None)


def _entries(value: object) -> list[object]:
    """verified_claims is one object, or an array of them (OpenID Connect for Identity Assurance, section 4)."""
    if value is None:
        return []
    if isinstance(value, list):
        return value if len(value) <= _MOST_COUNTRIES else [None]
    return [value]


def _verified_at(time: object, otherwise: float) -> float:
    """`verification.time`, ISO 8601; a time that cannot be read, or lies after the token, does not count."""
    if not isinstance(time, str):
        return otherwise
    try:
        instant = datetime.datetime.fromisoformat(time)
    except ValueError:
        return otherwise
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=datetime.UTC)
    return min(instant.timestamp(), otherwise)


def _statements(claims: Mapping[str, object], places: Iterable[tuple[Kind, str]]) -> Iterator[tuple[Kind, Reading]]:
    for kind, path in places:
        value = claim_at(claims, path)
        if value is not MISSING:
            yield from ((kind, reading) for reading in _READERS[kind](value))


def _countries(value: object) -> list[Reading]:
    return _each(value, _country, _MOST_COUNTRIES)


def _names(value: object) -> list[Reading]:
    return _each(value, _name, _MOST_NAMES)


def _us_person(value: object) -> list[Reading]:
    """Only JSON's own true and false: "false" as a string is true to many languages."""
    return [("true" if value else "false", True) if isinstance(value, bool) else (_remnant(value), False)]


def _each(value: object, read: Callable[[object], Reading], most: int) -> list[Reading]:
    """One value or an array of them, without repeats; too many are unreadable as a whole."""
    values = value if isinstance(value, list) else [value]
    if len(values) > most:
        return [(f"({len(values)} values)", False)]
    return list(dict.fromkeys(read(one) for one in values))


def _country(value: object) -> Reading:
    code = canonical(value) if isinstance(value, str) else None
    return (_remnant(value), False) if code is None else (code, True)


def _name(value: object) -> Reading:
    if isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME and value.isprintable():
        return value, True
    return _remnant(value), False


def _remnant(value: object) -> str:
    """Enough of an unreadable value to recognise it by, and no more: it may be anything, and is shown to people."""
    if isinstance(value, str):
        return "".join(character for character in value[:256] if character.isprintable())[:16]
    return f"({type(value).__name__})"


_READERS: Final[Mapping[Kind, Callable[[object], list[Reading]]]] = {
    Kind.NATIONALITY: _countries,
    Kind.US_PERSON: _us_person,
    Kind.RESIDENCE: _countries,
    Kind.ORGANISATION: _names,
    Kind.ORGANISATION_COUNTRY: _countries,
    Kind.COHORT: _names,
}
