"""Rule NonFinite: a loss component or a gradient norm is not finite, or a zero loss hides that it is not.

Our engine gates bad updates itself and rolls back (`gated` samples): the rule then only tells. For anybody
else it ends the attempt once the budget is spent. A lone non-finite gradient beside a sound loss is what a
loss scaler's overflow looks like: it is mentioned, and counts only when the burst is longer than any
scaler needs to come down; beside a loss far beyond its own level it is an explosion. A held-out loss that is not
finite, while training is, is a warning.
"""

from __future__ import annotations

import collections
import dataclasses
import math

from speech_contract import thresholds
from speech_contract.exit_codes import EXIT_NON_FINITE
from speech_contract.findings import Action
from speech_contract.rules import Rule, Severity
from speech_contract.thresholds import HealthMode, OnExceeded
from speech_health.budget import Budget
from speech_health.detector import Attempt, Detector
from speech_health.evaluations import BadScores, Evaluations
from speech_health.median import median
from speech_health.samples import SKIP_SENTENCE, StepSample
from speech_health.stretch import Stretch

OVERFLOW_BURST = 19  # 2**16, the usual first scale, is halved to 1 in 16 steps
LEVEL, FEWEST = 25, 5  # losses whose median is the level, at most and at least
EXPLODED = 1e3  # times that level: no sound loss
EVALUATION_REMEDY = (
    "look at the held-out data (empty or fully masked labels give a mean over nothing), at the precision that "
    "evaluates, and at a division by zero in the score"
)


@dataclasses.dataclass(eq=False, repr=False)
class _Stream:
    """One rank as heard through one source. Counts in steps taken, which never go back."""

    budget: Budget
    gated: bool = False
    last_step: int | None = None
    taken: int = 0
    told: int = -1  # value of `taken` up to which the budget has heard
    known: int = 0  # bad steps so far
    seen_bad: int | None = None  # turn of the newest report, when its values were bad
    overflows: int = 0  # reports in a row with a bad gradient alone
    worded: bool = (
        False  # the newest of them was a sentence: between two the script may print nothing
    )
    overflow_turn: int | None = None
    rollbacks: int = 0
    last_bad: int | None = None  # value of `taken`
    losses: collections.deque[float] = dataclasses.field(
        default_factory=lambda: collections.deque(maxlen=LEVEL)
    )
    evaluations: Evaluations = dataclasses.field(default_factory=Evaluations)
    scores: BadScores = dataclasses.field(default_factory=BadScores)

    def advance(self, sample: StepSample) -> None:
        """Follow the step counter; after a roll-back it starts lower, and we go on counting."""
        last, self.last_step = self.last_step, sample.step
        if last is not None and sample.step != last:
            self.taken += max(1, sample.step - last)
        self.gated = sample.gated

    def count(self, sample: StepSample, bad_now: bool) -> bool:
        """Whether this report adds bad steps."""
        if bad_now and sample.turn == self.seen_bad:
            return False  # a progress bar drawn again
        row = bad_now and self.seen_bad is not None  # a reporter may count reports, not steps
        self.seen_bad = sample.turn if bad_now else None
        fresh = self._count_steps(sample.non_finite_steps, row)
        if bad_now or (sample.non_finite_steps is None and _shows_values(sample)):
            self._count_values(bad_now)
        if fresh or bad_now:
            self.last_bad = self.taken
        return fresh or bad_now

    def _count_steps(self, counter: int | None, row: bool) -> bool:
        """Bad steps by the rank's own counter. It trails by one step what the values show."""
        if counter is None:
            return False
        fresh = max(0, counter - self.known)
        steps = max(0, self.taken - 1 - self.told)
        self.budget.skip(steps)
        self.budget.take(fresh, 0 if row else steps)
        # More than trail: it speaks of this step already, as it does at a save.
        ahead = self.taken > 0 and fresh > steps
        self.told = max(self.told, self.taken if ahead else self.taken - 1)
        self.known += fresh
        return fresh > 0

    def _count_values(self, bad: bool) -> None:
        """The step of this report, by its values. Of steps in between nothing is known."""
        self.budget.skip(max(0, self.taken - self.told))
        self.budget.take(int(bad))
        self.told = self.taken
        self.known += bad

    def forgive(self, counter: int) -> None:
        """After a roll-back the budget is whole again."""
        self.budget.forgive()
        self.known, self.told = max(self.known, counter), self.taken - 1
        self.last_bad = self.taken


