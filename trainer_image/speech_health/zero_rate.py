"""A learning rate of exactly 0 while steps go on, as one rank reports it. Used by rule NotUpdating. Pure.

A schedule that is over, or one that was never stepped. Its last report and a warm-up from 0 are healthy. A rate that
a printer rounded to 0 is none: something must show that nothing is rounded here, and the loss must not fall.
"""

from __future__ import annotations

import collections
from typing import Final

from speech_health.digits import decimals, exact
from speech_health.median import median
from speech_health.samples import Source, StepSample

FROZEN: Final = 3  # times as many reports while the rate was never above 0: a long frozen start
FINEST: Final = 10  # decimals of a rate: where they are printed, what shows as 0 is next to nothing
KEPT: Final = 8  # rates above 0 whose decimals are looked at
# It prints a dict: no number in it is rounded apart from the others.
ONE_FORMAT: Final = "Hugging Face Trainer"
EDGE: Final = 10  # reports whose median is the loss at either end
FELL: Final = 0.05  # of the loss: what falls further is trained, whatever the rate says


class ZeroRate:
    """Counts reports in a row."""

    def __init__(self) -> None:
        self.zeros = 0
        self.since = 0
        self._exact = False
        self.rates: collections.deque[float] = collections.deque(maxlen=KEPT)  # newest above 0
        self._turn: int | None = None
        self._first: list[float] = []
        self._last: collections.deque[float] = collections.deque(maxlen=EDGE)

    def take(self, sample: StepSample, rate: float) -> None:
        """The next report."""
        if rate != 0.0:
            if self.zeros:
                self.zeros = 0
                self._first.clear()
                self._last.clear()
            self.rates.append(rate)
        elif sample.turn != self._turn:
            self._turn = sample.turn
            self._count(sample)

    def _count(self, sample: StepSample) -> None:
        self.since = self.since if self.zeros else sample.step
        self.zeros += 1
        loss = sample.headline
        if loss is not None:
            if len(self._first) < EDGE:
                self._first.append(loss)
            self._last.append(loss)
        self._exact = self._exact or self._shown_exactly(sample)

    def _shown_exactly(self, sample: StepSample) -> bool:
        if any(decimals(rate) >= FINEST for rate in self.rates):
            return True
        if sample.source is Source.STDOUT:
            return sample.unrated or _in_one_format(sample)
        values = (sample.gradient_norm, sample.headline)
        return sample.updates is not None or any(v is not None and exact(v) for v in values)

    def ended(self, reports: int) -> bool:
        """The rate is 0 for as many reports, for sure, and nothing is learned."""
        needed = reports if self.rates else FROZEN * reports
        if self.zeros < needed or not self._exact:
            return False
        return not self._fell(FELL)

    @property
    def refuted(self) -> bool:
        """Something is learned all the same."""
        return self._fell(2.0 * FELL)

    def _fell(self, share: float) -> bool:
        if not self._first:
            return False
        first, last = median(self._first), median(self._last)
        return last < first - share * abs(first)

    @property
    def began(self) -> bool:
        """It was above 0 before."""
        return bool(self.rates)


def _in_one_format(sample: StepSample) -> bool:
    """Printed beside a norm with all its digits; elsewhere each number has a format of its own."""
    norm = sample.gradient_norm
    return sample.form == ONE_FORMAT and norm is not None and exact(norm)
