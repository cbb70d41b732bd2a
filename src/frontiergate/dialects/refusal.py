"""Refusals: what the gate says no with, before a dialect gives it its shape (DESIGN 5, outcomes; P7)."""

import msgspec

from frontiergate.domain.directive import Order
from frontiergate.domain.reason import Reason


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A refusal. `message` is for people: it says why, under which order, and the next step. No personal data."""

    status: int
    reason: Reason
    message: str
    request_id: str
    directive: str | None = None  # the directive that decided
    directives: tuple[str, ...] = ()  # all that are violated
    order: Order | None = None
    programme: str | None = None
    case: str | None = None
    next_step: str = ""
    docs_url: str = ""
    retry_after: int | None = None  # seconds
    model: str | None = None  # as the caller named it, where it is a model of the catalogue
