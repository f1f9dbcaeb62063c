"""The course of a loss over a whole run in at most 64 levels, however long it gets. Used by rule Plateau. Pure."""

from __future__ import annotations

import copy
from typing import Final

from speech_health.median import median

BLOCK, MOST = 8, 32  # values whose median is a level: at first, and later
LEVELS: Final = 64  # from here on two levels become one


class Course:
    """Medians of blocks. Blocks grow with the run, then values are taken at longer intervals."""

    def __init__(self) -> None:
        self.levels: list[float] = []
        self.steps: list[int] = []  # first step of each block
        self.reports = 0  # in full blocks
        self.interval = (
            1  # of the reports one in as many is taken; odd: no habit of every second one hides
        )
        self.size = BLOCK
        self._block: list[float] = []
        self._step = 0

    def add(self, value: float, step: int) -> bool:
        """Take a finite value, one in `interval`. True when a block is full."""
        block = self._block
        if not block:
            self._step = step
        block.append(value)
        if len(block) < self.size:
            return False
        self.levels.append(median(block))
        self.steps.append(self._step)
        self.reports += self.size * self.interval
        self._block = []
        if len(self.levels) == LEVELS:
            self._widen()
        return True

    def copy(self) -> Course:
        """One of its own."""
        other = copy.copy(self)
        other.levels, other.steps, other._block = [*self.levels], [*self.steps], [*self._block]
        return other

    def _widen(self) -> None:
        pairs = zip(self.levels[::2], self.levels[1::2], strict=True)
        self.levels = [(one + other) / 2 for one, other in pairs]
        self.steps = self.steps[::2]
        if self.size < MOST:
            self.size *= 2
        else:
            self.interval = 2 * self.interval + 1

    def of_last(self, levels: int) -> int:
        """Reports in the newest `levels`."""
        return round(self.reports * levels / len(self.levels))
