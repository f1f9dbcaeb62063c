"""Rule NotUpdating: checkpoints are bit-identical although updates were committed between them.

The mark of an optimizer that does not hold the model's parameters, of weights too coarse for their rate, or of a
copy that is trained while the original is saved. Modules that are frozen or whose rate was 0 are not compared.
A plan whose learning rates add up to next to nothing is told at its start: an update of Adam moves a weight by
about its rate at most.
"""

from __future__ import annotations

import dataclasses

from speech_contract import thresholds
from speech_contract.rules import Rule
from speech_contract.wire import Plan, Weights
from speech_health.detector import Attempt, Detector
from speech_health.samples import StepSample

ADAPTED = 0.01  # of minRateSum: a pretrained model has little way to go
SHORTEST = 200  # steps: a shorter run is a trial, and nobody expects it to learn
NAMED = 8  # modules in a sentence


@dataclasses.dataclass
class _Stream:
    """One rank's comparisons."""

    newest: int | None = None  # step of the newest comparison
    still: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    # module → updates over which nothing changed, and the step from which on


class NotUpdating(Detector[thresholds.NotUpdating, _Stream]):
    """All modules still: `onExceeded`. Some of them: a warning that names them."""

    rule = Rule.NOT_UPDATING
    feeds_on = ("plan", "weights")

    def __init__(self, limits: thresholds.NotUpdating, attempt: Attempt) -> None:
        super().__init__(limits, attempt)
        self._min_rate_sum = float(limits.min_rate_sum)
        self._planned = ""  # what is wrong with the plan

    def feed(self, sample: StepSample) -> None:
        """Take a plan or a comparison; most reports have neither."""
        if sample.plan is not None:
            self._feed_plan(sample.plan, sample)
        if sample.weights is not None:
            stream = self._streams.setdefault((sample.source, sample.rank), _Stream())
            if sample.weights.step != stream.newest and sample.weights.updates > 0:
                stream.newest = sample.weights.step
                self._feed_weights(stream, sample.weights, sample)

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
                self._moved(weights, sample)
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

    def _moved(self, weights: Weights, sample: StepSample) -> None:
        """Every module moved; what is wrong with the plan still is."""
        if self._planned:
            self._warn(self._planned, step=sample.step, rank=sample.rank)
        else:
            self._heal(f"every module moved by step {weights.step}")


def _rates(weights: Weights) -> str:
    if weights.rate_sum is None:
        return ""
    return f", with learning rates that add up to {weights.rate_sum:.2g}"


def _names(modules: list[str]) -> str:
    shown, rest = sorted(modules)[:NAMED], len(modules) - NAMED
    return ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")
