"""Rule Slowdown: a step takes several times as long as it used to, and goes on like that. A warning.

Judged is what ranks report as the time of their steps, per second of audio or token where they count them: long
utterances take long. A part that starts, as a discriminator that comes late, starts the measure anew.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from typing import Final

from speech_contract.course import Slowdown as Limits
from speech_contract.rules import Rule
from speech_health.detector import Attempt, Detector
from speech_health.median import median
from speech_health.samples import StepSample

WARM: Final = 10  # first reports: compilers and caches
ENOUGH: Final = 50  # reports that make the usual time
KEPT: Final = 200  # of them the newest
SLOW: Final = 0.9  # of the newest reports
CALM: Final = 0.5  # of them, below which it is over


@dataclasses.dataclass(eq=False, repr=False)
class _Stream:
    """One rank."""

    last_step: int | None = None
    counted: tuple[int, float] | None = None  # the newest count of audio or tokens, and its step
    parts: int = 0  # that run
    seen: int = 0
    since: int = 0  # step of the first slow report in a row
    usual: float | None = None
    times: collections.deque[float] = dataclasses.field(
        default_factory=lambda: collections.deque(maxlen=KEPT)
    )
    slow: collections.deque[bool] = dataclasses.field(default_factory=collections.deque)

    def anew(self) -> None:
        """What comes is another kind of step."""
        self.seen, self.usual = 0, None
        self.times.clear()
        self.slow.clear()

    def load(self, sample: StepSample) -> float | None:
        """What a step holds, of audio or tokens; 1 without a count, None while it can't be told."""
        self.last_step = sample.step
        counted = sample.audio_seconds_total
        counted = sample.tokens_total if counted is None else counted
        if counted is None:
            return 1.0 if self.counted is None else None
        before, self.counted = self.counted, (sample.step, counted)
        if before is None:
            self.anew()  # from here on a step is measured by what it holds
            return None
        steps, more = sample.step - before[0], counted - before[1]
        return more / steps if steps > 0 and more > 0.0 else None


class Slowdown(Detector[Limits, _Stream]):
    """Nine in ten of the newest `forReports` reports slower than `factor` times the median before."""

    rule = Rule.SLOWDOWN
    feeds_on = ("step_seconds",)

    def __init__(self, limits: Limits, attempt: Attempt) -> None:
        super().__init__(limits, attempt)
        self._factor = float(limits.factor)

    def feed(self, sample: StepSample) -> None:
        """Set the time of a step against the usual one."""
        took = sample.step_seconds
        if took is None:
            return
        stream = self._streams.setdefault((sample.source, sample.rank), _Stream())
        if sample.step == stream.last_step:
            return
        load = stream.load(sample)
        if load is None or not 0.0 < took < math.inf:
            return
        parts = _parts(sample)
        if parts > stream.parts and stream.seen:
            stream.anew()
        stream.parts, stream.seen = max(parts, stream.parts), stream.seen + 1
        if stream.seen > WARM:
            self._judge(stream, took / load, sample)

    def _judge(self, stream: _Stream, cost: float, sample: StepSample) -> None:
        usual, reports = stream.usual, self._limits.for_reports
        slow = usual is not None and cost >= self._factor * usual
        if slow and not any(stream.slow):
            stream.since = sample.step
        stream.slow.append(slow)
        if len(stream.slow) > reports:
            stream.slow.popleft()
        if not slow:
            self._learn(stream, cost)
        share = sum(stream.slow) / reports
        if share >= SLOW and usual is not None and not self.active:
            self._warn(
                f"a step takes {cost / usual:.1f} times as long as it used to (threshold {self._factor:g}) in "
                f"{sum(stream.slow)} of the last {len(stream.slow)} reports, since step {stream.since}: "
                f"{sample.step_seconds:.3g} s at step {sample.step}",
                step=stream.since,
                rank=sample.rank,
            )
        elif self.active and all(
            sum(other.slow) < CALM * reports for other in self._streams.values()
        ):
            self._heal(f"{sample.step_seconds:.3g} s at step {sample.step}")

    def _learn(self, stream: _Stream, cost: float) -> None:
        stream.times.append(cost)
        if stream.usual is None and len(stream.times) >= ENOUGH:
            stream.usual = median(stream.times)
        elif stream.usual is not None and stream.seen % ENOUGH == 0:
            stream.usual = median(stream.times)


def _parts(sample: StepSample) -> int:
    """Losses that are on, and announced parts that have begun."""
    running = sum(value != 0.0 for value in (sample.losses or {}).values())
    return running + sum(sample.step >= first for first in (sample.active_from or {}).values())
