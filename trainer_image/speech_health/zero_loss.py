"""Rule ZeroLoss: the loss is exactly 0 in `forSteps` reports that carry one, while steps advance.

The mark of swallowed exceptions, empty batches and labels that are all masked. 1e-9 is not zero; a report
without a loss says nothing; a zero that hides a NaN is NonFinite's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from speech_contract import thresholds
from speech_contract.outcome import EXIT_NOT_LEARNING
from speech_contract.progress import Rule
from speech_contract.thresholds import HealthMode
from speech_health.detector import Detector
from speech_health.samples import Source, StepSample

AT_EXIT = 3  # reports, all zero, that convict a run too short for `forSteps`


@dataclasses.dataclass
class _Stream:
    """One rank as heard through one source."""

    reports: int = 0  # that carried a loss, at different steps
    streak: int = 0  # of them the newest, in a row, exactly zero
    last_step: int | None = None
    first_zero_step: int = 0


class ZeroLoss(Detector[_Stream]):
    """Judges the headline loss: a component may well be zero (a discriminator that starts late)."""

    rule = Rule.ZERO_LOSS

    def __init__(
        self, limits: thresholds.ZeroLoss, mode: HealthMode, wall: Callable[[], float]
    ) -> None:
        super().__init__(mode, wall)
        self._limits = limits

    def feed(self, sample: StepSample) -> None:
        """Count zeros in a row per rank; any other loss on that rank starts over."""
        loss = sample.headline
        if loss is None:
            return
        stream = self._streams.setdefault((sample.source, sample.rank), _Stream())
        if not sample.zero_loss or _rounded(sample):
            stream.reports, stream.streak, stream.last_step = stream.reports + 1, 0, sample.step
            self._heal(f"loss {loss:.6g} at step {sample.step}")
            return
        if sample.step == stream.last_step:
            return  # steps do not advance
        stream.reports, stream.last_step = stream.reports + 1, sample.step
        stream.first_zero_step = stream.first_zero_step if stream.streak else sample.step
        stream.streak += 1
        if stream.streak >= self._limits.for_steps and self._all_zero_now():
            self._convict(stream, sample.rank, "")

    def finish(self, now: float, exit_code: int) -> None:
        """A short run: at least three reports in all, and every one exactly zero."""
        streams = [(rank, s) for (_, rank), s in self._streams.items() if s.reports]
        reports = sum(stream.reports for _, stream in streams)
        all_zero = all(stream.streak == stream.reports for _, stream in streams)
        if exit_code == 0 and reports >= AT_EXIT and all_zero:
            rank, longest = max(streams, key=lambda pair: pair[1].streak)
            self._convict(longest, rank, ", and the run has ended")

    def _all_zero_now(self) -> bool:
        """A pipeline's early stages report zero for ever; the stage that has the loss acquits them."""
        return all(stream.streak for stream in self._streams.values() if stream.reports)

    def _convict(self, stream: _Stream, rank: int, end: str) -> None:
        evidence = (
            f"loss exactly 0 in {stream.streak} report(s) in a row, steps {stream.first_zero_step} to "
            f"{stream.last_step}, threshold {self._limits.for_steps}{end}"
        )
        self._exceed(
            evidence,
            EXIT_NOT_LEARNING,
            self._limits.on_exceeded,
            step=stream.first_zero_step,
            rank=rank,
        )


def _rounded(sample: StepSample) -> bool:
    """Old Hugging Face versions print the loss rounded to 4 digits: with a gradient, 0.0 was not zero."""
    norm = sample.gradient_norm
    return sample.source is Source.STDOUT and norm is not None and norm > 0.0
