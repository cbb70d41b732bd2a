"""Counting in plain ints, written to prometheus_client in batches (why: see `metrics`). Not thread-safe: one loop's thread."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence, Set

import prometheus_client as prometheus

OTHER = "other"


class _Labelled:
    """Numbers by label values. A value that is not in its label's vocabulary counts as `other`, so that no caller can make
    series (BYPASSES 74)."""

    def __init__(self, vocabularies: Sequence[Set[str]]) -> None:
        self._vocabularies = vocabularies
        self._numbers: dict[tuple[str, ...], int] = {}

    def add(self, labels: tuple[str, ...], amount: int = 1) -> None:
        try:
            self._numbers[labels] += amount
        except KeyError:
            known = tuple(label if label in vocabulary else OTHER for label, vocabulary in zip(labels, self._vocabularies, strict=True))
            self._numbers[known] = self._numbers.get(known, 0) + amount


class Counts(_Labelled):
    """A counter."""

    def __init__(self, counter: prometheus.Counter, vocabularies: Sequence[Set[str]]) -> None:
        super().__init__(vocabularies)
        self._counter = counter

    def flush(self) -> None:
        for labels, number in self._numbers.items():
            if number:
                self._counter.labels(*labels).inc(number)
                self._numbers[labels] = 0


class Levels(_Labelled):
    """A gauge of how many there are now."""

    def __init__(self, gauge: prometheus.Gauge, vocabularies: Sequence[Set[str]]) -> None:
        super().__init__(vocabularies)
        self._gauge = gauge
        self._written: dict[tuple[str, ...], int] = {}

    def replace(self, numbers: Mapping[str, int]) -> None:
        """There are so many now, by the one label; those not named are gone."""
        self._numbers = dict.fromkeys(self._numbers, 0)
        for label, number in numbers.items():
            self.add((label,), number)

    def flush(self) -> None:
        if self._written != self._numbers:
            for labels, number in self._numbers.items():
                (self._gauge.labels(*labels) if labels else self._gauge).set(number)
            self._written = self._numbers.copy()


class BatchedHistogram(prometheus.Histogram):
    """A histogram that takes many observations at once, which prometheus_client has no public call for."""

    @property
    def bounds(self) -> list[float]:
        """The buckets' upper bounds; the last is infinite."""
        return self._upper_bounds

    def add(self, counts: Sequence[int], total: float) -> None:
        """`counts` observations in each bucket, `total` their sum: exactly what so many calls of `observe` do."""
        self._sum.inc(total)
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)


class Observations:
    """What one histogram, or one child of it, has observed since the last flush."""

    def __init__(self, histogram: BatchedHistogram) -> None:
        self._histogram = histogram
        self._bounds = histogram.bounds
        self._counts = [0] * len(self._bounds)
        self._total = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._total += seconds

    def flush(self) -> None:
        if any(self._counts):
            self._histogram.add(self._counts, self._total)
            self._counts = [0] * len(self._bounds)
            self._total = 0.0
