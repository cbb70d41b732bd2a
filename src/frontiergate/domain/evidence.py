"""Evidence: one statement about a principal or a request, with its source and its worth (DESIGN 3, 4.1)."""

import enum
from typing import Literal

import msgspec


class Assurance(enum.IntEnum):
    """How much a piece of evidence is worth, weakest first."""

    PRESUMED = 0  # derived, e.g. a nationality from GeoIP
    ASSERTED = 1  # said by the person
    ATTESTED = 2  # an organisation vouches
    VERIFIED = 3  # checked against a document by an accepted identity provider


class Kind(enum.StrEnum):
    """The facts that evidence can speak to; a closed vocabulary."""

    NATIONALITY = "nationality"
    US_PERSON = "us_person"
    RESIDENCE = "residence"
    LOCATION = "location"
    ORGANISATION = "organisation"
    ORGANISATION_COUNTRY = "organisation_country"
    NETWORK = "network"
    COHORT = "cohort"


class Evidence(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One statement. `value` is canonical for its kind when `readable`, else the offending text, shortened.

    Values: a country code (`country.canonical`) for nationality, residence, location and organisation_country; `true` or
    `false` for us_person; a name for organisation, cohort and network. Instants are POSIX seconds.
    """

    kind: Kind
    value: str
    source: str  # e.g. "token https://idp.example", "key k_7Q…", "geoip GeoLite2-Country"
    assurance: Assurance
    observed_at: float
    expires_at: float | None = None
    since: str | None = None  # ISO date from which a nationality is held (NATIONALITY.md)
    held: Literal["current", "former"] = "current"
    readable: bool = True
