"""Vetting: programmes, and the grants that approved cases give (DESIGN 3, 4.3)."""

import enum

import msgspec


class GrantState(enum.StrEnum):
    """`active ⇄ suspended`, `active | suspended → revoked | lapsed | superseded`."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"
    LAPSED = "lapsed"
    SUPERSEDED = "superseded"


class Grant(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Principal x models x expiry under a programme. Models are ids fixed at approval, never a glob that grows."""

    id: str
    principal: str
    programme: str
    models: tuple[str, ...]
    issued_at: float
    expires_at: float
    state: GrantState = GrantState.ACTIVE
    case: str | None = None
    reason: str | None = None


TRANSITIONS: dict[GrantState, frozenset[GrantState]] = {
    GrantState.ACTIVE: frozenset({GrantState.SUSPENDED, GrantState.REVOKED, GrantState.LAPSED, GrantState.SUPERSEDED}),
    GrantState.SUSPENDED: frozenset({GrantState.ACTIVE, GrantState.REVOKED, GrantState.LAPSED, GrantState.SUPERSEDED}),
    GrantState.REVOKED: frozenset(),
    GrantState.LAPSED: frozenset(),
    GrantState.SUPERSEDED: frozenset(),
}


def move(grant: Grant, to: GrantState) -> Grant:
    """`grant` in state `to`. Raises ValueError where the table does not allow it."""
    if to not in TRANSITIONS[grant.state]:
        raise ValueError(f"grant {grant.id!r} is {grant.state} and cannot become {to}")
    return msgspec.structs.replace(grant, state=to)


def active(grant: Grant, at: float) -> bool:
    """Whether `grant` counts at `at`; at its expiry it does not any more."""
    return grant.state is GrantState.ACTIVE and at < grant.expires_at
