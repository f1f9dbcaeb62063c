"""Rule GoalUnreachable: the run cannot end where it is meant to. A warning, at the start where that can be told.

Ways to know: a model from random weights with far more weights than the data can pin down, an epoch of a few steps, a
handful of held-out samples; a fidelity that no codec has at that bit rate; a held-out score that gets worse evaluation
by evaluation while the loss falls, which says that the loss is not the goal; one that never comes near to its first
value again, nor does the loss; and a loss far below the same loss on held-out data: learned by heart, or a leak. Which
way is worse is told with the scores, by our recipes; of strangers it is read off the name, and the last is not judged.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import math
import re
from collections.abc import Iterator

from speech_contract import thresholds
from speech_contract.report import Plan
from speech_contract.rules import Rule
from speech_contract.scores import Better, ScoreSpec
from speech_contract.values import Value, frozen
from speech_health.detector import Attempt, Detector
from speech_health.evaluations import same
from speech_health.median import median
from speech_health.rate_distortion import reachable_snr
from speech_health.samples import StepSample
from speech_health.stretch import Stretch

SHORTEST = 200  # steps: a shorter run is a trial
LEVEL = 3  # evaluations whose median is a score's level
FELL = 0.05  # of the loss, at least: what falls less stands on its plateau, where scores wander
NEAR = -1  # an evaluation came near to the first one, or better
NEVER = 10  # evaluations after the first one, all worse than it
NEWEST = 20  # reports whose median is the loss now
FAR = 0.25  # of the held-out loss: a training loss below it, in so many evaluations in a row
FAR_TIMES = 3
# Of scores that come without their direction:
LOWER = re.compile(r"(^|_)(loss|dtw|mel|wer|cer|error|distance)(_|$)")  # better when lower
HIGHER = re.compile(r"(^|_)(snr|sdr|accuracy|pesq|stoi|sim|similarity)(_|$)")


@frozen
class _Level(Value):
    """What a score was worth at one time."""

    badness: float  # lower is better
    value: float
    step: int
    loss: float | None  # then


@dataclasses.dataclass(eq=False, repr=False)
class _Score:
    """One held-out score. Its level is the median of three evaluations: one lucky one is no best.

    Where every evaluation since was worse than the one before it, and none made most of the way, it was not luck: that
    one is a level too.
    """

    spec: ScoreSpec
    newest: list[float]  # how bad the last few evaluations were
    best: _Level | None = None
    slope: _Level | None = None  # the evaluation since which each was worse than the one before
    climbed: int = 0  # evaluations since that one
    leap: float = 0.0  # the largest step among them
    first: float | None = None  # the first value
    first_badness: float = 0.0
    below: int = 0  # evaluations since, while none came near to it; else NEAR
    values: list[float] = dataclasses.field(default_factory=list)  # of the last LEVEL evaluations
    component: str = ""  # the same loss on training data, and its newest values
    trained: collections.deque[float] = dataclasses.field(
        default_factory=lambda: collections.deque(maxlen=NEWEST)
    )
    apart: int = 0  # evaluations in a row to which training was far below

    def take(self, value: float, step: int, loss: float | None, keep: int, share: float) -> None:
        """The next evaluation."""
        bad = self.spec.badness(value)
        if self.first is None:
            self.first, self.first_badness = value, bad
        elif self.below >= 0:
            far = self.first_badness + share * abs(self.first_badness)
            self.below = self.below + 1 if bad > far else NEAR
        if self.newest and bad > self.newest[-1]:
            self.climbed, self.leap = self.climbed + 1, max(self.leap, bad - self.newest[-1])
        else:
            self.slope, self.climbed, self.leap = _Level(bad, value, step, loss), 0, 0.0
        self.values = [*self.values, value][-LEVEL:]
        self.newest = [*self.newest, bad][-max(keep, LEVEL) :]
        if len(self.newest) < LEVEL:
            return
        level = median(self.newest[-LEVEL:])
        if self.best is None or level < self.best.badness:
            self.best = _Level(level, median(self.values), step, loss)

    @property
    def lost(self) -> bool:
        """No evaluation came near to the first one: all were worse by more than a share of it."""
        return self.below >= NEVER

    def compare(self, value: float) -> bool:
        """Whether training is far below, and was at the evaluations before."""
        far = bool(self.trained) and 0.0 < median(self.trained) < FAR * value
        self.apart = self.apart + 1 if far else 0
        return self.apart >= FAR_TIMES

    def _steady(self, evaluations: int) -> bool:
        """More than `evaluations` made the way from the slope's begin, none of them more than half of it."""
        return (
            self.slope is not None
            and self.climbed > evaluations
            and self.leap <= (self.newest[-1] - self.slope.badness) / 2
        )

    def behind(self, loss: float | None, evaluations: int, share: float) -> _Level | None:
        """The level behind which the newest `evaluations` are, by more than `share` and each worse than the one before.

        And the loss fell since then.
        """
        late = self.newest[-evaluations:]
        if not all(a < b for a, b in itertools.pairwise(late)):
            return None
        target = abs(self.spec.target) if self.spec.better is Better.TARGET else 0.0
        for level in (self.best, self.slope if self._steady(evaluations) else None):
            if level is None or not _fell(level.loss, loss):
                continue
            if min(late) > level.badness + share * max(abs(level.badness), target):
                return level
        return None


