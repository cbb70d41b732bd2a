"""The requirement language: a closed vocabulary of atoms under all_of, any_of and not (DESIGN 4.2).

These are its types, in the shape people write. Three-valued judgement is in `policy`.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

Names = Annotated[tuple[str, ...], Meta(min_length=1)]
Level = Literal["presumed", "asserted", "attested", "verified"]
Count = Literal["current", "most_recent", "ever"]


class Selection(msgspec.Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    """A test of a set of countries: exactly one of the three. Entries are country codes or names of country groups."""

    all_in: Annotated[Names | UnsetType, Meta(description="every country is one of these")] = UNSET
    any_in: Annotated[Names | UnsetType, Meta(description="at least one country is one of these")] = UNSET
    none_in: Annotated[Names | UnsetType, Meta(description="no country is one of these")] = UNSET


class Requirement(
    msgspec.Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, rename={"not_": "not"}, omit_defaults=True
):
    """One node: exactly one operator or atom; `assurance` and `count` modify the atom beside them.

    `assurance` is by default `attested`. Location and network are the gate's own observations of the request and are
    worth `attested`. `count` applies to nationality only (NATIONALITY.md).
    """

    all_of: Annotated[tuple["Requirement", ...], Meta(min_length=1, description="all of these hold")] | UnsetType = UNSET
    any_of: Annotated[tuple["Requirement", ...], Meta(min_length=1, description="at least one of these holds")] | UnsetType = UNSET
    not_: Annotated["Requirement | UnsetType", Meta(description="it does not hold")] = UNSET
    us_person: Annotated[bool | UnsetType, Meta(description="is a US person, or is not")] = UNSET
    nationality: Annotated[Selection | UnsetType, Meta(description="the citizenships held")] = UNSET
    residence: Annotated[Selection | UnsetType, Meta(description="the country of permanent residence")] = UNSET
    location: Annotated[Selection | UnsetType, Meta(description="the country of the client's address")] = UNSET
    organisation_country: Annotated[Selection | UnsetType, Meta(description="where the organisation is organised and owned")] = UNSET
    organisation: Annotated[str | Names | UnsetType, Meta(description="the organisation is one of these")] = UNSET
    cohort: Annotated[str | Names | UnsetType, Meta(description="is in one of these cohorts")] = UNSET
    network: Annotated[
        str | Names | UnsetType,
        Meta(description="of the client's address: anonymous, anonymous_vpn, hosting, public_proxy, residential_proxy, tor_exit, ordinary"),
    ] = UNSET
    never: Annotated[Literal[True] | UnsetType, Meta(description="satisfied by nobody")] = UNSET
    assurance: Annotated[Level | UnsetType, Meta(description="how good the evidence must be; by default attested")] = UNSET
    count: Annotated[Count | UnsetType, Meta(description="which nationalities count; by default current")] = UNSET


# What an anonymous-IP database can say of an address; `ordinary` where it has no flag for it.
NETWORKS = ("anonymous", "anonymous_vpn", "hosting", "public_proxy", "residential_proxy", "tor_exit", "ordinary")
