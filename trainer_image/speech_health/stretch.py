"""Calm stretches of a recorded run: reports in a row of one kind, in which no number is out of the way.

Nearly all of a long run is such: its columns are looked at once, and each rule takes them at once where nothing of
its own is going on (`Detector.pass_over`), as if it had been fed one report after the other. Called by `replay`. Pure.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from speech_contract.values import Value, frozen
from speech_health.samples import Source, StepSample

LONGEST: Final = 128  # reports: short enough for a baseline to bound what its median can become
SHORTEST: Final = 4  # of fewer nothing is gained
# A report that carries anything else is judged by itself; the last two are what a sample keeps once it was asked.
_FIELDS: Final = frozenset((
    "time", "now", "rank", "step", "source", "losses", "gradient_norm", "learning_rate", "evaluation", "report",
    "form", "opens", "stands", "parts", "headline", "headline_name",
))  # fmt: skip


@frozen
class Stretch(Value):
    """Reports of one rank at rising steps: losses and norms finite, the headline and every norm other than 0."""

    reports: Sequence[StepSample]
    losses: Mapping[str, Sequence[float]]  # component → its values; empty where none is reported
    headline: Sequence[float]  # of them the one that stands for the run
    norms: Sequence[float]  # empty where none is reported
    rates: Sequence[float | None]

    @property
    def first(self) -> StepSample:
        """The report that it begins with."""
        return self.reports[0]

    @property
    def last(self) -> StepSample:
        """The newest one."""
        return self.reports[-1]

    @property
    def stream(self) -> tuple[Source, int]:
        """Whose reports they are."""
        return self.first.source, self.first.rank


def batches(samples: Iterable[StepSample]) -> Iterator[list[StepSample]]:
    """Samples in their order, cut where their kind changes or another run opens."""
    batch: list[StepSample] = []
    kind, scores = None, None
    for sample in samples:
        told = tuple(vars(sample))
        cut = told != kind or sample.opens or sample.evaluation is not scores
        if batch and (cut or len(batch) == LONGEST):
            yield batch
            batch = []
        kind, scores = told, sample.evaluation
        batch.append(sample)
    if batch:
        yield batch


def stretch_of(batch: Sequence[StepSample]) -> Stretch | None:
    """The columns of a batch; None where one of its reports has to be looked at by itself."""
    first = batch[0]
    if len(batch) < SHORTEST or not vars(first).keys() <= _FIELDS:
        return None
    steps = [sample.step for sample in batch]
    same = [(sample.rank, sample.source, sample.stands) for sample in batch]
    if not _rise(steps) or same.count(same[0]) != len(same):
        return None
    losses, norms = _losses(batch), _norms(batch)
    if losses is None or norms is None or not (losses or norms):
        return None
    name = first.headline_name
    headline = [] if name is None else losses[name]
    if 0.0 in headline:
        return None
    return Stretch(
        reports=batch,
        losses=losses,
        headline=headline,
        norms=norms,
        rates=[sample.learning_rate for sample in batch],
    )


def _losses(batch: Sequence[StepSample]) -> dict[str, list[float]] | None:
    """A column for each component; None where they differ or one is not finite."""
    told = [sample.losses for sample in batch]
    if told.count(None) == len(told):
        return {}
    names = tuple(told[0] or ())
    rows = [losses for losses in told if losses and tuple(losses) == names]
    if len(rows) != len(told):
        return None
    columns = {name: [losses[name] for losses in rows] for name in names}
    return columns if all(math.isfinite(sum(column)) for column in columns.values()) else None


def _rise(steps: Sequence[int]) -> bool:
    return all(map(operator.lt, steps, steps[1:]))


def _norms(batch: Sequence[StepSample]) -> list[float] | None:
    """The column of norms; None where some are missing, or one is not above 0 and finite."""
    told = [norm for sample in batch if (norm := sample.gradient_norm) is not None]
    if not told:
        return []
    sound = len(told) == len(batch) and math.isfinite(sum(told)) and min(told) > 0.0
    return told if sound else None
