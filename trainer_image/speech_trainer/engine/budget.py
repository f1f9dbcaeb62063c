"""What follows when a run has more non-finite steps than `speech_health.budget` allows: pure decisions, no torch.

Fed by `engine.loop` with the agreed flags of each step, in order. `feed` is the same on every rank.
"""

from __future__ import annotations

import dataclasses
import enum

from speech_contract.thresholds import HealthMode, NonFinite, OnExceeded
from speech_health.budget import Budget
from speech_trainer.engine.flags import StepFlags, Window


class Decision(enum.Enum):
    """What follows from a step's flags."""

    GO_ON = "GoOn"
    ROLL_BACK = "RollBack"
    STOP = "Stop"


@dataclasses.dataclass(frozen=True)
class Spent:
    """How the budget was exceeded. `first_step`: nothing that was saved from there on is to be trusted."""

    first_step: int
    in_a_row: int
    in_window: int


@dataclasses.dataclass
class NonFiniteBudget:
    """The budget, which steps spent it, and the roll-backs of this attempt."""

    limits: NonFinite
    mode: HealthMode = HealthMode.ENFORCE
    rollbacks: int = 0
    spent: Spent | None = None  # since the last roll-back
    _budget: Budget = dataclasses.field(init=False)
    _bad: list[StepFlags] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self._budget = Budget(self.limits)

    @property
    def in_a_row(self) -> int:
        """Bad steps up to the newest."""
        return self._budget.in_a_row

    @property
    def in_window(self) -> int:
        """Bad steps among the last `window_steps`."""
        return self._budget.in_window

    @property
    def first_in_window(self) -> int | None:
        """The oldest bad step that still counts: a roll-back may have to go back beyond it."""
        return self._bad[-self.in_window].step if self.in_window else None

    @property
    def first_bad(self) -> StepFlags | None:
        """The bad step that the budget was spent from on; before that the oldest that counts."""
        step = self.spent.first_step if self.spent else self.first_in_window
        return next((flags for flags in self._bad if flags.step == step), None)

    def feed(self, flags: StepFlags) -> Decision:
        """Count one step and decide."""
        self._budget.step(flags.bad)
        if flags.bad:
            self._bad.append(flags)
        if not (flags.bad and self._budget.exceeded and self.mode is HealthMode.ENFORCE):
            return Decision.GO_ON
        self.spent = self.spent or self._how_spent()
        return self._verdict()

    def _how_spent(self) -> Spent:
        """A row of bad steps began with its first; scattered ones with the oldest that counts."""
        in_row = self.in_a_row > self.limits.skip_budget
        counted = self.in_a_row if in_row else self.in_window
        return Spent(self._bad[-counted].step, self.in_a_row, self.in_window)

    def _verdict(self) -> Decision:
        action = self.limits.on_exceeded
        if action is OnExceeded.WARN:
            return Decision.GO_ON
        if action is OnExceeded.STOP or self.rollbacks >= self.limits.max_rollbacks:
            return Decision.STOP
        return Decision.ROLL_BACK

    def told(self, newest: StepFlags | None, why: str) -> str:
        """What a person reads when the budget is spent, and `why` it ends the attempt."""
        spent = self.spent
        assert spent is not None
        assert newest is not None  # a budget is spent by bad steps alone
        in_a_row = max(spent.in_a_row, self.in_a_row)  # one more may have been under way
        in_window = max(spent.in_window, self.in_window)
        return (
            f"non-finite for {in_a_row} steps in a row, {in_window} of the last "
            f"{self.limits.window_steps}, at step {newest.step} ({newest.where}); {why}; "
            "lower the learning rate or mend the data"
        )

    def windows_since(self, position: int) -> list[Window]:
        """Sampler positions of the bad steps from `position` on, neighbours joined: what a replay passes over."""
        windows = sorted(flags.window for flags in self._bad if flags.window[0] >= position)
        joined: list[Window] = []
        for first, last in windows:
            if joined and first <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
            else:
                joined.append((first, last))
        return joined

    def rolled_back(self) -> None:
        """Start counting afresh from the restored checkpoint."""
        self.rollbacks += 1
        self.spent = None
        self._budget.forgive()
        self._bad.clear()