class GoalUnreachable(Detector[thresholds.GoalUnreachable, None]):
    """Only warns: whether a goal is worth it is the user's to say."""

    rule = Rule.GOAL_UNREACHABLE

    def __init__(self, limits: thresholds.GoalUnreachable, attempt: Attempt) -> None:
        super().__init__(limits, attempt)
        self._most_weights = float(limits.max_parameters_per_second)
        self._worsening = float(limits.worsening_ratio)
        self._planned: list[str] = []  # what is wrong with the plan
        self._losses: collections.deque[float] = collections.deque(maxlen=NEWEST)
        self._first_loss: float | None = None
        self._scores: dict[str, _Score] = {}
        self._compared: list[_Score] = []  # those with a component
        self._evaluation: dict[str, float] = {}
        self._speaker: int | None = None  # the rank whose losses and scores are followed

    def feed(self, sample: StepSample) -> None:
        """Judge a plan when it comes and an evaluation when it changed."""
        if sample.plan is not None:
            self._planned = list(self._doubts(sample.plan))
            self._tell(sample.step, [])
        if self._speaker is None or sample.rank < self._speaker:
            self._speaker = sample.rank
        if sample.rank != self._speaker:
            return
        loss = sample.headline
        if loss is not None and math.isfinite(loss):
            self._losses.append(loss)
            self._first_loss = loss if self._first_loss is None else self._first_loss
        for score in self._compared:
            value = (sample.losses or {}).get(score.component)
            if value is not None and math.isfinite(value):
                score.trained.append(value)
        if sample.evaluation and self._brings_new(sample):
            self._evaluation = sample.evaluation
            self._tell(sample.step, list(self._follow(sample)))

    def pass_over(self, stretch: Stretch) -> bool:
        """No new evaluation among them: the losses are kept."""
        first = stretch.first
        if first.rank != self._speaker or self._first_loss is None or self._compared:
            return False
        if self._brings_new(first):
            return False
        self._losses.extend(stretch.headline)
        return True

    def _brings_new(self, sample: StepSample) -> bool:
        """Scores other than the newest."""
        scores, known = sample.evaluation, self._evaluation
        return bool(scores) and scores is not known and not same(scores or {}, known)

    def _doubts(self, plan: Plan) -> Iterator[str]:
        """What the plan itself shows."""
        weights, audio, steps = plan.parameters, plan.audio_seconds, plan.total_steps
        long = steps is None or steps >= SHORTEST
        if plan.fresh and long and weights and audio is not None and audio > 0.0:
            ratio = weights / audio
            if ratio > self._most_weights:
                yield (
                    f"{weights} weights from random values on {audio:.0f} s of audio: {ratio:.3g} a second, "
                    f"threshold {self._most_weights:g}"
                )
        yield from self._sizes(plan) if plan.fresh and long else ()
        goal, rate = plan.goal_snr, plan.bits_per_second
        if goal is not None and rate is not None and goal > reachable_snr(rate):
            yield (
                f"a goal of {goal:g} dB at {rate / 1000:.3g} kbit/s, where no codec of speech exceeds "
                f"{reachable_snr(rate):.1f} dB"
            )

    def _sizes(self, plan: Plan) -> Iterator[str]:
        """So few samples that they are learned by heart, or that their scores are chance."""
        samples, batch, limits = plan.samples, plan.batch_samples, self._limits
        if samples and batch and samples < limits.min_epoch_steps * batch:
            yield (
                f"{samples} samples in batches of {batch}: an epoch has {max(1, samples // batch)} steps, threshold "
                f"{limits.min_epoch_steps}; what is seen so often is learned by heart"
            )
        if plan.held_out and plan.held_out < limits.min_held_out:
            yield (
                f"{plan.held_out} held-out samples, threshold {limits.min_held_out}: scores of so few follow chance, "
                "and so does the choice of the best checkpoint"
            )

    def _follow(self, sample: StepSample) -> Iterator[str]:
        """Scores that got worse too often, in sentences."""
        step, specs = sample.step, sample.score_specs or {}
        limits, now = self._limits, median(self._losses) if self._losses else None
        for name, value in (sample.evaluation or {}).items():
            spec = specs.get(name) or _guessed(name)
            if not math.isfinite(spec.badness(value)):
                continue
            if name not in self._scores:
                self._scores[name] = self._begun(name, spec, told=name in specs, sample=sample)
            score = self._scores[name]
            if score.compare(value):
                yield (
                    f"{score.component} is {median(score.trained):.4g} in training and {value:.4g} held out, below "
                    f"{FAR:g} of it in {score.apart} evaluations in a row: learned by heart, or labels leak"
                )
            score.take(value, step, now, limits.worsening_evaluations, self._worsening)
            level = score.behind(now, limits.worsening_evaluations, self._worsening)
            if level is not None:
                yield (
                    f"held-out {name} went from {level.value:.4g} at step {level.step} to {value:.4g}, worse in "
                    f"{max(limits.worsening_evaluations, score.climbed)} evaluations in a row, while the loss fell "
                    f"from {level.loss:.4g} to {now:.4g}"
                )
            elif score.lost and now is not None and not _fell(self._first_loss, now):
                yield (
                    f"held-out {name} began at {score.first:.4g} and was worse in all of the {score.below} evaluations "
                    f"since, {value:.4g} now, and the loss did not fall either ({self._first_loss:.4g} at first, "
                    f"{now:.4g} now)"
                )

    def _begun(self, name: str, spec: ScoreSpec, *, told: bool, sample: StepSample) -> _Score:
        """A score with the loss component that is the same on training data, where it is said to be a loss."""
        score = _Score(spec, [])
        if told and spec.better is Better.LOWER:
            names = (c for c in sample.losses or {} if c.rpartition("/")[2] == name)
            score.component = next(names, "")
            self._compared += [score] if score.component else []
        return score

    def _tell(self, step: int, worsening: list[str]) -> None:
        told = [*self._planned, *worsening]
        if told:
            self._warn("; ".join(told), step=step)
        else:
            self._heal(f"held-out scores no longer fall behind at step {step}")


def _fell(then: float | None, now: float | None) -> bool:
    """The loss is lower than it was, by more than it wanders on a plateau."""
    return then is not None and now is not None and now < then - FELL * abs(then)


def _guessed(name: str) -> ScoreSpec:
    """What the name says of a stranger's score; of unknown direction (so not judged) where it says nothing."""
    folded = re.sub(r"[^a-z0-9]+", "_", name.lower())
    if HIGHER.search(folded):
        return ScoreSpec(Better.HIGHER)
    return ScoreSpec(Better.LOWER if LOWER.search(folded) else None)
