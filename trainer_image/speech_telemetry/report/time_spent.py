"""What the time of a run went into, as its own rows tell it. Called by `folder`. Pure.

The parts are those of `status.goodput`, and mean the same. A run directory knows less than a controller: of a script
that saves by itself not how long it saved, and nothing of the time between attempts, in which a job may have waited,
been suspended, or been over for days. That time is left out, and a controller's account, where the page has one,
stands in the place of this one (`speechtrain report JOB`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Final

from speech_contract.exit_codes import EXIT_DONE, EXIT_INTERRUPTED, EXIT_NON_FINITE
from speech_contract.goodput import Goodput, held_seconds
from speech_telemetry.report.curves import Attempt, Curves

# What follows an attempt's last step, by its exit code; of any other it was lost.
_AFTER: Final[Mapping[int | None, str]] = {EXIT_DONE: "productive", EXIT_INTERRUPTED: "checkpoint"}


@dataclasses.dataclass
class _Account:
    """Seconds by part; of productive ones also which step they made, since a roll-back takes steps out again."""

    startup: float = 0.0
    stalled: float = 0.0
    recomputed: float = 0.0
    discarded: float = 0.0
    checkpoint: float = 0.0
    productive: float = 0.0
    made: list[tuple[int, float]] = dataclasses.field(default_factory=list)
    farthest: int = -1  # up to there training is recomputing

    def steps(self, step: int, seconds: float) -> None:
        """Time that led to a step."""
        if step <= self.farthest:
            self.recomputed += seconds
            return
        self.productive += seconds
        self.made.append((step, seconds))
        self.farthest = step

    def left(self, kept: int) -> None:
        """A roll-back to this step: what was made behind it was for nothing."""
        while self.made and self.made[-1][0] > kept:
            seconds = self.made.pop()[1]
            self.productive -= seconds
            self.discarded += seconds
        self.farthest = min(self.farthest, kept)

    def saved(self, seconds: float) -> None:
        """Of the time that seemed to go into steps, what saving took."""
        taken = min(seconds, self.productive)
        self.productive -= taken
        self.checkpoint += taken


def time_spent(curves: Curves) -> Goodput:
    """In whole seconds, with the ratio; nothing of attempts that do not say when they began."""
    account = _Account()
    rows: dict[int, list[tuple[int, float]]] = {}
    for step, time, number in zip(curves.steps, curves.times, curves.of_attempt, strict=True):
        rows.setdefault(number, []).append((step, time))
    for attempt in curves.attempts:
        if attempt.opened is not None:
            _attempt(account, attempt, rows.get(attempt.number, []), attempt.opened)
    return _told(account)


def _attempt(
    account: _Account, attempt: Attempt, rows: Sequence[tuple[int, float]], until: float
) -> None:
    """One attempt: `rows` are its steps and when they came, `until` is how far its time is counted."""
    last: int | None = None
    for step, time in rows:
        seconds, until = max(0.0, time - until), max(until, time)
        if last is None:
            account.startup += seconds
            account.farthest = max(account.farthest, step)  # need not be trained again
        else:
            if step < last:
                account.left(step - 1)
            account.steps(step, seconds)
        last = step
    if attempt.ended is not None:
        part = "startup" if last is None else _AFTER.get(attempt.exit_code, "stalled")
        setattr(account, part, getattr(account, part) + max(0.0, attempt.ended - until))
    account.saved(attempt.saving)
    confirmed = attempt.numbers.get("lastConfirmedStep")
    if attempt.exit_code == EXIT_NON_FINITE and isinstance(confirmed, int):
        account.left(confirmed)  # where the next attempt goes on


def _told(account: _Account) -> Goodput:
    told = Goodput(
        startup_seconds=int(account.startup),
        productive_seconds=int(account.productive),
        stalled_seconds=int(account.stalled),
        recomputed_seconds=int(account.recomputed),
        discarded_seconds=int(account.discarded),
        checkpoint_seconds=int(account.checkpoint),
    )
    held = held_seconds(told)
    known = held > 0 and account.farthest >= 0
    ratio = f"{told.productive_seconds / held:.3f}" if known else None
    return dataclasses.replace(told, ratio=ratio)
