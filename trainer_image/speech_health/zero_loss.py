"""Rule ZeroLoss: the loss is exactly 0 in `forSteps` reports that carry one, while steps advance.

The mark of swallowed exceptions, empty batches and labels that are all masked. 1e-9 is not zero; a report
without a loss says nothing; a zero that hides a NaN is NonFinite's. A reward above 0 acquits, and so does a printed
gradient. An exact 0 beside a gradient above 0 is an objective whose value says nothing, or a loss that is not the one
that is trained: it is told, and nobody is stopped for it.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools

from speech_contract import thresholds
from speech_contract.rules import Rule
from speech_health.detector import Attempt, Detector
from speech_health.samples import Source, StepSample
from speech_health.stretch import Stretch

COMB = 2  # times forSteps reports, of which forSteps are zero: every second batch
DECIMALS, TINY = 4, 1e-3  # as printers round; ten units of the last decimal
AT_EXIT = 3  # reports, all zero, that convict a run too short for `forSteps`
# Zeros in a row that convict a run that ends on them, if so many of its reports are among them.
LAST, MOST = 10, 0.8


@dataclasses.dataclass(eq=False, repr=False)
class _Stream:
    """One rank as heard through one source."""

    reports: int = 0  # that carried a loss, at different steps
    streak: int = 0  # of them the newest, in a row, exactly zero
    norm: float | None = None  # the newest gradient norm
    tiny: bool = False  # the newest loss other than 0 was one that few decimals show as 0
    recent: collections.deque[bool] = dataclasses.field(default_factory=collections.deque)
    zeros: int = 0  # of the recent reports
    policy: bool = False  # rewards above 0 were seen: between them reports may carry none
    last_turn: int | None = None
    last_step: int | None = None
    first_zero_step: int = 0

    def count(self, zero: bool, window: int) -> None:
        """Take the newest report into the last `window`."""
        self.reports += 1
        self.streak = self.streak + 1 if zero else 0
        self.recent.append(zero)
        self.zeros += zero
        if len(self.recent) > window:
            self.zeros -= self.recent.popleft()

    def pass_over(self, reports: int, window: int) -> None:
        """The same of reports that are not zero, behind none that is."""
        self.reports += reports
        held = min(len(self.recent) + reports, window)
        self.recent = collections.deque(itertools.repeat(False, held))

    @property
    def lost(self) -> bool:
        """Of the whole run little or nothing but zeros is left."""
        lasting = self.streak >= LAST and self.streak >= MOST * self.reports
        return lasting or self.streak == self.reports

    @property
    def teeth(self) -> int:
        """Ends of a row of zeros among the recent reports."""
        return sum(was and not now for was, now in itertools.pairwise(self.recent))


class ZeroLoss(Detector[thresholds.ZeroLoss, _Stream]):
    """Judges the headline loss: a component may well be zero (a discriminator that starts late)."""

    rule = Rule.ZERO_LOSS
    feeds_on = ("losses",)

    def __init__(self, limits: thresholds.ZeroLoss, attempt: Attempt) -> None:
        super().__init__(limits, attempt)
        self._combed = False  # the finding speaks of a comb

    def feed(self, sample: StepSample) -> None:
        """Count zeros in a row per rank; any other loss on that rank starts over."""
        loss = sample.headline
        if loss is None:
            return
        key = (sample.source, sample.rank)
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = _Stream()
        stream.policy = stream.policy or _rewarded(sample)
        zero = sample.zero_loss and not stream.policy and not _acquitted(sample, stream)
        if zero and sample.turn == stream.last_turn:
            return  # the same report once more
        stream.last_turn, stream.last_step = sample.turn, sample.step
        stream.first_zero_step = stream.first_zero_step if stream.streak else sample.step
        stream.count(zero, COMB * self._limits.for_steps)
        stream.norm = sample.gradient_norm
        if not zero:
            stream.tiny = _printed_tiny(loss) if loss else stream.tiny
            if self.active:
                self._perhaps_heal(f"loss {loss:.6g} at step {sample.step}")
        elif stream.streak >= self._limits.for_steps and self._all_zero_now():
            self._convict(stream, sample.rank, "")
        if stream.zeros >= self._limits.for_steps:
            self._judge_comb(stream, sample)

    def pass_over(self, stretch: Stretch) -> bool:
        """No zero is among them; while one is in the window they are counted one by one."""
        stream = self._streams.get(stretch.stream)
        if stream is None or stream.zeros or self.active:
            return False
        stream.pass_over(len(stretch.reports) - 1, COMB * self._limits.for_steps)
        self.feed(stretch.last)
        return True

    def _judge_comb(self, stream: _Stream, sample: StepSample) -> None:
        """Half of the batches are lost: as many zeros as in a row would convict, with others between."""
        if self.active or not self._combs():
            return
        self._combed = True
        self._warn(
            f"loss exactly 0 in {stream.zeros} of the last {len(stream.recent)} reports up to step "
            f"{sample.step}, threshold {self._limits.for_steps}",
            step=sample.step,
            rank=sample.rank,
        )

    def _combs(self) -> bool:
        zeros, teeth = self._limits.for_steps, max(2, self._limits.for_steps // 4)
        return all(s.zeros >= zeros and s.teeth >= teeth for s in self._streams.values())

    def _perhaps_heal(self, evidence: str) -> None:
        """Any loss acquits of zeros in a row; a comb is gone when it has lost half of its teeth."""
        most = max(stream.zeros for stream in self._streams.values())
        if not self._combed or 2 * most <= self._limits.for_steps:
            self._combed = False
            self._heal(evidence)

    def finish(self, now: float, exit_code: int) -> None:
        """A short run: at least three reports in all, and every one exactly zero; or nearly all, up to the end."""
        streams = [(rank, s) for (_, rank), s in self._streams.items()]
        reports = sum(stream.reports for _, stream in streams)
        if exit_code == 0 and reports >= AT_EXIT and all(stream.lost for _, stream in streams):
            rank, longest = max(streams, key=lambda pair: pair[1].streak)
            self._convict(longest, rank, ", and the run has ended")

    def _all_zero_now(self) -> bool:
        """A pipeline's early stages report zero for ever; the stage that has the loss acquits them."""
        return all(stream.streak for stream in self._streams.values())

    def _convict(self, stream: _Stream, rank: int, end: str) -> None:
        evidence = (
            f"loss exactly 0 in {stream.streak} report(s) in a row, steps {stream.first_zero_step} to "
            f"{stream.last_step}, threshold {self._limits.for_steps}{end}"
        )
        self._exceed(
            evidence,
            self._limits.on_exceeded,
            step=stream.first_zero_step,
            rank=rank,
        )


def _printed_tiny(loss: float) -> bool:
    """Four decimals at the most, and next to nothing: what comes below it prints as 0.0000."""
    return abs(loss) <= TINY and round(loss, DECIMALS) == loss


def _rewarded(sample: StepSample) -> bool:
    """A policy that earns something, or earns differently within a group."""
    reward, spread = sample.reward, sample.reward_spread
    return (reward is not None and reward > 0.0) or (spread is not None and spread > 0.0)


def _acquitted(sample: StepSample, stream: _Stream) -> bool:
    """A witness says that 0.0 is no fault: a gradient that moves, or what a printer rounded.

    (So does a reward, for the whole run: the value of a policy-gradient objective says nothing, its advantages add up
    to 0 within a group, whatever its gradient.) A norm that is bit by bit that of the report before is no witness:
    gradients that nobody computes any more look so. Printers round to 4 digits: with any gradient, or after a tiny
    loss, 0.0 was not zero.
    """
    norm = sample.gradient_norm
    printed = sample.source is Source.STDOUT
    if norm is None:
        return printed and stream.tiny
    return norm > 0.0 and (printed or norm != stream.norm)
