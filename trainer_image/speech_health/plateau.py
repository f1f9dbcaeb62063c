"""Rule Plateau: the loss no longer falls, or never did. Information; at the level of a blind guess a warning.

A curve that is flat is no fault: runs end on plateaus, fine-tunes start on one, adversaries and policies never leave
theirs. What nobody wants is a cross entropy that stays at ln V from the start, with hardly any noise: the answer does
not depend on the input.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Final

from speech_contract.course import Plateau as Limits
from speech_contract.findings import Action
from speech_contract.rules import Rule, Severity
from speech_health.baseline import SIGMA
from speech_health.course import Course
from speech_health.detector import Attempt, Detector
from speech_health.early_rise import alone
from speech_health.guess import nearest
from speech_health.median import median
from speech_health.samples import StepSample
from speech_health.stretch import Stretch

FEWEST: Final = 12  # levels from which a trend is told
FLAT: Final = 0.01  # of the level, that it may move from the first third of a stretch to the last
SURE: Final = 0.005  # of the level, that the median of a third may be off by chance
LEFT: Final = 0.03  # of the level told: by as much it has left it
NEWEST: Final = 4  # levels that tell so, at least
AT_EXIT: Final = 48  # reports that convict a run that ended at a guess
NEAR, ROUND = 0.005, 0.015  # of ln V: the median of all levels, and each of them


@dataclasses.dataclass(eq=False, repr=False)
class _Stream:
    """One rank as heard through one source."""

    left_out: bool  # an adversary, a policy: flat for good reason
    course: Course = dataclasses.field(default_factory=Course)
    turn: int | None = None
    wait: int = 0  # reports until the next one that is taken
    rate: float | None = None


class Plateau(Detector[Limits, _Stream]):
    """Flat over half of the run and `forReports` reports at least."""

    rule = Rule.PLATEAU
    feeds_on = ("losses",)

    def __init__(self, limits: Limits, attempt: Attempt) -> None:
        super().__init__(limits, attempt)
        self._told = 0.0  # the level that the finding speaks of

    def feed(self, sample: StepSample) -> None:
        """Judge when a block of reports is full."""
        key = (sample.source, sample.rank)
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = _Stream(left_out=not alone(sample))
        stream.wait -= 1
        if stream.wait > 0 or stream.left_out:
            return
        loss, turn = sample.headline, sample.turn
        if loss is None or turn == stream.turn or not math.isfinite(loss):
            return
        stream.turn, stream.wait = turn, stream.course.interval
        rate, before = sample.learning_rate, stream.rate
        if rate is not None:
            stream.rate = rate
            if rate == 0.0 or (before is not None and rate > before):
                return  # nothing is learned, or not yet
        if stream.course.add(loss, sample.step):
            stream.left_out = not alone(sample)
            self._judge(stream.course, self._limits.for_reports, sample)

    def pass_over(self, stretch: Stretch) -> bool:
        """Tried on a copy of the course: back to it where a finding would change."""
        stream = self._streams.get(stretch.stream)
        if stream is None:
            return False
        before, told, finding = (
            dataclasses.replace(stream, course=stream.course.copy()),
            self._told,
            self.finding,
        )
        at, end = 0, len(stretch.reports)
        while at < end:
            idle = min(end - at, end if stream.left_out else stream.wait - 1)
            if idle > 0:
                stream.wait, at = stream.wait - idle, at + idle
            else:
                self.feed(stretch.reports[at])
                at += 1
        if self.finding is finding:
            return True
        self._streams[stretch.stream], self._told, self.finding = before, told, finding
        return False

    def finish(self, now: float, exit_code: int) -> None:
        """A short run that ended where a guess begins."""
        for (_, rank), stream in self._streams.items():
            course = stream.course
            fit = exit_code == 0 and not stream.left_out and course.reports >= AT_EXIT
            if fit and not self._warned:
                self._guess(course, rank)

    @property
    def _warned(self) -> bool:
        """A guess is told of."""
        finding = self.finding
        return self.active and finding is not None and finding.severity is not Severity.INFO

    def _judge(self, course: Course, reports: int, sample: StepSample) -> None:
        levels = course.levels
        newest = median(levels[-max(NEWEST, len(levels) // 8) :])
        if self.active:
            if _left(newest, self._told):
                self._heal(f"loss {newest:.4g} at step {sample.step}")
            return
        if course.reports < reports:
            return
        if self._guess(course, sample.rank) or len(levels) < FEWEST:
            return
        whole = _flat(levels)
        late = levels if whole else levels[len(levels) // 2 :]
        level = median(late)
        if _left(newest, level):
            return  # it has begun to move
        if course.of_last(len(late)) >= reports and (whole or _flat(late)):
            first = course.steps[-len(late)]
            how = "has not fallen since the start" if whole else "no longer falls"
            self._told = level
            self._warn(
                f"loss {how}: {late[-1]:.4g}, median {self._told:.4g} over steps {first} to {sample.step} "
                f"({course.of_last(len(late))} reports, threshold {reports})",
                severity=Severity.INFO,
                action=Action.NONE,
                step=first,
                rank=sample.rank,
            )

    def _guess(self, course: Course, rank: int) -> bool:
        """The level of a guess among V since the start."""
        levels, level = course.levels, median(course.levels)
        classes, guess = nearest(level)
        near = abs(level - guess) <= NEAR * guess
        if not near or any(abs(other - guess) > ROUND * guess for other in levels):
            return False
        self._told = level
        self._warn(
            f"loss {level:.4g} is that of a guess among {classes} (ln {classes} = {guess:.4g}) in all of the "
            f"{course.reports} reports since step {course.steps[0]}: nothing was learned",
            step=course.steps[0],
            rank=rank,
        )
        return True


def _left(newest: float, told: float) -> bool:
    """The newest levels are off the one that is told."""
    return abs(newest - told) > LEFT * abs(told)


def _flat(levels: list[float]) -> bool:
    """From the first third to the last the level neither fell nor rose, as far as its noise lets that be told."""
    third = len(levels) // 3
    early, late = median(levels[:third]), median(levels[-third:])
    middle = median(levels[third:-third])
    off = [abs(level - middle) for level in levels]
    if SIGMA * median(off) / math.sqrt(third) > SURE * abs(middle):
        return False
    return early != 0.0 and all(abs(part - early) <= FLAT * abs(early) for part in (middle, late))
