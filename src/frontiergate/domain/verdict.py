"""Verdicts: forward < paused < queue < refuse < withdrawn, with reasons (DESIGN 3, 4.2; P3, P7)."""

import enum

import msgspec

from frontiergate.domain.directive import Directive
from frontiergate.domain.evidence import Evidence
from frontiergate.domain.reason import Reason


class Outcome(enum.IntEnum):
    """What becomes of a request; the join of two is the larger."""

    FORWARD = 0
    PAUSED = 1  # an operational stop: no legal claim, never mixed with withdrawn
    QUEUE = 2
    REFUSE = 3
    WITHDRAWN = 4


class Truth(enum.Enum):
    """Kleene's three values."""

    TRUE = "true"
    FALSE = "false"
    UNKNOWN = "unknown"


class Finding(msgspec.Struct, frozen=True, gc=False):
    """One literal that did not hold: what was demanded, as a plain phrase, how it was judged, and on which evidence."""

    demand: str
    truth: Truth
    reason: Reason
    evidence: tuple[Evidence, ...]


class Violation(msgspec.Struct, frozen=True, gc=False):
    """One directive that `model` does not satisfy."""

    directive: Directive
    model: str
    truth: Truth  # FALSE or UNKNOWN
    outcome: Outcome
    programme: str | None  # set where outcome is QUEUE
    reason: Reason
    findings: tuple[Finding, ...]


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What is decided of one request, and until when it stands if no epoch comes first.

    `violations` holds every violated directive, most restrictive first, then by id; `observed` those in mode observe, which do
    not act; what a grant satisfies is in neither. `reason` is None exactly where `outcome` is FORWARD.
    """

    outcome: Outcome
    reason: Reason | None
    models: tuple[str, ...]
    violations: tuple[Violation, ...]
    observed: tuple[Violation, ...]
    grants: tuple[str, ...]  # ids of the grants that it rests on
    epoch: int
    valid_until: float  # POSIX seconds; math.inf where nothing is due
