"""Rule ScheduleMismatch: the learning rate is not what the schedule planned.

The mark of a rate that somebody rewrote, of a schedule that is stepped too often or never, of a checkpoint that
brought its old rate along. A script that states no plan is not judged. A warm-up is part of the plan; a report that
is one update early or late beside its plan is none either.
"""

from __future__ import annotations

import dataclasses
import math

from speech_contract import thresholds
from speech_contract.rules import Rule
from speech_health.detector import Attempt, Detector
from speech_health.samples import StepSample

CALM = 2  # reports in a row as planned that heal
FLOOR = 1e-3  # of the highest planned rate: what a share is taken of near a planned 0


@dataclasses.dataclass(eq=False, repr=False)
class _Stream:
    """One rank as heard through one source."""

    before: tuple[float, float] | None = None  # rate and plan of the report before
    last_step: int | None = None
    peak: float = 0.0  # highest planned rate
    off: int = 0  # reports in a row
    since: int = 0  # step of the first of them
    calm: int = 0


class ScheduleMismatch(Detector[thresholds.ScheduleMismatch, _Stream]):
    """`forReports` reports in a row off by more than `tolerance`."""

    rule = Rule.SCHEDULE_MISMATCH
    feeds_on = ("planned_rate",)

    def __init__(self, limits: thresholds.ScheduleMismatch, attempt: Attempt) -> None:
        super().__init__(limits, attempt)
        self._tolerance = float(limits.tolerance)

    def feed(self, sample: StepSample) -> None:
        """Compare; a report without a rate or a plan says nothing."""
        rate, plan = sample.learning_rate, sample.planned_rate
        if rate is None or plan is None or not math.isfinite(plan):
            return
        stream = self._streams.setdefault((sample.source, sample.rank), _Stream())
        if sample.step == stream.last_step:
            return
        stream.last_step, stream.peak = sample.step, max(stream.peak, abs(plan))
        kept = self._as_planned(stream, rate, plan)
        stream.before = (rate, plan)
        if kept:
            self._calm(stream, rate, sample)
        else:
            self._off(stream, rate, plan, sample)

    def _as_planned(self, stream: _Stream, rate: float, plan: float) -> bool:
        """Now, or one report earlier or later: scripts differ in when they ask their schedule."""
        if self._near(stream, rate, plan):
            return True
        if stream.before is None:
            return False
        rate_before, plan_before = stream.before
        return self._near(stream, rate, plan_before) or self._near(stream, rate_before, plan)

    def _near(self, stream: _Stream, rate: float, plan: float) -> bool:
        return abs(rate - plan) <= self._tolerance * max(abs(plan), FLOOR * stream.peak)

    def _off(self, stream: _Stream, rate: float, plan: float, sample: StepSample) -> None:
        stream.since = stream.since if stream.off else sample.step
        stream.off, stream.calm = stream.off + 1, 0
        if stream.off < self._limits.for_reports:
            return
        self._exceed(
            f"learning rate {rate:.4g} at step {sample.step}, planned {plan:.4g}{_apart(rate, plan)}; "
            f"off by more than {self._limits.tolerance} in {stream.off} reports in a row since step "
            f"{stream.since}",
            self._limits.on_exceeded,
            step=stream.since,
            rank=sample.rank,
        )

    def _calm(self, stream: _Stream, rate: float, sample: StepSample) -> None:
        stream.calm += 1
        if stream.calm >= CALM or stream.off < self._limits.for_reports:
            stream.off = 0
        if not any(other.off for other in self._streams.values()):
            self._heal(f"learning rate {rate:.4g} as planned at step {sample.step}")


def _apart(rate: float, plan: float) -> str:
    if plan == 0.0 or not math.isfinite(rate):
        return ""
    return f" ({rate / plan:.3g} times)"
