"""A rise within the first reports that stays: no baseline has formed yet, and the high level would become it. Pure.

Used by rule LossSpike. Judged is the loss of a run that is called so, alone: a critic's or an adversary's rises for
good reason. What falls again after the rise, however slowly, is a start that looks worse than it is.
"""

from __future__ import annotations

import re
from typing import Final

from speech_contract.losses import HEADLINES
from speech_health.median import median
from speech_health.samples import StepSample

FIRST: Final = 10  # reports before the rise, at most
LONG, AT_EXIT = 30, 6  # reports for which it must stay; when the run ends by then
LEAST: Final = 0.1  # of the first level: an objective that starts from next to nothing only rises
STAYS: Final = 0.8  # of the factor: still high
FALLS: Final = 0.8  # of its level just after the rise: what comes down to it is learning
_OTHERS: Final = re.compile(
    r"(^|[^a-z])(d|g|dis\w*|gen\w*|adv\w*|critic|actor|policy|value|vf|kl|vq|commit\w*|real|fake)([^a-z]|$)",
    re.IGNORECASE,
)


def alone(sample: StepSample) -> bool:
    """The headline is a whole loss without an adversary, a prior or a reward beside it."""
    if sample.stands or sample.reward is not None or sample.reward_spread is not None:
        return False
    names = sample.losses or {}
    return sample.headline_name in HEADLINES and not any(
        map(_OTHERS.search, names.keys() - HEADLINES)
    )


class EarlyRise:
    """The first reports of one rank."""

    def __init__(self) -> None:
        self.over = False  # nothing is left to be seen
        self.told = False
        self.since = 0  # step of the first high report
        self.before: list[float] = []
        self.high: list[float] = []

    def take(self, value: float, factor: float, step: int) -> None:
        """The next loss, finite and not repeated."""
        if self.high or self._rises(value, factor):
            if value < self.top * (1.0 + STAYS * (factor - 1.0)):
                self._comes_back(value)
                return
            self.since = self.since if self.high else step
            if len(self.high) < LONG:
                self.high.append(value)
            elif not self.told:
                self.over = True  # it was judged, and falls
            return
        self._keep(value)

    def _rises(self, value: float, factor: float) -> bool:
        return bool(self.before) and min(self.before) >= LEAST and value >= factor * self.top

    def _comes_back(self, value: float) -> None:
        for high in [*self.high, value]:
            self._keep(high)
        self.high.clear()

    def _keep(self, value: float) -> None:
        self.before.append(value)
        self.over = self.over or len(self.before) > FIRST

    @property
    def top(self) -> float:
        """The highest loss before the rise."""
        return max(self.before)

    def stays(self, reports: int) -> bool:
        """High for as many reports, and not on its way down."""
        third = len(self.high) // 3
        if len(self.high) < reports:
            return False
        early, late = median(self.high[:third]), median(self.high[-third:])
        return late >= FALLS * early
