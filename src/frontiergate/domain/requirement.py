"""The requirement language: a closed vocabulary of atoms under all_of, any_of and not (DESIGN 4.2).

These are its types, in the shape people write. Three-valued judgement is in `policy`.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

Names = Annotated[tuple[str, ...], Meta(min_length=1)]
Level = Literal["presumed", "asserted", "attested", "verified"]
Count = Literal["current", "most_recent", "ever"]


class Selection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A test of a set of countries: exactly one of the three. Entries are country codes or names of country groups."""

    all_in: Names | UnsetType = UNSET
    any_in: Names | UnsetType = UNSET
    none_in: Names | UnsetType = UNSET


class Requirement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"not_": "not"}, omit_defaults=True):
    """One node: exactly one operator or atom; `assurance` and `count` modify the atom beside them.

    `assurance` is by default `attested`. Location and network are the gate's own observations of the request and are
    worth `attested`. `count` applies to nationality only (NATIONALITY.md).
    """

    all_of: Annotated[tuple["Requirement", ...], Meta(min_length=1)] | UnsetType = UNSET
    any_of: Annotated[tuple["Requirement", ...], Meta(min_length=1)] | UnsetType = UNSET
    not_: "Requirement | UnsetType" = UNSET
    us_person: bool | UnsetType = UNSET
    nationality: Selection | UnsetType = UNSET
    residence: Selection | UnsetType = UNSET
    location: Selection | UnsetType = UNSET
    organisation_country: Selection | UnsetType = UNSET
    organisation: str | Names | UnsetType = UNSET  # any of these
    cohort: str | Names | UnsetType = UNSET  # any of these
    network: str | Names | UnsetType = UNSET  # any of these: see NETWORKS
    never: Literal[True] | UnsetType = UNSET
    assurance: Level | UnsetType = UNSET
    count: Count | UnsetType = UNSET


# What an anonymous-IP database can say of an address; `ordinary` where it has no flag for it.
NETWORKS = ("anonymous", "anonymous_vpn", "hosting", "public_proxy", "residential_proxy", "tor_exit", "ordinary")
