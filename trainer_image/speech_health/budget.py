"""How many non-finite steps a run may have: one count, for who acts on it and for who judges it. Pure.

`speech_trainer.engine.budget` feeds it the agreed flag of each step and rolls back; rule NonFinite feeds it what
reports say of steps, and ends a stranger's run.
"""

from __future__ import annotations

import collections
import dataclasses

from speech_contract.thresholds import NonFinite


@dataclasses.dataclass(eq=False, repr=False)
class Budget:
    """Spent by more than `skipBudget` bad steps in a row, or by more of them in the last `windowSteps` steps than
    `skipBudget` or one per cent of the window, whichever is more."""

    limits: NonFinite
    in_a_row: int = 0  # up to the newest step
    in_window: int = 0
    _steps: int = 0  # taken so far: they never go back
    # Steps taken then, bad ones among them.
    _recent: collections.deque[tuple[int, int]] = dataclasses.field(
        default_factory=collections.deque
    )

    @property
    def allowed_in_window(self) -> int:
        """Bad steps in the window that are forgiven."""
        return max(self.limits.skip_budget, self.limits.window_steps // 100)

    @property
    def exceeded(self) -> bool:
        """Either bound is passed."""
        return self.in_a_row > self.limits.skip_budget or self.in_window > self.allowed_in_window

    def step(self, bad: bool) -> None:
        """One more step."""
        self.skip(1)
        self.take(int(bad))

    def skip(self, steps: int) -> None:
        """`steps` more steps, of which nothing is known yet: the window moves on, the row stands."""
        self._steps += steps
        while self._recent and self._recent[0][0] <= self._steps - self.limits.window_steps:
            self.in_window -= self._recent.popleft()[1]

    def take(self, bad: int, of: int = 1) -> None:
        """Of the last `of` steps `bad` were not finite. Where one was finite, the row is over, for all we know."""
        self.in_a_row = self.in_a_row + bad if bad >= of else 0
        if bad:
            self.in_window += bad
            self._recent.append((self._steps, bad))

    def forgive(self) -> None:
        """After a roll-back the budget is whole again."""
        self._recent.clear()
        self.in_a_row = self.in_window = 0

    def __str__(self) -> str:
        """`4 non-finite step(s) in the last 200, budget 3`: the bound that is passed, or is nearer."""
        row, window = self.in_a_row, self.in_window
        row_alone = row > self.limits.skip_budget and window <= self.allowed_in_window
        if row > window or row_alone:
            return f"{row} non-finite step(s) in a row, budget {self.limits.skip_budget}"
        return (
            f"{window} non-finite step(s) in the last {self.limits.window_steps}, "
            f"budget {self.allowed_in_window}"
        )
