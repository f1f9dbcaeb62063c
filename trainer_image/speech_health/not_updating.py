"""Rule NotUpdating: checkpoints are bit-identical although updates were committed between them.

The mark of an optimizer that does not hold the model's parameters, of weights too coarse for their rate, or of a
copy that is trained while the original is saved. Modules that are frozen or whose rate was 0 are not compared.
A plan whose learning rates add up to next to nothing is told at its start: an update of Adam moves a weight by
about its rate at most. Later: a rate that is 0 while steps go on, and a held-out loss that is the same to the bit.
"""

from __future__ import annotations

import dataclasses

from speech_contract import thresholds
from speech_contract.report import Plan, Weights
from speech_contract.rules import Rule, Severity
from speech_health.detector import Attempt, Detector
from speech_health.evaluations import Evaluations, HeldLosses
from speech_health.samples import StepSample
from speech_health.stretch import Stretch
from speech_health.zero_rate import ZeroRate

ADAPTED = 0.01  # of minRateSum: a pretrained model has little way to go
SHORTEST = 200  # steps: a shorter run is a trial, and nobody expects it to learn
NAMED = 8  # modules in a sentence
RATE_REMEDY = (
    "make the schedule as long as the training, step it after each update, or end the run: at a learning rate of 0 "
    "nothing is learned"
)


@dataclasses.dataclass(eq=False, repr=False)
class _Stream:
    """One rank's comparisons, rates and evaluations."""

    newest: int | None = None  # step of the newest comparison
    still: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    # module → updates over which nothing changed, and the step from which on
    rate: ZeroRate = dataclasses.field(default_factory=ZeroRate)
    evaluations: Evaluations = dataclasses.field(default_factory=Evaluations)
    held: HeldLosses = dataclasses.field(default_factory=HeldLosses)


