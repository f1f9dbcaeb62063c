"""Rule SkippedSamples: the loader had to replace too many samples.

Judged over the last `windowSamples` samples asked for (trained on + skipped). Until that many were asked
for, skips are set against the whole window: an alarm then stands whatever follows, and one bad file in the
first batch is none. Without `samples_total` there is no ratio, and none is made up.
"""

from __future__ import annotations

import collections
import math

from speech_contract import thresholds
from speech_contract.rules import Rule
from speech_health.detector import Attempt, Detector
from speech_health.samples import StepSample

HEAL_AT = 0.5  # of warnRatio: hysteresis, so that a ratio on the edge does not flap
FEWEST_AT_EXIT = 20  # samples that a run must have asked for to be warned of at its end
BY_CHANCE = 0.05  # at most, that a share of exactly warnRatio shows so many in so short a run


class SkippedSamples(Detector[thresholds.SkippedSamples, None]):
    """Sums the ranks' cumulative counters."""

    rule = Rule.SKIPPED_SAMPLES
    feeds_on = ("skipped",)

    def __init__(self, limits: thresholds.SkippedSamples, attempt: Attempt) -> None:
        super().__init__(limits, attempt)
        self._warn_ratio = float(limits.warn_ratio)
        self._max_ratio = float(limits.max_ratio)
        self._newest: dict[int, tuple[int, dict[str, int]]] = {}  # rank → trained on, skipped
        self._history: collections.deque[tuple[int, int]] = collections.deque([(0, 0)])

    def feed(self, sample: StepSample) -> None:
        """Take the rank's counters; only a report that has both says anything."""
        if sample.skipped is None or sample.samples_total is None:
            return
        if self._newest.get(sample.rank) == (sample.samples_total, sample.skipped):
            return
        self._newest[sample.rank] = (sample.samples_total, sample.skipped)
        trained, skipped = self._totals()
        if skipped == 0 and not self.active:
            self._remember(trained, 0)
            return
        if trained == 0 and skipped >= self._limits.in_a_row_at_start:
            evidence = f"the first {skipped} samples were all skipped{self._reasons()}"
            self._stop(evidence, sample)
            return
        self._remember(trained + skipped, skipped)
        self._judge(sample)

    def finish(self, now: float, exit_code: int) -> None:
        """A run shorter than the window gets its real ratio, as a warning: it has completed.

        One bad file of 97 is above one in a hundred and says nothing: the count must be beyond chance.
        """
        trained, skipped = self._totals()
        asked = trained + skipped
        if (
            exit_code != 0
            or self.active
            or not FEWEST_AT_EXIT <= asked < self._limits.window_samples
        ):
            return
        if by_chance(skipped, asked, self._warn_ratio) < BY_CHANCE:
            self._warn(self._sentence(skipped, asked, skipped / asked))

    def _totals(self) -> tuple[int, int]:
        trained = sum(number for number, _ in self._newest.values())
        return trained, sum(sum(reasons.values()) for _, reasons in self._newest.values())

    def _remember(self, asked: int, skipped: int) -> None:
        """Keep one point before the window, to subtract from."""
        if asked < self._history[-1][0]:  # a counter went back: another process behind the rank
            self._history.clear()
            self._history.append((0, 0))
        self._history.append((asked, skipped))
        edge = asked - self._limits.window_samples
        while self._history[1][0] <= edge:  # the newest is above it
            self._history.popleft()

    def _judge(self, sample: StepSample) -> None:
        first, newest = self._history[0], self._history[-1]
        skipped = newest[1] - first[1]
        asked = max(newest[0] - first[0], self._limits.window_samples)
        ratio = skipped / asked
        sentence = self._sentence(skipped, asked, ratio)
        if ratio > self._max_ratio:
            self._stop(sentence, sample)
        elif ratio > self._warn_ratio:
            self._warn(sentence, step=sample.step, rank=sample.rank)
        elif self.active and ratio <= self._warn_ratio * HEAL_AT:
            self._heal(f"{skipped} of {asked} samples at step {sample.step}")

    def _sentence(self, skipped: int, asked: int, ratio: float) -> str:
        limits = f"warnRatio {self._limits.warn_ratio}, maxRatio {self._limits.max_ratio}"
        return f"{skipped} of {asked} samples skipped ({ratio:.1%}; {limits}){self._reasons()}"

    def _reasons(self) -> str:
        total: collections.Counter[str] = collections.Counter()
        for _, reasons in self._newest.values():
            total.update(reasons)
        named = [f"{reason} {number}" for reason, number in total.most_common(4) if number]
        return f"; since the start: {', '.join(named)}" if named else ""

    def _stop(self, evidence: str, sample: StepSample) -> None:
        self._exceed(
            evidence,
            self._limits.on_exceeded,
            step=sample.step,
            rank=sample.rank,
        )


def by_chance(skipped: int, asked: int, ratio: float) -> float:
    """P(X ≥ skipped) of a binomial: how often `asked` samples at `ratio` would show so many."""
    fewer = (math.comb(asked, k) * ratio**k * (1.0 - ratio) ** (asked - k) for k in range(skipped))
    return 1.0 - sum(fewer)
