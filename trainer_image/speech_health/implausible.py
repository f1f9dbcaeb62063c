"""Rule Implausible: the run is faster than any machine could train.

The mark of a step that skips its work: batches that are dropped in silence, a loop over an empty model, counters
that run away. What a rank claims is set against physics: seconds of audio per second, and how often the memory of a
device could have carried the weights that every update has to read and write. A small data set whose epochs
take seconds is no fault: its audio is counted, not its epochs.
"""

from __future__ import annotations

import dataclasses

from speech_contract import thresholds
from speech_contract.report import Plan
from speech_contract.rules import Rule
from speech_contract.values import Value, frozen
from speech_health.detector import Attempt, Detector
from speech_health.samples import Source, StepSample

CPU_SHARE = 0.25  # of maxRealTimeFactor
BANDWIDTH = 1e13  # bytes per second: twice the memory of the fastest device
BYTES = 8  # of a weight that an update at least moves: one float32 read, one written
WINDOWS = 2  # in a row
REPORTS = 5  # in a window, at least: a queue that is emptied at once is no speed


@frozen
class _Mark(Value):
    """What one rank had claimed when a window began. None: it does not say."""

    now: float
    step: int
    audio: float | None
    updates: int | None

    def passed(self, audio: float | None, updates: int | None) -> bool:
        """A counter stands before this mark: another process speaks, or the run rolled back."""
        if self.audio is not None and (audio is None or audio < self.audio):
            return True
        return self.updates is not None and (updates is None or updates < self.updates)


@dataclasses.dataclass(eq=False, repr=False)
class _Stream:
    """One rank."""

    mark: _Mark
    reports: int = 0
    fast: int = 0  # windows in a row
    since: int = 0  # step at which the first of them began


class Implausible(Detector[thresholds.Implausible, _Stream]):
    """Two windows in a row above what can be."""

    rule = Rule.IMPLAUSIBLE
    feeds_on = ("plan", "audio_seconds_total", "samples_total", "updates")

    def __init__(self, limits: thresholds.Implausible, attempt: Attempt) -> None:
        super().__init__(limits, attempt)
        self._factor = float(limits.max_real_time_factor)
        self._plan = Plan()

    def feed(self, sample: StepSample) -> None:
        """Close a window when its time is over."""
        if sample.plan is not None:
            self._plan = sample.plan
        if sample.source is Source.STDOUT:
            return  # a printed line has no counters
        audio = self._audio(sample)
        if audio is None and sample.updates is None:
            return
        key = (sample.source, sample.rank)
        stream = self._streams.get(key)
        if stream is None or stream.mark.passed(audio, sample.updates):
            self._streams[key] = _Stream(_Mark(sample.now, sample.step, audio, sample.updates))
            return
        stream.reports += 1
        if sample.now - stream.mark.now >= self._limits.window_seconds:
            self._close(stream, _Mark(sample.now, sample.step, audio, sample.updates), sample)

    def _audio(self, sample: StepSample) -> float | None:
        """Seconds of audio trained on, as reported, or by the share of the data set."""
        plan, samples = self._plan, sample.samples_total
        if sample.audio_seconds_total is not None:
            return sample.audio_seconds_total
        if samples is None or not plan.samples or plan.audio_seconds is None:
            return None
        return samples * plan.audio_seconds / plan.samples

    def _close(self, stream: _Stream, mark: _Mark, sample: StepSample) -> None:
        before, reports = stream.mark, stream.reports
        stream.mark, stream.reports = mark, 0
        told = self._too_fast(before, mark, sample.device) if reports >= REPORTS else ""
        if not told:
            stream.fast = 0
            if not any(other.fast for other in self._streams.values()):
                self._heal(f"a possible speed at step {sample.step}")
            return
        stream.since = stream.since if stream.fast else before.step
        stream.fast += 1
        if stream.fast >= WINDOWS:
            self._exceed(
                f"{told} since step {stream.since}: no machine trains as fast",
                self._limits.on_exceeded,
                step=stream.since,
                rank=sample.rank,
            )

    def _too_fast(self, before: _Mark, mark: _Mark, device: str) -> str:
        """What is claimed and cannot be; empty when it can."""
        seconds = mark.now - before.now
        if before.audio is not None and mark.audio is not None:
            rate = (mark.audio - before.audio) / seconds
            limit = self._factor * (CPU_SHARE if device == "cpu" else 1.0)
            if rate > limit:
                return f"{rate:.4g} seconds of audio a second on one rank (limit {limit:g}){self._epoch(rate)}"
        weights = self._plan.parameters
        if weights and before.updates is not None and mark.updates is not None:
            moved = (mark.updates - before.updates) / seconds * weights * BYTES
            if moved > BANDWIDTH:
                return f"updates of {weights} weights that would move {moved:.3g} bytes a second (limit {BANDWIDTH:g})"
        return ""

    def _epoch(self, rate: float) -> str:
        """How long the data set takes one rank at this rate."""
        whole = self._plan.audio_seconds
        return f", an epoch of {whole / 3600:.3g} h in {whole / rate:.3g} s" if whole else ""
