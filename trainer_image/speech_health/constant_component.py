"""Rule ConstantComponent: a loss component repeats one value bit by bit while the rest of the report changes.

The mark of a clamp: beyond its bound a term has no gradient. Only exact series are judged: a value rounded by
a printer or held in half precision repeats for no fault. Exactly 0 is a part that is switched off.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from speech_contract import thresholds
from speech_contract.outcome import EXIT_NOT_LEARNING
from speech_contract.progress import Rule
from speech_contract.thresholds import HealthMode
from speech_health.detector import Detector
from speech_health.samples import StepSample

HALF_BITS = 2048.0  # 2 ** 11: the significand of float16; bfloat16 has fewer
ROUNDED = 10  # significant decimal digits that a printer may have left


@dataclasses.dataclass
class _Series:
    """One component."""

    value: float
    run: int = 1  # reports in a row with this value, while something else changed
    since: int = 0  # step of the first of them
    varied: bool = False
    exact: bool = False  # it showed a value that no rounding leaves


@dataclasses.dataclass
class _Stream:
    """One rank as heard through one source."""

    series: dict[str, _Series] = dataclasses.field(default_factory=dict)
    norm: float | None = None
    exact: bool = False  # some series of this stream is
    last_step: int | None = None


class ConstantComponent(Detector[_Stream]):
    """Counts repetitions per component; something else must have changed at each of them."""

    rule = Rule.CONSTANT_COMPONENT

    def __init__(
        self, limits: thresholds.ConstantComponent, mode: HealthMode, wall: Callable[[], float]
    ) -> None:
        super().__init__(mode, wall)
        self._limits = limits
        self._named: str | None = None  # the component that the finding speaks of

    def feed(self, sample: StepSample) -> None:
        """Compare every component with the report before."""
        if sample.losses is None:
            return
        stream = self._streams.setdefault((sample.source, sample.rank), _Stream())
        if sample.step == stream.last_step:
            return
        stream.last_step = sample.step
        idle = sample.learning_rate is not None and sample.learning_rate <= 0.0
        moved = not idle and _something_changed(stream, sample)
        stream.norm = sample.gradient_norm
        for name, value in sample.losses.items():
            self._follow(stream, sample, name, value, moved)

    def _follow(
        self, stream: _Stream, sample: StepSample, name: str, value: float, moved: bool
    ) -> None:
        series = stream.series.get(name)
        if series is None or series.value != value:
            varied = series is not None
            exact = _exact(value) or (series is not None and series.exact)
            stream.exact |= exact
            stream.series[name] = _Series(value, 1, sample.step, varied, exact)
            if name == self._named:
                self._heal(f"{name!r} is {value:.6g} at step {sample.step}")
            return
        if not moved or value == 0.0 or not math.isfinite(value) or not _active(sample, name):
            return
        series.run += 1
        trusted = series.exact if series.varied else stream.exact
        if series.run >= self._limits.for_reports and trusted:
            self._convict(series, sample, name)

    def _convict(self, series: _Series, sample: StepSample, name: str) -> None:
        if self.active and self._named != name:
            return  # the first one stands until it heals
        self._named = name
        self._exceed(
            f"loss component {name!r} is exactly {series.value!r} in {series.run} reports in a row since "
            f"step {series.since}, threshold {self._limits.for_reports}, while the rest changes",
            EXIT_NOT_LEARNING,
            self._limits.on_exceeded,
            step=series.since,
            rank=sample.rank,
        )


def _something_changed(stream: _Stream, sample: StepSample) -> bool:
    """Another series moved: the inputs change, and the script does not print one report over again."""
    norm = sample.gradient_norm
    if norm is not None and stream.norm is not None and norm != stream.norm:
        return True
    known, losses = stream.series, sample.losses or {}
    return any(name in known and known[name].value != value for name, value in losses.items())


def _active(sample: StepSample, name: str) -> bool:
    late = sample.active_from
    return not late or sample.step >= late.get(name.partition("/")[0], 0)


def _exact(value: float) -> bool:
    """The value carries more digits than half precision or a printer's rounding would leave."""
    if not math.isfinite(value) or (math.frexp(value)[0] * HALF_BITS).is_integer():
        return False
    digits = repr(abs(value)).partition("e")[0].replace(".", "").strip("0")
    return len(digits) > ROUNDED
