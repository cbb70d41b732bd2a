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


class Grant(msgspec.Struct, frozen=True, kw_only=True):
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
