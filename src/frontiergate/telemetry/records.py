"""What the audit log says of one request: a record of the verdict, and one of the end. Pseudonymous (DESIGN 5; P6, P7)."""

import enum
import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal

import msgspec

from frontiergate.domain.evidence import Evidence


class End(enum.StrEnum):
    """How an exchange ended."""

    COMPLETE = "complete"
    REFUSED = "refused"
    SEVERED = "severed"
    CLIENT_GONE = "client_gone"
    UPSTREAM_BROKE = "upstream_broke"
    TIMED_OUT = "timed_out"
    FAULT = "fault"


class RecordedFact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One piece of evidence: its code, what it is worth, and what kind of source it came from; not which document or token."""

    kind: str
    value: str | None  # None where the source's text could not be read: that text may be anything
    assurance: str
    source: str
    former: bool = False


class DecisionRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="decision", gc=False):
    """One verdict, or the refusal that came before one. `id` is the request's."""

    at: float  # POSIX seconds
    id: str
    worker: str
    epoch: int
    verdict: str
    reason: str | None = None
    status: int | None = None  # None where the answer is the upstream's; the end says it
    principal: str | None = None  # pseudonym
    credential: Literal["token", "key"] | None = None
    dialect: str | None = None
    operation: str | None = None
    models: tuple[str, ...] = ()
    directives: tuple[str, ...] = ()  # ids of those violated
    observed: tuple[str, ...] = ()  # ids of those in mode observe that would have acted
    grants: tuple[str, ...] = ()
    facts: tuple[RecordedFact, ...] = ()
    location: str | None = None
    address: str | None = None  # as `recorded_address` has it


class EndRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="end", gc=False):
    """How the request of that `id` ended. A decision without one: the worker died, the end is unknown."""

    at: float
    id: str
    end: End
    status: int | None = None  # what the caller was sent; None where nothing was
    reason: str | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    duration_ms: float = 0.0


Record = DecisionRecord | EndRecord


def recorded_facts(evidence: Iterable[Evidence]) -> tuple[RecordedFact, ...]:
    """The same for the same facts: build it once for each, not for each request."""
    return tuple(
        RecordedFact(
            kind=piece.kind.value,
            value=piece.value if piece.readable else None,
            assurance=piece.assurance.name.lower(),
            source=piece.source.partition(" ")[0],
            former=piece.held == "former",
        )
        for piece in evidence
    )


@lru_cache(maxsize=4096)
def recorded_address(address: str, mode: Literal["truncated", "full", "none"]) -> str | None:
    """`truncated` keeps the network (/24, /48), which no longer says which household it was."""
    if mode == "full":
        return address
    if mode == "none":
        return None
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:  # a Unix socket's peer
        return None
    return str(ipaddress.ip_network((parsed, 24 if parsed.version == 4 else 48), strict=False))
