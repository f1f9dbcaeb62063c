"""Rule NoGradient: the gradient norm is exactly 0, or a trainable module never gets a gradient.

The mark of a missing backward(), a detached loss, or an objective that does not reach a module. A script
that never reports a gradient norm, modules or updates is not accused: missing is not zero. A policy's group of
equal rewards has nothing to learn from, hence no gradient: once there was one, such zeros prove nothing.
"""

from __future__ import annotations

import dataclasses

from speech_contract import thresholds
from speech_contract.rules import Rule
from speech_health.detector import Detector
from speech_health.samples import Source, StepSample
from speech_health.stretch import Stretch

SICK = 20  # zero norms behind a bad report that speak of the same fault
FELL = 0.8  # of the loss at the first zero norm: who is below has learned since, so what is printed is not the norm


@dataclasses.dataclass(eq=False, repr=False)
class _Stream:
    """One rank as heard through one source."""

    zeros: int = 0  # reports in a row with a gradient norm of exactly 0
    level: float | None = None  # the loss at the first of them
    learned: bool = False  # a norm other than 0 was seen
    sick: int = 0  # zero norms still to be left to NonFinite: a loss or norm was not finite
    last_turn: int | None = None  # of a report with a gradient norm
    reports: int = 0  # that named modules without gradient, or none of them
    last_named_step: int | None = None
    dead: set[str] | None = None  # modules without gradient in every such report
    first_step: int | None = None  # of any report
    newest_step: int = 0
    updates: int | None = None


class NoGradient(Detector[thresholds.NoGradient, _Stream]):
    """`forUpdates` zero norms with a learning rate above 0; dead modules after `firstSteps` steps."""

    rule = Rule.NO_GRADIENT

    def feed(self, sample: StepSample) -> None:
        """Count zero norms in a row; narrow down the dead modules over the first steps."""
        key = (sample.source, sample.rank)
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = _Stream()
        if stream.first_step is None:
            stream.first_step = sample.step
        stream.newest_step = sample.step
        if sample.updates is not None:
            stream.updates = sample.updates
        if sample.bad_loss is not None or sample.bad_gradient:
            stream.sick = SICK
        if sample.gradient_norm is not None:
            self._feed_norm(stream, sample, sample.gradient_norm)
        if sample.missing_gradients is not None:
            self._feed_modules(stream, sample, sample.missing_gradients)

    def pass_over(self, stretch: Stretch) -> bool:
        """Only the newest of them is remembered."""
        if self.active:
            return False
        self.feed(stretch.first)
        self.feed(stretch.last)
        return True

    def finish(self, now: float, exit_code: int) -> None:
        """Steps were taken, and the script says itself that no update was committed."""
        for (_, rank), stream in self._streams.items():
            taken = stream.newest_step - (stream.first_step or 0) + 1
            idle = stream.updates == 0 and taken >= self._limits.for_updates
            if exit_code == 0 and idle and stream.newest_step > 0:
                evidence = (
                    f"{stream.newest_step} steps and 0 optimizer updates at the end of the run"
                )
                self._convict(evidence, stream.newest_step, rank)

    def _feed_norm(self, stream: _Stream, sample: StepSample, norm: float) -> None:
        if norm != 0.0:
            stream.zeros, stream.last_turn, stream.learned = 0, sample.turn, True
            stream.sick = stream.sick if sample.bad_gradient or sample.bad_loss is not None else 0
            if self.active and not any(other.dead for other in self._streams.values()):
                self._heal(f"gradient norm {norm:.6g} at step {sample.step}")
            return
        idle = sample.learning_rate is not None and sample.learning_rate <= 0.0
        if idle or sample.turn == stream.last_turn or _equal_rewards(stream, sample):
            return
        if stream.sick:
            stream.sick -= 1
            return
        if stream.learned and sample.zero_loss:
            return  # a batch with nothing to learn from; many of them are ZeroLoss's
        stream.level = stream.level if stream.zeros else sample.headline
        stream.zeros, stream.last_turn = stream.zeros + 1, sample.turn
        if stream.zeros >= self._limits.for_updates and not _fell(stream.level, sample):
            rate = (
                ""
                if sample.learning_rate is None
                else f" at learning rate {sample.learning_rate:g}"
            )
            evidence = (
                f"gradient norm exactly 0 in {stream.zeros} report(s) in a row up to step "
                f"{sample.step}{rate}, threshold {self._limits.for_updates}"
            )
            self._convict(evidence, sample.step, sample.rank)

    def _feed_modules(self, stream: _Stream, sample: StepSample, missing: list[str]) -> None:
        if sample.step == stream.last_named_step:
            return
        stream.last_named_step = sample.step
        stream.dead = set(missing) if stream.dead is None else stream.dead & set(missing)
        stream.reports += 1
        if stream.reports >= self._limits.first_steps and stream.dead:
            evidence = (
                f"no gradient in {len(stream.dead)} trainable module(s) in each of the first "
                f"{stream.reports} step(s): {_names(stream.dead)}"
            )
            self._convict(evidence, sample.step, sample.rank)
        elif not stream.dead and self.active and not stream.zeros:
            self._heal(f"every module had a gradient by step {sample.step}")

    def _convict(self, evidence: str, step: int, rank: int) -> None:
        self._exceed(evidence, self._limits.on_exceeded, step=step, rank=rank)


def _fell(level: float | None, sample: StepSample) -> bool:
    """Some trainers print the norm of updates, and 0 for every report between them."""
    loss = sample.headline
    if level is None or loss is None or sample.source is not Source.STDOUT:
        return False
    return 0.0 < loss < FELL * level


def _equal_rewards(stream: _Stream, sample: StepSample) -> bool:
    """A policy's step without advantage: the spread says so, or a gradient that was there before."""
    if sample.reward_spread == 0.0:
        return True
    return stream.learned and (sample.reward is not None or sample.reward_spread is not None)


def _names(modules: set[str], most: int = 8) -> str:
    shown = sorted(modules)[:most]
    rest = len(modules) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")
