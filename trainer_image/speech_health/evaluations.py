"""Which reports bring a new evaluation, and what two of them say. Used by rules that judge held-out scores. Pure.

A reporter repeats the newest scores in every report, a file holds each evaluation once. Where both give the same
values again, a file says so (`evaluated`), and a live run by a report from its evaluation phase at another step.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator
from typing import Final

from speech_contract.phases import Phase
from speech_health.digits import exact
from speech_health.samples import StepSample

# Continuous: an accuracy counts, a perplexity is cut off at a bound, and the same value comes again.
_LOSS: Final = re.compile(r"loss|cross[_ -]?entropy|(^|[^a-z])nll([^a-z]|$)", re.IGNORECASE)


def is_loss(name: str) -> bool:
    """The score is a loss, by its name."""
    return bool(_LOSS.search(name))


def same(one: dict[str, float], other: dict[str, float]) -> bool:
    """Equal to the bit; NaN equals NaN."""
    return one.keys() == other.keys() and all(
        value == other[name] or (value != value and other[name] != other[name])
        for name, value in one.items()
    )


@dataclasses.dataclass(eq=False, repr=False)
class Evaluations:
    """One rank's, one after the other."""

    step: int | None = None  # of the newest
    scores: dict[str, float] | None = None

    def fresh(self, sample: StepSample) -> bool:
        """The report brings an evaluation that was not seen before."""
        scores, before = sample.evaluation, self.scores
        if not scores:
            return False
        if not sample.evaluated and before is not None:
            # An evaluation phase at the same step is the last one once more, as at the end of a run.
            again = sample.phase is Phase.EVALUATION and sample.step != self.step
            if not again and (scores is before or same(scores, before)):
                return False
        self.step, self.scores = sample.step, scores
        return True


@dataclasses.dataclass(eq=False, repr=False)
class _Held:
    value: float
    since: int
    times: int = 1


class HeldLosses:
    """Held-out losses of one rank that do not move by a bit."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}

    def take(self, scores: dict[str, float], step: int) -> None:
        """The next evaluation."""
        for name, value in scores.items():
            held = self._held.get(name)
            if held is not None and held.value == value:
                held.times += 1
            elif is_loss(name):
                self._held[name] = _Held(value, step)

    def clear(self) -> None:
        """Nothing was trained: what comes next is another series."""
        self._held.clear()

    def still(self, evaluations: int) -> Iterator[tuple[str, float, int, int]]:
        """Name, value, first step and number of those that repeat an exact value as often."""
        for name, held in self._held.items():
            if held.times >= evaluations and exact(held.value):
                yield name, held.value, held.since, held.times


@dataclasses.dataclass(eq=False, repr=False)
class _Bad:
    row: int = 0
    finite: bool = False  # it was once
    since: int = 0


class BadScores:
    """Held-out scores of one rank that are not finite."""

    def __init__(self) -> None:
        self._scores: dict[str, _Bad] = {}

    def take(self, scores: dict[str, float], step: int) -> None:
        """The next evaluation."""
        for name, value in scores.items():
            bad = self._scores.setdefault(name, _Bad())
            if math.isfinite(value):
                bad.row, bad.finite = 0, True
            else:
                bad.since = bad.since if bad.row else step
                bad.row += 1

    def worst(self, evaluations: int) -> tuple[str, int, int, bool] | None:
        """Name, length and first step of a row of `evaluations` or more, and whether it is a fault for sure.

        A loss is, and what was finite before; a score that never was may not be defined (or exceed all bounds).
        """
        rows = [
            (name, bad.row, bad.since, bad.finite or is_loss(name))
            for name, bad in self._scores.items()
            if bad.row >= evaluations
        ]
        return max(rows, key=lambda row: (row[3], row[1]), default=None)
