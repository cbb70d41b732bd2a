"""Directives: one restriction in force between two instants, made under an order (DESIGN 3, 4.2)."""

import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from frontiergate.domain.requirement import Names, Requirement

DirectiveId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The legal instrument that a directive is made under."""

    authority: Annotated[str, Meta(min_length=1, max_length=200)]
    reference: Annotated[str, Meta(min_length=1, max_length=200)]
    received: datetime.date | None = None
    criteria: str | None = None
    url: str | None = None


class Tag(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Selects every model that carries the tag."""

    tag: str


class Vet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The answer `queue`: a grant of this programme satisfies the directive."""

    vet: str


class Stage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Shorthand: only these cohorts, until the directive's end; others may be vetted where a programme is named."""

    cohorts: Names
    vet: str | None = None


Answer = Literal["withdraw", "refuse"] | Vet


class Directive(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}, omit_defaults=True
):
    """For these models, callers must satisfy `require`; who does not gets `otherwise`; of whom it cannot be told gets `unknown`.

    Exactly one of `require`, `withdraw: true` and `stage`; `normal_form` expands the last two. Written the same in the
    config file, the admin API and the store.
    """

    id: DirectiveId
    order: Order
    models: Annotated[tuple[str | Tag, ...], Meta(min_length=1)]  # globs over ids, or tags
    require: Requirement | UnsetType = UNSET
    withdraw: Literal[True] | UnsetType = UNSET
    stage: Stage | UnsetType = UNSET
    otherwise: Answer | UnsetType = UNSET
    unknown: Answer | UnsetType = UNSET  # by default the same as otherwise
    from_: datetime.datetime | None = None  # aware; in force from this instant on
    until: datetime.datetime | None = None  # aware; not in force at this instant any more
    mode: Literal["enforce", "observe"] = "enforce"
    allow_presumed: bool = False  # lets GeoIP stand in for a nationality where nothing better is known
