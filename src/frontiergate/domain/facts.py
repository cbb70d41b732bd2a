"""Facts: what the evidence adds up to for one request (DESIGN 4.1; NATIONALITY.md).

- Evidence is united, never overwritten; expired evidence does not exist; an unreadable piece makes its fact *incomplete*.
- An anonymised network makes the location unknown. A location gives a presumed nationality where no evidence of
  nationality exists at all, not even an unreadable one.
- `most_recent`: a nationality is displaced only by a later one of at least the demanded assurance, and only where all
  of those say since when they are held; so weak evidence cannot push an adverse nationality aside.
"""

import datetime
import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from frontiergate.domain.country import BIT
from frontiergate.domain.evidence import Assurance, Evidence, Kind
from frontiergate.domain.requirement import Count

YES, NO = 1, 2  # the two values of us_person, as bits
_TRUTHS = {"true": YES, "false": NO}
_NAME_KINDS = (Kind.ORGANISATION, Kind.NETWORK, Kind.COHORT)
_LEVELS = tuple(Assurance)
_PLACE: dict[tuple[Kind, Count], int] = {
    (Kind.NATIONALITY, "current"): 0,
    (Kind.NATIONALITY, "most_recent"): 1,
    (Kind.NATIONALITY, "ever"): 2,
    (Kind.RESIDENCE, "current"): 3,
    (Kind.LOCATION, "current"): 4,
    (Kind.ORGANISATION_COUNTRY, "current"): 5,
    (Kind.US_PERSON, "current"): 6,
}


class Reading(msgspec.Struct, frozen=True):
    """One fact's values as bit masks, ready to be judged. `strong` and `stated` are indexed by the demanded Assurance."""

    strong: tuple[int, ...]  # values on evidence of at least that assurance
    stated: tuple[int, ...]  # values on any evidence but a presumption
    presumed: int  # values that are presumed
    incomplete: bool  # an unreadable piece exists: there may be further values


class Names(msgspec.Struct, frozen=True):
    """A fact whose values are names; a policy gives its own names bits, so the reading is made there."""

    values: tuple[tuple[str, Assurance], ...]
    incomplete: bool


class Facts:
    """What holds of one caller's request in `[valid_from, valid_until)`; outside of it, `at` says what holds then.

    `memo` belongs to `policy.decide`: its last answer for each model. `recorded` belongs to the audit: how these facts are written down.
    """

    __slots__ = ("_given", "_names", "_readings", "evidence", "memo", "recorded", "valid_from", "valid_until")

    def __init__(
        self,
        given: tuple[Evidence, ...],
        evidence: tuple[Evidence, ...],
        span: tuple[float, float],
        readings: tuple[Reading, ...],
        names: tuple[Names, ...],
    ) -> None:
        self.evidence = evidence
        self.valid_from, self.valid_until = span
        self.memo: dict[str, Any] = {}
        self.recorded: Any = None
        self._given = given
        self._readings = readings
        self._names = names

    def reading(self, kind: Kind, count: Count) -> Reading:
        """The reading of a fact whose values are countries, or us_person."""
        return self._readings[_PLACE[kind, count]]

    def names(self, kind: Kind) -> Names:
        """The names stated for organisation, network or cohort."""
        return self._names[_NAME_KINDS.index(kind)]

    def about(self, kind: Kind) -> tuple[Evidence, ...]:
        """The evidence that a judgement of `kind` rests on; a location's includes what makes it unknown."""
        kinds = (Kind.LOCATION, Kind.NETWORK) if kind is Kind.LOCATION else (kind,)
        return tuple(piece for piece in self.evidence if piece.kind in kinds)

    def at(self, instant: float) -> "Facts":
        """The facts at `instant`, from the same evidence; a clock that steps back brings expired evidence to life again."""
        if self.valid_from <= instant < self.valid_until:
            return self
        return establish(self._given, instant)