class NotUpdating(Detector[thresholds.NotUpdating, _Stream]):
    """All modules still: `onExceeded`. Some of them: a warning that names them; so is all else."""

    rule = Rule.NOT_UPDATING
    feeds_on = ("plan", "weights", "learning_rate", "evaluation")

    def __init__(self, limits: thresholds.NotUpdating, attempt: Attempt) -> None:
        super().__init__(limits, attempt)
        self._min_rate_sum = float(limits.min_rate_sum)
        self._planned = ""  # what is wrong with the plan
        self._still: dict[str, str] = {}  # what else is told, by its kind

    def feed(self, sample: StepSample) -> None:
        """Take a rate, an evaluation, a plan or a comparison; most reports have the first alone."""
        key = (sample.source, sample.rank)
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = _Stream()
        rate, known = sample.learning_rate, stream.rate
        if rate and not known.zeros:
            known.rates.append(rate)  # nearly every report
        elif rate is not None:
            known.take(sample, rate)
            self._feed_rate(stream, sample)
        if sample.evaluation and stream.evaluations.fresh(sample):
            self._feed_evaluation(stream, sample.evaluation, sample)
        if sample.plan is not None:
            self._feed_plan(sample.plan, sample)
        weights = sample.weights
        if weights is not None and weights.step != stream.newest and weights.updates > 0:
            stream.newest = weights.step
            self._feed_weights(stream, weights, sample)

    def pass_over(self, stretch: Stretch) -> bool:
        """Rates above 0 are kept; nothing else of them is looked at."""
        stream, scores = self._streams.get(stretch.stream), stretch.first.evaluation
        if stream is None or stream.rate.zeros or 0.0 in stretch.rates:
            return False
        if scores and scores is not stream.evaluations.scores:
            return False
        stream.rate.rates.extend(rate for rate in stretch.rates if rate is not None)
        return True

    def _feed_rate(self, stream: _Stream, sample: StepSample) -> None:
        rate, limit = stream.rate, self._limits.zero_rate_reports
        if rate.ended(limit):
            planned = sample.total_steps or self._pace.planned
            over = planned is not None and sample.step > planned
            self._tell(
                "rate",
                f"learning rate exactly 0 in {rate.zeros} reports in a row since step {rate.since}"
                f"{', after it was above 0' if rate.began else ', and never above'}"
                f"{f', {planned} planned steps are over' if over else ''}; threshold {limit}",
                rate.since,
                sample,
                RATE_REMEDY,
            )
        elif not rate.zeros or rate.refuted:
            how = "the loss falls" if rate.zeros else f"learning rate {sample.learning_rate:.3g}"
            self._untell("rate", how, sample)

    def _feed_evaluation(
        self, stream: _Stream, scores: dict[str, float], sample: StepSample
    ) -> None:
        """A model that is trained gives another loss, if only in its last digits."""
        if stream.rate.zeros:
            stream.held.clear()
            return
        stream.held.take(scores, sample.step)
        for name, value, since, times in stream.held.still(self._limits.equal_evaluations):
            self._tell(
                "evaluation",
                f"held-out {name!r} is exactly {value!r} in {times} evaluations in a row, steps {since} to "
                f"{sample.step}: what is evaluated is not what is trained, or its weights do not move",
                since,
                sample,
            )
            return
        self._untell("evaluation", "held-out losses move again", sample)

    def _tell(
        self, kind: str, evidence: str, since: int, sample: StepSample, remedy: str = ""
    ) -> None:
        """Warn, unless the weights themselves were found to stand still. What is wrong with the plan is said first."""
        self._still[kind] = evidence
        evidence = f"{self._planned}; {evidence}" if self._planned else evidence
        grave = (
            self.active
            and self.finding is not None
            and self.finding.severity is not Severity.WARNING
        )
        if not grave:
            self._warn(evidence, step=since, rank=sample.rank, remedy=remedy)

    def _untell(self, kind: str, how: str, sample: StepSample) -> None:
        if self._still.pop(kind, "") and not any(stream.still for stream in self._streams.values()):
            self._settle(f"{how} at step {sample.step}", sample)

    def _settle(self, how: str, sample: StepSample) -> None:
        """Something is over: say what is left of the rest, else heal."""
        left = [text for text in (self._planned, *self._still.values()) if text]
        if left:
            self._warn("; ".join(left), step=sample.step, rank=sample.rank)
        else:
            self._heal(how)

    def _feed_plan(self, plan: Plan, sample: StepSample) -> None:
        total, rates = plan.total_steps, plan.rate_sum
        limit = self._min_rate_sum * (1.0 if plan.fresh else ADAPTED)
        self._planned = ""
        if total is None or rates is None or total < SHORTEST or not 0.0 <= rates < limit:
            return
        self._planned = (
            f"the planned learning rates add up to {rates:.2g} over {total} steps, threshold {limit:.2g}"
            f"{'' if plan.fresh else ' for a pretrained model'}: no weight can move further than about that"
        )
        if not self.active:
            self._warn(self._planned, step=sample.step, rank=sample.rank)

    def _feed_weights(self, stream: _Stream, weights: Weights, sample: StepSample) -> None:
        still = {name for name, share in weights.unchanged.items() if share >= 1.0}
        stream.still = {
            name: (before[0] + weights.updates, before[1])
            for name in still
            for before in [stream.still.get(name, (0, weights.since))]
        }
        long = [n for n, (number, _) in stream.still.items() if number >= self._limits.min_updates]
        if not long:
            if not still and not any(other.still for other in self._streams.values()):
                self._settle(f"every module moved by step {weights.step}", sample)
            return
        updates = max(stream.still[name][0] for name in long)
        since = min(stream.still[name][1] for name in long)
        told = f"over {updates} updates, from step {since} to {weights.step}"
        if len(long) == len(weights.unchanged):
            evidence = f"every weight is bit-identical {told}{_rates(weights)}"
            self._exceed(evidence, self._limits.on_exceeded, step=since, rank=sample.rank)
        else:
            evidence = (
                f"{len(long)} of {len(weights.unchanged)} modules are bit-identical {told}: "
                f"{_names(long)}"
            )
            self._warn(evidence, step=since, rank=sample.rank)


def _rates(weights: Weights) -> str:
    if weights.rate_sum is None:
        return ""
    return f", with learning rates that add up to {weights.rate_sum:.2g}"


def _names(modules: list[str]) -> str:
    shown, rest = sorted(modules)[:NAMED], len(modules) - NAMED
    return ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")