def _shows_values(sample: StepSample) -> bool:
    """The report carries values that would have shown a bad step."""
    return sample.losses is not None or sample.gradient_norm is not None


class NonFinite(Detector[thresholds.NonFinite, _Stream]):
    """Judges by the same `Budget` that our engine acts on."""

    rule = Rule.NON_FINITE

    def __init__(self, limits: thresholds.NonFinite, attempt: Attempt) -> None:
        super().__init__(limits, attempt)
        self._held_out = False  # the finding speaks of evaluations alone

    @property
    def bad_steps(self) -> int:
        """Counted so far, over all ranks."""
        return sum(stream.known for stream in self._streams.values())

    def feed(self, sample: StepSample) -> None:
        """Count bad steps from the values and from the rank's own counter; heal when they stay away."""
        key = (sample.source, sample.rank)
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = _Stream(Budget(self._limits))
        stream.advance(sample)
        rollbacks = sample.rollbacks or 0
        if rollbacks > stream.rollbacks:
            stream.rollbacks = rollbacks
            self._rolled_back(stream, sample)
        bad_now = self._bad_now(stream, sample)
        if stream.count(sample, bad_now):
            self._judge(stream, sample, bad_now)
        elif self.active and not self._held_out:
            self._perhaps_heal(sample)
        if sample.evaluation and stream.evaluations.fresh(sample):
            self._judge_scores(stream, sample.evaluation, sample)

    def pass_over(self, stretch: Stretch) -> bool:
        """Steps are counted by their numbers: the first and the last report say all."""
        if self.active:
            return False
        self.feed(stretch.first)
        self._streams[stretch.stream].losses.extend(stretch.headline[1:-1])
        self.feed(stretch.last)
        return True

    def finish(self, now: float, exit_code: int) -> None:
        """Exit 40 is the engine's own verdict; a run that ends on NaN has not completed."""
        if exit_code == EXIT_NON_FINITE:
            evidence = (
                self.finding.evidence if self.finding and self.active else "no report shows it"
            )
            evidence = f"the trainer ended with exit code {exit_code}: {evidence}"
            self._warn(evidence, severity=Severity.CRITICAL, action=Action.STOPPED)
            return
        ends_bad = [s for s in self._streams.values() if s.budget.in_a_row and not s.gated]
        if exit_code == 0 and ends_bad and self.finding is not None:
            worst = max(ends_bad, key=lambda stream: stream.budget.in_a_row)
            evidence = f"the run ended on {worst.budget.in_a_row} non-finite report(s): {self.finding.evidence}"
            self._stop(evidence, worst.last_step, self.finding.rank)

    def _bad_now(self, stream: _Stream, sample: StepSample) -> bool:
        if sample.bad_loss is not None:
            return True
        if not sample.bad_gradient:
            if sample.headline is not None:
                stream.losses.append(sample.headline)
            if sample.gradient_norm is not None or (stream.worded and sample.losses is not None):
                stream.overflows = 0
            return False
        if sample.gated or sample.non_finite_steps is not None:
            return True
        if sample.turn == stream.overflow_turn:
            return False  # the same line once more
        stream.overflow_turn = sample.turn
        if _exploded(stream, sample):
            return True
        stream.overflows, stream.worded = stream.overflows + 1, sample.form == SKIP_SENTENCE
        if stream.overflows > OVERFLOW_BURST:
            return True
        self._mention_overflow(stream, sample)
        return False

    def _mention_overflow(self, stream: _Stream, sample: StepSample) -> None:
        stream.last_bad = stream.taken if stream.last_bad is None else stream.last_bad
        if self.active and self.finding is not None and self.finding.severity is not Severity.INFO:
            return
        evidence = (
            f"gradient norm {sample.gradient_norm} beside a finite loss, {stream.overflows} report(s) in "
            f"a row up to step {sample.step}: a loss scaler's overflow, unless it lasts"
        )
        stream.last_bad, self._held_out = stream.taken, False
        self._warn(
            evidence,
            severity=Severity.INFO,
            action=Action.NONE,
            step=sample.step,
            rank=sample.rank,
        )

    def _judge(self, stream: _Stream, sample: StepSample, bad_now: bool) -> None:
        step = sample.step if bad_now or sample.bad_step is None else sample.bad_step
        what = f"{_what(sample, bad_now)}{_exploded(stream, sample) if bad_now else ''}"
        self._held_out = False
        evidence = f"{what} at step {step} on rank {sample.rank}; {stream.budget}"
        over = stream.budget.exceeded
        if sample.gated:
            self._tell(evidence, over, step, sample.rank)
        elif over:
            self._stop(evidence, step, sample.rank)
        else:
            self._warn(evidence, step=step, rank=sample.rank)

    def _tell(self, evidence: str, over: bool, step: int, rank: int) -> None:
        """The engine acts on these; say what it does, or in Notify what it would have done."""
        severity, action = Severity.WARNING, Action.GATED
        if over and self._limits.on_exceeded is not OnExceeded.WARN:
            severity = Severity.CRITICAL
            if self._mode is HealthMode.NOTIFY:
                rolls = self._limits.on_exceeded is OnExceeded.ROLLBACK
                action = Action.WOULD_ROLL_BACK if rolls else Action.WOULD_STOP
        self._warn(evidence, severity=severity, action=action, step=step, rank=rank)

    def _stop(self, evidence: str, step: int | None, rank: int | None) -> None:
        """A stranger's process can't be rolled back from outside: end it, the next attempt does that."""
        asked = self._limits.on_exceeded
        acted = OnExceeded.STOP if asked is OnExceeded.ROLLBACK else asked
        self._exceed(evidence, acted, step=step, rank=rank)

    def _rolled_back(self, stream: _Stream, sample: StepSample) -> None:
        stream.forgive(sample.non_finite_steps or 0)
        before = "non-finite steps"
        if self.finding is not None and self.active and not self._held_out:
            if self.finding.action is Action.ROLLED_BACK:
                return  # another rank told already
            before = self.finding.evidence
        self._held_out = False
        evidence = f"roll-back {stream.rollbacks} of at most {self._limits.max_rollbacks}: {before}"
        self._warn(
            evidence,
            action=Action.ROLLED_BACK,
            step=sample.bad_step or sample.step,
            rank=sample.rank,
        )

    def _judge_scores(self, stream: _Stream, scores: dict[str, float], sample: StepSample) -> None:
        """Training is judged first: what is not finite there is not finite anywhere."""
        stream.scores.take(scores, sample.step)
        worst = stream.scores.worst(self._limits.bad_evaluations)
        if worst is None:
            if self._held_out and self.active:
                self._heal(f"held-out scores are finite at step {sample.step}")
            return
        if self.active and not self._held_out:
            return
        name, row, since, sure = worst
        self._held_out = True
        self._warn(
            f"held-out {name!r} is not finite in {row} evaluations in a row since step {since}, while the "
            "training loss is finite",
            severity=Severity.WARNING if sure else Severity.INFO,
            action=Action.WARNED if sure else Action.NONE,
            step=since,
            rank=sample.rank,
            remedy=EVALUATION_REMEDY,
        )

    def _perhaps_heal(self, sample: StepSample) -> None:
        streams = self._streams.values()
        quiet = [s.taken - s.last_bad for s in streams if s.last_bad is not None]
        # Bad steps may have been told by stdout alone, before the reporter spoke.
        steps = min(quiet or [s.taken for s in streams])
        if steps >= self._limits.window_steps:
            self._heal(f"finite for {steps} steps up to step {sample.step}")


def _exploded(stream: _Stream, sample: StepSample) -> str:
    """How far the loss beside a bad gradient is beyond its level; empty when no further than a loss may be."""
    loss = sample.headline
    if not sample.bad_gradient or loss is None or len(stream.losses) < FEWEST:
        return ""
    level = median(map(abs, stream.losses))
    if level == 0.0 or not EXPLODED * level <= abs(loss) < math.inf:
        return ""
    times = abs(loss) / level
    return f" beside a loss of {loss:.3g}, {times:.2g} times its median: an explosion, no overflow of a scaler"


def _what(sample: StepSample, bad_now: bool) -> str:
    if sample.disguised:
        return "loss 0.0 beside gradient norm nan (a NaN in disguise)"
    component = sample.bad_loss
    if component is not None and sample.losses is not None:
        return f"loss {component!r} is {sample.losses[component]}{_where(sample)}"
    if bad_now:
        return f"gradient norm is {sample.gradient_norm}{_where(sample)}"
    named = f"loss {sample.bad_component!r}" if sample.bad_component else "loss or gradient"
    return f"{named} not finite{_where(sample)}"


def _where(sample: StepSample) -> str:
    return f" (first bad module: {sample.bad_module})" if sample.bad_module else ""