def establish(evidence: Iterable[Evidence], at: float) -> Facts:
    """The facts that `evidence` gives at `at`; adds the presumed nationality itself."""
    given = tuple(evidence)
    live = tuple(piece for piece in given if piece.expires_at is None or at < piece.expires_at)
    expiries = [piece.expires_at for piece in given if piece.expires_at is not None]
    span = (
        max((expiry for expiry in expiries if expiry <= at), default=-math.inf),
        min((expiry for expiry in expiries if at < expiry), default=math.inf),
    )
    if len(live) == len(given):
        live = given  # the same tuple, not a copy: memory per caller
    by_kind: dict[Kind, list[Evidence]] = {}
    for piece in live:
        by_kind.setdefault(piece.kind, []).append(piece)

    anonymised = any(piece.readable and piece.value != "ordinary" for piece in by_kind.get(Kind.NETWORK, ()))
    if Kind.LOCATION in by_kind and Kind.NATIONALITY not in by_kind and not anonymised:
        presumptions = [_presume(piece) for piece in by_kind[Kind.LOCATION] if piece.readable and piece.held == "current"]
        by_kind[Kind.NATIONALITY] = presumptions
        live = (*live, *presumptions)

    nationalities = by_kind.get(Kind.NATIONALITY, ())
    current = _read(nationalities, BIT)
    locations = by_kind.get(Kind.LOCATION, ())
    readings = (
        current,
        _read_most_recent(nationalities, current),
        _read(nationalities, BIT, former=True),
        _read(by_kind.get(Kind.RESIDENCE, ()), BIT),
        _INCOMPLETE if anonymised and locations else _read(locations, BIT),
        _read(by_kind.get(Kind.ORGANISATION_COUNTRY, ()), BIT),
        _read(by_kind.get(Kind.US_PERSON, ()), _TRUTHS),
    )
    names = tuple(_read_names(by_kind.get(kind, ())) for kind in _NAME_KINDS)
    return Facts(given, live, span, readings, _NO_NAMES if names == _NO_NAMES else names)


def weigh(pieces: Iterable[tuple[int, Assurance]], *, incomplete: bool) -> Reading:
    """The reading of (value's bit, assurance) pairs."""
    masks = [0] * len(_LEVELS)
    for bit, assurance in pieces:
        masks[assurance] |= bit
    return _reading(*masks, incomplete)


@functools.lru_cache(maxsize=4096)  # most callers share a few readings: one object each instead of one a caller
def _reading(presumed: int, asserted: int, attested: int, verified: int, incomplete: bool) -> Reading:
    worth_attested = attested | verified
    stated = asserted | worth_attested
    return Reading((stated | presumed, stated, worth_attested, verified), (stated,) * 4, presumed, incomplete)


_INCOMPLETE = weigh((), incomplete=True)
_NO_NAMES = (Names((), incomplete=False),) * len(_NAME_KINDS)


def _presume(location: Evidence) -> Evidence:
    return Evidence(
        kind=Kind.NATIONALITY,
        value=location.value,
        source=f"presumed from location, {location.source}",
        assurance=Assurance.PRESUMED,
        observed_at=location.observed_at,
        expires_at=location.expires_at,
    )


def _read(pieces: Sequence[Evidence], bits: dict[str, int], *, former: bool = False) -> Reading:
    """A value without a bit counts as unreadable, whatever the evidence says of itself (P2)."""
    counted = [piece for piece in pieces if former or piece.held == "current"]
    readable = [piece for piece in counted if piece.readable and piece.value in bits]
    return weigh(((bits[p.value], p.assurance) for p in readable), incomplete=len(readable) < len(counted))


def _read_names(pieces: Sequence[Evidence]) -> Names:
    counted = [piece for piece in pieces if piece.held == "current"]
    values = tuple((piece.value, piece.assurance) for piece in counted if piece.readable)
    return Names(values, incomplete=len(values) < len(counted))


def _read_most_recent(pieces: Sequence[Evidence], whole: Reading) -> Reading:
    dated = [
        (BIT[piece.value], piece.assurance, _since(piece))
        for piece in pieces
        if piece.held == "current" and piece.readable and piece.value in BIT
    ]
    if all(since is None for _, _, since in dated):
        return whole
    strong: list[int] = []
    stated: list[int] = []
    newest = max((s for _, worth, s in dated if s is not None and worth > Assurance.PRESUMED), default=datetime.date.min)
    for level in _LEVELS:
        sinces = [since for _, worth, since in dated if worth >= level]
        known = [since for since in sinces if since is not None]
        # Nothing gives way unless all evidence of this worth is dated: `most_recent` is then judged on all of it.
        decided = len(known) == len(sinces) > 0
        bound = max(known) if decided else datetime.date.min
        # A later nationality on weak evidence hurts: one that may no longer be the most recent satisfies nothing.
        hurt = max(bound, newest) if decided else bound
        kept = [(bit, worth, since) for bit, worth, since in dated if since is None or since >= bound]
        stated.append(_union(bit for bit, worth, _ in kept if worth > Assurance.PRESUMED))
        strong.append(_union(bit for bit, worth, since in kept if worth >= level and (since is None or since >= hurt)))
    return Reading(tuple(strong), tuple(stated), whole.presumed, whole.incomplete)


def _since(piece: Evidence) -> datetime.date | None:
    """Since when the nationality is held; None where it is not said, or not as an ISO date."""
    try:
        return datetime.date.fromisoformat(piece.since or "")
    except ValueError:
        return None


def _union(bits: Iterable[int]) -> int:
    together = 0
    for bit in bits:
        together |= bit
    return together
