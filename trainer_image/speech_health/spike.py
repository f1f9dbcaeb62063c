"""Rules LossSpike and GradientSpike: a series stands far above its own baseline and does not come down.

A single outlier is no spike, nor is a burst shorter than `forSteps`: both heal by themselves. High values stay
out of the baseline, so that a divergence cannot become normal; but what came down again time after time, as in
a run of two tasks in turn, is no news. When a part starts (a discriminator that comes late), the baseline
starts over; while the learning rate rises, twice the factor is asked for. A loss that rose within its first
reports and stays there is warned of.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import TypeAlias

from speech_contract import thresholds
from speech_contract.rules import Rule
from speech_health.baseline import SIZE, Baseline, Height
from speech_health.detector import Attempt, Detector
from speech_health.early_rise import AT_EXIT, FIRST, LONG, EarlyRise, alone
from speech_health.samples import StepSample
from speech_health.stretch import Stretch

REPORTS = 5  # high ones, at least, however far apart the reports lie
REPORTS_TO_END = 8  # the same, before an attempt is ended
LEARNED = 4  # high values of a healed burst, at most, that are kept: one long burst is no habit
USUAL, AS_HIGH = 10, 1.5  # of the last SIZE reports; times their height that is still no news
CALM = 2  # normal reports in a row that end a burst
BETWEEN = 0.2  # normal reports for each high one, above which it is two tasks and no divergence
EXPLODED = 1e3  # times its level: no loss may be as high, whatever it is trained against
WARM_UP = 2.0  # times the factor while the learning rate rises

Limits: TypeAlias = thresholds.LossSpike | thresholds.GradientSpike


@dataclasses.dataclass(eq=False, repr=False)
class _Stream:
    """One rank as heard through one source."""

    baseline: Baseline = dataclasses.field(default_factory=Baseline)
    parts: set[str] | None = None  # components that were ever other than 0, and late parts that run
    start: EarlyRise | None = None  # None: nothing is left to be seen there
    last_step: int | None = None
    valued: int | None = None  # step of the newest value: a bar may show the step before its loss
    rate: float | None = None
    rising: bool = False  # the learning rate, between the two newest reports
    high: int = 0  # high reports of this burst
    calm: int = 0  # normal reports since the last high one
    normal: int = 0  # all of this burst
    onset: int = 0  # step of the first high report
    times: float = 0.0  # its level is the newest high value, of levels above 0
    raised: bool = False
    pending: list[float] = dataclasses.field(default_factory=list)  # the first high ones
    bursts: collections.deque[float] = (
        dataclasses.field(  # high ones that healed; 0 for a normal report
            default_factory=lambda: collections.deque(maxlen=SIZE)
        )
    )

    def follow(self, sample: StepSample) -> None:
        """Notice a warm-up, a new part and a step counter that went back."""
        rate = sample.learning_rate
        if rate is not None:
            self.rising = self.rate is not None and rate > self.rate
            self.rate = rate
        went_back = self.last_step is not None and sample.step < self.last_step
        self.last_step = sample.step
        losses, known = sample.losses, self.parts
        told = losses is None or (known is not None and losses.keys() <= known)
        if not (told and sample.active_from is None) and self._part_started(sample):
            self.baseline.clear()
            self.bursts.clear()
            self.start = None
            self.settle()
        elif went_back:
            self.start = None
            self.settle()

    def goes_on(self, stretch: Stretch) -> bool:
        """Steps go on, and no component is new."""
        known = self.parts
        if self.last_step is None or stretch.first.step <= self.last_step:
            return False
        new = [values for name, values in stretch.losses.items() if name not in (known or ())]
        return not any(map(any, new))

    def pass_over(self, stretch: Stretch) -> None:
        """`follow` for each of reports that go on."""
        for rate in [rate for rate in stretch.rates if rate is not None][-2:]:
            self.rising = self.rate is not None and rate > self.rate
            self.rate = rate
        self.last_step = stretch.last.step

    def accept(self) -> None:
        """The burst has healed by itself: bursts as high as it belong to this run."""
        self.bursts.extend(self.pending)
        self.settle()

    @property
    def told(self) -> bool:
        """The finding speaks of this rank."""
        return self.raised or (self.start is not None and self.start.told)

    def used_to(self, value: float) -> bool:
        """One in ten of the last reports was as high, and each time the series came down."""
        return sum(value <= high * AS_HIGH for high in self.bursts) >= USUAL

    def settle(self) -> None:
        """The burst, if there was one, is over."""
        self.pending.clear()
        self.high, self.normal, self.raised = 0, 0, False

    def _part_started(self, sample: StepSample) -> bool:
        if sample.losses is None:
            return False
        known = self.parts
        running = [
            name
            for name, value in sample.losses.items()
            if value != 0.0 and (known is None or name not in known)
        ]
        if sample.active_from:
            late = [f"{p}/" for p, first in sample.active_from.items() if sample.step >= first]
            running += late if known is None else [part for part in late if part not in known]
        if known is None:
            self.parts = set(running)
            return False
        known.update(running)
        return bool(running)


class _Spike(Detector[Limits, _Stream]):
    """What both rules do with their series."""

    series: str

    def __init__(self, limits: Limits, attempt: Attempt) -> None:
        super().__init__(limits, attempt)
        self._z_score, self._factor = float(limits.z_score), float(limits.factor)

    def value(self, sample: StepSample) -> float | None:
        """The series' value in this report; None when it carries none."""
        raise NotImplementedError

    def _start(self) -> EarlyRise | None:
        """What watches the first reports of a rank."""
        return None

    def _judge_start(
        self, stream: _Stream, start: EarlyRise, sample: StepSample, value: float
    ) -> None:
        """Nothing is asked of the first reports of most series."""

    def feed(self, sample: StepSample) -> None:
        """Set the value against the baseline; raise, sharpen or heal."""
        key = (sample.source, sample.rank)
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = _Stream(start=self._start())
        stream.follow(sample)
        value = self.value(sample)
        if value is None or sample.step == stream.valued:
            return
        stream.valued = sample.step
        if not math.isfinite(value):
            return
        if stream.start is not None:
            self._judge_start(stream, stream.start, sample, value)
        factor = self.factor(sample) * (WARM_UP if stream.rising else 1.0)
        height = stream.baseline.above(value, self._z_score, factor)
        if height is None:
            stream.baseline.add(value)
            stream.bursts.append(0.0)
            if stream.high or self.finding is not None:
                self._calm(stream, sample, value)
        elif stream.used_to(value):
            stream.bursts.append(value)
            self._calm(stream, sample, value)
        else:
            self._high(stream, sample, value, height)

    def factor(self, sample: StepSample) -> float:
        """How many times its level this report's value must be."""
        return self._factor

    def values(self, stretch: Stretch) -> Sequence[float]:
        """The same of many reports."""
        raise NotImplementedError

    def pass_over(self, stretch: Stretch) -> bool:
        """Every value lies low, whatever the median will be at its turn; no burst is going on, no part starts."""
        stream, values = self._streams.get(stretch.stream), self.values(stretch)
        if stream is None or stream.high or self.active or (values and stream.start is not None):
            return False
        if not stream.goes_on(stretch):
            return False
        if values and not stream.baseline.lies_low(values, self._factor):
            return False
        stream.baseline.extend(values)
        stream.bursts.extend(itertools.repeat(0.0, len(values)))
        stream.pass_over(stretch)
        stream.valued = stretch.last.step if values else stream.valued
        return True

    def _high(self, stream: _Stream, sample: StepSample, value: float, height: Height) -> None:
        if stream.high == 0:
            stream.onset = sample.step
        stream.high, stream.calm = stream.high + 1, 0
        stream.times = value / height.median if height.median > 0.0 else 0.0
        if len(stream.pending) < LEARNED:
            stream.pending.append(value)
        lasting = sample.step - stream.onset + 1
        if stream.high < REPORTS or lasting < self._limits.for_steps:
            return
        stream.raised = True
        measured = "" if height.z is None else f", robust z {height.z:.1f}"
        evidence = (
            f"{self.series} {value:.4g} at step {sample.step}, {value / height.median:.1f} times"
            if height.median > 0.0
            else f"{self.series} {value:.4g} at step {sample.step}, above"
        )
        evidence += (
            f" the running median {height.median:.4g}{measured}; high since step {stream.onset} "
            f"({stream.high} reports)"
        )
        if lasting < self._limits.window_steps or stream.high < REPORTS_TO_END:
            if not self._critical:
                self._warn(evidence, step=stream.onset, rank=sample.rank)
            return
        self._exceed(
            f"{evidence}, not healed within {self._limits.window_steps} steps",
            self._limits.on_exceeded,
            step=stream.onset,
            rank=sample.rank,
        )

    @property
    def _critical(self) -> bool:
        """Another rank's spike has passed its window already."""
        return self.active and self.finding is not None and "not healed" in self.finding.evidence

    def _calm(self, stream: _Stream, sample: StepSample, value: float) -> None:
        if stream.high:
            stream.calm, stream.normal = stream.calm + 1, stream.normal + 1
            if stream.calm >= CALM or stream.normal > stream.high * BETWEEN:
                stream.accept()
        if self.active and not any(other.told for other in self._streams.values()):
            self._heal(f"{self.series} {value:.4g} at step {sample.step}")


