"""What several runs say together: their median and how far they lie apart; and percentiles."""

import math
import statistics
from collections.abc import Iterable, Sequence

from msgspec import Struct


class Spread(Struct, frozen=True):
    """The median of some runs, the lowest and the highest of them, and how many they were.

    >>> Spread.of([30.0, 10.0, 11.0])
    Spread(median=11.0, low=10.0, high=30.0, runs=3)
    """

    median: float
    low: float
    high: float
    runs: int

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Return the spread of at least one value."""
        known = list(values)
        return cls(statistics.median(known), min(known), max(known), len(known))

    def __str__(self) -> str:
        """Return the median, and behind it in brackets from where to where the runs lie."""
        if self.runs == 1:
            return number(self.median)
        return f"{number(self.median)} ({number(self.low)} to {number(self.high)})"


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that `percent` of all values do not exceed (nearest rank).

    >>> latencies = [5.0, 1.0, 4.0, 2.0, 3.0]
    >>> percentile(latencies, 50), percentile(latencies, 99), percentile(latencies, 0)
    (3.0, 5.0, 1.0)
    """
    if not values:
        raise ValueError("there are no values, so there is no percentile of them")
    rank = math.ceil(len(values) * percent / 100)
    return sorted(values)[max(rank - 1, 0)]


def number(value: float) -> str:
    """Return a figure with as many digits as anybody reads.

    >>> [number(value) for value in (43210.7, 87.66, 2.345, 0.0123, 0)]
    ['43,211', '87.7', '2.35', '0.012', '0']
    """
    size = abs(value)
    for least, digits in ((100, 0), (10, 1), (1, 2)):
        if size >= least:
            return f"{value:,.{digits}f}"
    return f"{value:.3f}" if value else "0"
