"""The course of a loss over a whole run in at most 64 levels, however long it gets. Used by rule Plateau. Pure."""

from __future__ import annotations

import statistics
from typing import Final

BLOCK: Final = 8  # reports whose median is a level, at first
LEVELS: Final = 64  # from here on two levels become one


class Course:
    """Medians of blocks of reports; blocks grow with the run."""

    def __init__(self) -> None:
        self.levels: list[float] = []
        self.steps: list[int] = []  # first step of each block
        self.size = BLOCK
        self._block: list[float] = []
        self._step = 0

    def add(self, value: float, step: int) -> bool:
        """Take a finite value. True when a block is full."""
        block = self._block
        if not block:
            self._step = step
        block.append(value)
        if len(block) < self.size:
            return False
        self.levels.append(statistics.median(block))
        self.steps.append(self._step)
        self._block = []
        if len(self.levels) == LEVELS:
            pairs = zip(self.levels[::2], self.levels[1::2], strict=True)
            self.levels = [(one + other) / 2 for one, other in pairs]
            self.steps, self.size = self.steps[::2], 2 * self.size
        return True

    @property
    def reports(self) -> int:
        """In full blocks."""
        return self.size * len(self.levels)
