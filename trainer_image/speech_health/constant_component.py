"""Rule ConstantComponent: a loss component repeats one value bit by bit while the rest of the report changes.

The mark of a clamp: beyond its bound a term has no gradient. A value rounded by a printer or held in half
precision repeats for no fault: judged are exact series, those that were lively until they stood still, values of
six printed digits (100.000, where every other component shows three decimals), and one that came to stand at the
level of a guess, ln V to all its digits: 0.6931.
A whole report that stands still while steps advance is judged the same, once it used to change.
Exactly 0 is a part that is switched off; one that is 0 now and then is judged by its values between.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import math
import operator
from collections.abc import Mapping, Sequence

from speech_contract import thresholds
from speech_contract.rules import Rule
from speech_health import guess
from speech_health.detector import Attempt, Detector
from speech_health.digits import exact, fine, printed_decimals
from speech_health.samples import StepSample
from speech_health.stretch import Stretch

LOOKED_AT = 32  # values of a series that tell whether it is rounded; then one in as many
HELD = 3  # times the longest earlier repetition: what is computed now and then is repeated between
AWAY = 0.03  # of the level of a guess: by as much one of the newest values before was off it
# Reports before a stand-still; among them values and turns of a lively series.
PAST, DISTINCT, TURNS = 16, 12, 4


@dataclasses.dataclass(eq=False, repr=False)
class _Series:
    """One component."""

    value: float
    since: int  # step of the first report in a row with this value
    exact: bool  # it showed a value that no rounding leaves
    still: int = 1  # reports in a row with this value
    run: int = 1  # of them those at which something else changed
    longest: int = 0  # the most reports that an earlier value stayed
    changes: int = 0
    places: int = 0  # decimals that a printer leaves of it
    off: int = 0  # reports in a row at exactly 0, while it holds another value
    varied: bool = False  # it changed while it was on
    past: collections.deque[float] = dataclasses.field(
        default_factory=lambda: collections.deque(maxlen=PAST)
    )

    def move(self, value: float, step: int) -> None:
        """Another value."""
        self.past.extend([self.value] * min(self.still, PAST))
        self.longest, self.changes = max(self.longest, self.still), self.changes + 1
        self.value, self.since, self.still, self.run, self.off = value, step, 1, 1, 0
        if self.changes < LOOKED_AT:
            self.places = max(self.places, printed_decimals(value))
        if not self.exact and (self.changes < LOOKED_AT or not self.changes % LOOKED_AT):
            self.exact = exact(value)

    def moves_on(self, values: Sequence[float]) -> bool:
        """All differ, each from the one before, once rounding is looked for seldom; or all are 0 still."""
        if self.value == 0.0 and not any(values):
            return True
        if self.changes < LOOKED_AT or values[0] == self.value or 0.0 in values:
            return False
        return all(map(operator.ne, values, values[1:]))

    def pass_over(self, values: Sequence[float], first_step: int, last_step: int) -> None:
        """`move` for each of values that move on."""
        if not any(values):
            return
        self.move(values[0], first_step)
        self.past.extend(values[:-1])
        self.varied = True
        at = LOOKED_AT - self.changes % LOOKED_AT
        while not self.exact and at < len(values):
            self.exact, at = exact(values[at]), at + LOOKED_AT
        self.changes += len(values) - 1
        self.value, self.since = values[-1], last_step

    @property
    def lively(self) -> bool:
        """Before it stood still it went up and down, each report another value: no rounding holds it."""
        moves = [value for value, _ in itertools.groupby(self.past)]  # a hold between is no turn
        slopes = [late > early for early, late in itertools.pairwise(moves)]
        turns = sum(one != other for one, other in itertools.pairwise(slopes))
        return len(self.past) == PAST and len(set(moves)) >= DISTINCT and turns >= TURNS

    @property
    def guessed(self) -> int | None:
        """The number of classes at whose guess it stands, and did not begin: a preference loss begins at ln 2."""
        came = any(abs(value - self.value) > AWAY * self.value for value in self.past)
        return guess.exactly(self.value) if came else None


@dataclasses.dataclass(eq=False, repr=False)
class _Stream:
    """One rank as heard through one source."""

    series: dict[str, _Series] = dataclasses.field(default_factory=dict)
    norm: float | None = None
    exact: bool = False  # some series of this stream is
    last_step: int | None = None

    def places(self, series: _Series) -> int:
        """Decimals that a printer leaves of every other component, of two at least; 0 where they differ."""
        others = [s.places for s in self.series.values() if s is not series and s.changes >= PAST]
        return max(others) if len(others) > 1 and len(set(others)) == 1 else 0


class ConstantComponent(Detector[thresholds.ConstantComponent, _Stream]):
    """Counts repetitions per component; something else must have changed at each of them."""

    rule = Rule.CONSTANT_COMPONENT
    feeds_on = ("losses", "parts")

    def __init__(self, limits: thresholds.ConstantComponent, attempt: Attempt) -> None:
        super().__init__(limits, attempt)
        self._named: str | None = None  # the component that the finding speaks of

    def feed(self, sample: StepSample) -> None:
        """Compare every component with the report before."""
        losses = _components(sample)
        if not losses:
            return
        key = (sample.source, sample.rank)
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = _Stream()
        if sample.step == stream.last_step:
            return
        stream.last_step = sample.step
        known = stream.series
        repeats = any(
            name in known and known[name].value == value for name, value in losses.items()
        )
        moved = repeats and not _idle(sample) and _something_changed(stream, sample, losses)
        stream.norm = sample.gradient_norm
        for name, value in losses.items():
            self._follow(stream, sample, name, value, moved)

    def pass_over(self, stretch: Stretch) -> bool:
        """Every component moves at each report, or is switched off all along."""
        stream = self._streams.get(stretch.stream)
        if stream is None or self.active or stretch.first.step == stream.last_step:
            return False
        if stretch.first.parts:  # a stretch has no columns of them
            return False
        known, losses = stream.series, stretch.losses
        if not all(name in known and known[name].moves_on(losses[name]) for name in losses):
            return False
        steps = (stretch.first.step, stretch.last.step)
        for name, values in losses.items():
            known[name].pass_over(values, *steps)
            stream.exact |= known[name].exact
        stream.last_step, stream.norm = stretch.last.step, stretch.last.gradient_norm
        return True

    def _follow(
        self, stream: _Stream, sample: StepSample, name: str, value: float, moved: bool
    ) -> None:
        series = stream.series.get(name)
        if series is None:
            series = stream.series[name] = _Series(value, sample.step, exact(value))
            stream.exact |= series.exact
        elif value == 0.0 != series.value and series.off < self._limits.for_reports:
            series.off += 1
        elif series.value != value:
            series.varied |= series.value != 0.0 and _active(sample, name)
            series.move(value, sample.step)
            stream.exact |= series.exact
            if name == self._named:
                self._heal(f"{name!r} is {value:.6g} at step {sample.step}")
        elif value != 0.0 and math.isfinite(value) and _active(sample, name) and not _idle(sample):
            series.still, series.run, series.off = series.still + 1, series.run + moved, 0
            if self._stands(series, stream):
                self._convict(series, sample, name)

    def _stands(self, series: _Series, stream: _Stream) -> bool:
        """Longer than a clamp needs to show, than this series ever held a value, and not by rounding.

        A printed value of six digits is asked for three times as long: its first hold may be an average's.

        When nothing else in the report changes either, only a series that used to change is judged: a script
        may print one report over again.
        """
        held = HELD * series.longest if series.longest > 1 else 0
        bound = max(self._limits.for_reports, held)
        if series.still < bound:
            return False
        longer = max(bound, HELD * self._limits.for_reports)
        if series.run >= longer and fine(series.value, stream.places(series)):
            return True
        moves = series.exact or series.lively
        alone = series.run >= bound and (series.varied or stream.exact)
        if alone and (moves or not series.varied):
            return True
        return (moves and series.changes >= PAST) or series.guessed is not None

    def _convict(self, series: _Series, sample: StepSample, name: str) -> None:
        if self.active and self._named != name:
            return  # the first one stands until it heals
        self._named = name
        rest = "the rest changes" if series.run > series.still // 2 else "steps advance"
        classes = series.guessed
        level = f" (ln {classes}: a guess)" if classes else ""
        self._exceed(
            f"loss component {name!r} is exactly {series.value!r}{level} in {series.still} reports in a row since "
            f"step {series.since}, threshold {self._limits.for_reports}, while {rest}",
            self._limits.on_exceeded,
            step=series.since,
            rank=sample.rank,
        )


def _components(sample: StepSample) -> Mapping[str, float]:
    """The losses, and what a script prints beside a whole one."""
    if sample.parts and sample.losses:
        return {**sample.parts, **sample.losses}
    return sample.losses or {}


def _something_changed(stream: _Stream, sample: StepSample, losses: Mapping[str, float]) -> bool:
    """Another series moved: the inputs change, and the script does not print one report over again."""
    norm = sample.gradient_norm
    if norm is not None and stream.norm is not None and norm != stream.norm:
        return True
    known = stream.series
    return any(name in known and known[name].value != value for name, value in losses.items())


def _idle(sample: StepSample) -> bool:
    """The learning rate is 0: nothing can change."""
    return sample.learning_rate is not None and sample.learning_rate <= 0.0


def _active(sample: StepSample, name: str) -> bool:
    late = sample.active_from
    return not late or sample.step >= late.get(name.partition("/")[0], 0)
