"""A running baseline of one series, and how far a value stands above it. Used by the spike rules.

Median and median absolute deviation (MAD) over the newest accepted values: one outlier moves neither. On
logarithms while every value is positive; as they are once the series touches zero or goes below.
"""

from __future__ import annotations

import bisect
import collections
import math
from collections.abc import Callable, Sequence
from typing import Final

from speech_contract.values import Value, frozen
from speech_health.median import median

SIZE: Final = 100  # accepted reports that make the baseline
ENOUGH: Final = 20  # below this the spread is not trusted: the fallback factor stands alone
FEWEST: Final = 5  # below this nothing is judged
FALLBACK: Final = 5.0  # factor over the median without a trustworthy spread
OVER_THE_HIGHEST: Final = 2.0  # and over the highest: a few may lie near zero by chance
LAG: Final = 10  # reports apart: near enough for a straight trend, far enough for slow beats
SIGMA: Final = 1.4826  # MAD → standard deviation of a normal distribution
OF_THE_START: Final = (
    0.05  # a rise that stays below this share of the first level lost nothing learned
)


@frozen
class Height(Value):
    """How far a value stands above the baseline. `z` is None without a spread to measure it by."""

    median: float
    z: float | None


class Baseline:
    """Holds values that were judged normal."""

    def __init__(self) -> None:
        self._values: collections.deque[float] = collections.deque()
        self._sorted: list[float] = []
        self._start = math.nan  # median of the first few, once they are there
        self._known_spread: float | None = None  # of the values as they are

    def add(self, value: float) -> None:
        """Accept a finite value; the oldest beyond SIZE leaves."""
        self._known_spread = None
        values, ordered = self._values, self._sorted
        values.append(value)
        bisect.insort(ordered, value)
        if len(values) > SIZE:
            del ordered[bisect.bisect_left(ordered, values.popleft())]
        elif len(values) == FEWEST:
            self._start = self._median()

    def lies_low(self, values: Sequence[float], factor: float) -> bool:
        """Whether `above` would be None for each of these positive values, one added after the other.

        No window on the way holds more low values than all together, so the median never sinks below `lowest`.
        """
        if len(self._sorted) < FEWEST or self._sorted[0] <= 0.0 or min(values) <= 0.0:
            return False
        lowest = sorted([*self._sorted, *values])[(len(self._sorted) - 1) // 2]
        return max(values) < lowest * factor

    def extend(self, values: Sequence[float]) -> None:
        """`add` for each."""
        assert len(self._sorted) >= FEWEST or not values
        if values:
            self._known_spread = None
            self._values.extend(values)
            while len(self._values) > SIZE:
                self._values.popleft()
            self._sorted = sorted(self._values)

    def clear(self) -> None:
        """Forget everything: what follows is another series."""
        self._values.clear()
        self._sorted.clear()
        self._known_spread = None

    def above(self, value: float, z_score: float, factor: float) -> Height | None:
        """The height of a value that is a spike; None when it is not, or can't be told."""
        ordered = self._sorted
        if len(ordered) < FEWEST:
            return None
        if ordered[0] > 0.0:
            if value < self._median() * factor:
                return None  # nearly every value
            return self._above_on_logs(value, z_score, factor)
        return self._above(value, z_score, factor)

    def _above_on_logs(self, value: float, z_score: float, factor: float) -> Height | None:
        median = self._median()
        if value < OF_THE_START * self._start:
            return None
        height, spread = math.log(value) - math.log(median), self._spread(math.log)
        if len(self._values) < ENOUGH or spread == 0.0:
            bound = max(median * max(FALLBACK, factor), self._sorted[-1] * OVER_THE_HIGHEST)
            return Height(median, None) if value >= bound else None
        return Height(median, height / spread) if height >= z_score * spread else None

    def _above(self, value: float, z_score: float, factor: float) -> Height | None:
        """A series round zero has no ratio: the spread alone, and a rise by (factor - 1) medians."""
        if len(self._values) < ENOUGH:
            return None
        median = self._median()
        height = value - median
        if height <= 0.0 or height < (factor - 1.0) * abs(median):
            return None  # first of all a series that stays 0: no spread is worked out for it
        spread = self._spread(float)
        if spread == 0.0:
            return None
        return Height(median, height / spread) if height >= z_score * spread else None

    def _spread(self, scale: Callable[[float], float]) -> float:
        """Standard deviation by MAD: plain, or without the trend (differences over LAG) if that is less."""
        if self._known_spread is None:
            values = [scale(value) for value in self._values]
            spread = _deviation(values)
            apart = [late - early for early, late in zip(values, values[LAG:], strict=False)]
            if len(apart) >= LAG:
                spread = min(spread, _deviation(apart) / math.sqrt(2.0))
            self._known_spread = SIGMA * spread
        return self._known_spread

    def _median(self) -> float:
        """The lower one of two in the middle: a value that was seen, so that no tiny one becomes 0."""
        return self._sorted[(len(self._sorted) - 1) // 2]


def _deviation(values: list[float]) -> float:
    middle = median(values)
    return median([abs(value - middle) for value in values])