class LossSpike(_Spike):
    """The headline: `total` or `loss`. Components come and go with their schedules and are not judged."""

    rule = Rule.LOSS_SPIKE
    series = "loss"

    def value(self, sample: StepSample) -> float | None:
        """`total`, else `loss`, else what stands for them; without any a sum, as of an adversary."""
        return sample.headline if sample.whole or _sums(sample) else None

    def factor(self, sample: StepSample) -> float:
        """A sum that others train against has no level of its own; beyond any is an explosion."""
        return self._factor if sample.whole else max(EXPLODED, self._factor)

    def values(self, stretch: Stretch) -> Sequence[float]:
        """The headlines."""
        return stretch.headline if stretch.first.whole or _sums(stretch.first) else ()

    def _start(self) -> EarlyRise | None:
        return EarlyRise()

    def _judge_start(
        self, stream: _Stream, start: EarlyRise, sample: StepSample, value: float
    ) -> None:
        if not alone(sample):
            stream.start = None
            return
        start.take(value, self._factor, sample.step)
        if start.over:
            stream.start = None
        elif not start.told and start.stays(LONG):
            self._tell_start(start, sample.rank)

    def finish(self, now: float, exit_code: int) -> None:
        """A rise within the first reports that the run ended on, or an explosion too short for `forSteps`."""
        for (_, rank), stream in self._streams.items() if exit_code == 0 else ():
            start = stream.start
            if start is not None and not start.told and start.stays(AT_EXIT):
                self._tell_start(start, rank)
            elif stream.high >= REPORTS and stream.times >= EXPLODED and not self.active:
                self._warn(
                    f"loss {stream.times:.0f} times its running median at the end of the run, high since step "
                    f"{stream.onset} ({stream.high} reports)",
                    step=stream.onset,
                    rank=rank,
                )

    def _tell_start(self, start: EarlyRise, rank: int) -> None:
        start.told = True
        if not self._critical:
            self._warn(
                f"loss rose from {start.before[-1]:.4g} to {start.high[0]:.4g} at step {start.since}, within the first "
                f"{FIRST} reports, and stays there: {start.high[-1]:.4g} ({len(start.high)} reports)",
                step=start.since,
                rank=rank,
            )


def _sums(sample: StepSample) -> bool:
    """The headline is called a total of something: HiFi-GAN's `Gen Loss Total`."""
    return "total" in (sample.headline_name or "")


class GradientSpike(_Spike):
    """The gradient norm. Exactly 0 is NoGradient's."""

    rule = Rule.GRADIENT_SPIKE
    series = "gradient norm"

    def value(self, sample: StepSample) -> float | None:
        """The norm; None for 0."""
        return sample.gradient_norm or None

    def values(self, stretch: Stretch) -> Sequence[float]:
        """The norms."""
        return stretch.norms
