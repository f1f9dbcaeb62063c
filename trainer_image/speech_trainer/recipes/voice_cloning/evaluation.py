"""Held-out scores of a cloned voice, teacher-forced, beside trivial answers and the same model without its reference.

Scores: `cross_entropy` in nats a code over all labels (it tells which checkpoint is the best) and of each book,
`top1`, `eoc_accuracy` (ends that are predicted where they are), `eoc_false` (codes that are taken for an end), and what
the reference is worth: `swap_gain` and `mute_gain` are the nats a code that another voice's reference, or none, costs,
as a mean over recordings; `…_low` is the lower end of its 95 % interval. A gain whose low end is not above 0 is none.

Baselines: `chance`, `unigram`, `previous_frame` (`baselines`), and this model with `reference_swapped` and
`reference_muted`: a model that does not beat the first does not listen. Without a reference its words and its length
are gone too, which a model that can't hear it misses as well.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from speech_contract.scores import Better, ScoreSpec
from speech_trainer.data.delay import IGNORED, Grid
from speech_trainer.data.samples import usable
from speech_trainer.engine.recipe import Evaluation
from speech_trainer.models.cloner import Cloner
from speech_trainer.recipes.voice_cloning import references
from speech_trainer.recipes.voice_cloning.baselines import Scores, Trivial
from speech_trainer.recipes.voice_cloning.batch import Collate
from speech_trainer.recipes.voice_cloning.material import Material, Sample

BEST_SCORE: Final = "cross_entropy"
_TOGETHER: Final = 8  # recordings a forward pass
_COUNTED: Final = 512  # training recordings that the trivial answers know
_INTERVAL: Final = 1.96  # standard errors on either side: 95 %


@dataclass(frozen=True)
class Tally:
    """What was predicted, of labels [P, Q]: nats, right or wrong, taken for an end; and whose each place [P] is."""

    labels: Tensor
    nats: Tensor
    hits: Tensor
    ends: Tensor
    owner: Tensor

    @property
    def counted(self) -> Tensor:
        """[P, Q]"""
        return self.labels != IGNORED

    def by_recording(self) -> list[float]:
        """Nats a code of each recording."""
        count = int(self.owner.max()) + 1
        sums = torch.zeros(2, count, dtype=torch.float64)
        sums[0].index_add_(0, self.owner, (self.nats * self.counted).sum(dim=1).double())
        sums[1].index_add_(0, self.owner, self.counted.sum(dim=1).double())
        found: list[float] = (sums[0] / sums[1]).tolist()
        return found

    def scores(self, grid: Grid) -> Scores:
        """All of them, and each book's."""
        found = _means(self.nats, self.hits, self.counted)
        end = self.labels == grid.eoc
        found["eoc_accuracy"] = float(self.hits[end].float().mean())
        found["eoc_false"] = float(self.ends[self.counted & ~end].float().mean())
        for book in range(grid.books):
            own = _means(self.nats[:, book], self.hits[:, book], self.counted[:, book])
            found |= {f"{name}_q{book}": value for name, value in own.items()}
        return found


class Evaluator:
    """Holds the held-out recordings; called with a model as often as wanted."""

    def __init__(self, material: Material) -> None:
        self._material, self._collate = material, Collate(material)
        lines = material.held_out
        self.samples = usable(
            len(lines.utterances),
            material.settings.evaluation_samples,
            lambda index: material.load(lines, index),
        )

    def __call__(self, cloner: Cloner, device: torch.device) -> Evaluation:
        """Scores and baselines. Training mode is as before after it."""
        training = cloner.training
        cloner.eval()
        try:
            with torch.no_grad():
                return self._evaluate(cloner, device)
        finally:
            cloner.train(training)

    @cached_property
    def trivial(self) -> dict[str, Scores]:
        """What trivial answers score."""
        material, lines = self._material, self._material.training
        known = usable(
            len(lines.utterances),
            _COUNTED,
            lambda index: material.spoken(lines, lines.utterances[index]),
        )
        answers = Trivial(material.grid, [spoken.codes for spoken in known])
        return answers.scores([sample.spoken.codes for sample in self.samples])

    def _evaluate(self, cloner: Cloner, device: torch.device) -> Evaluation:
        if not self.samples:
            return Evaluation(scores={})
        own = self.tally(cloner, self.samples, device)
        scores, baselines = own.scores(self._material.grid), dict(self.trivial)
        variants = {
            "swap": references.swapped(self._material, self.samples),
            "mute": references.muted(self._material, self.samples),
        }
        for name, others in variants.items():
            pairs = [(s, other) for s, other in zip(self.samples, others, strict=True) if other]
            if len(pairs) < 2:
                continue
            changed = self.tally(cloner, [other for _, other in pairs], device)
            same = self.tally(cloner, [s for s, _ in pairs], device)
            baselines[_NAMES[name]] = _means(changed.nats, changed.hits, changed.counted)
            scores |= _gain(name, same.by_recording(), changed.by_recording())
        return Evaluation(scores, baselines, specs=specs(self._material.grid))

    def tally(self, cloner: Cloner, samples: Sequence[Sample], device: torch.device) -> Tally:
        """Every prediction of these recordings."""
        return _joined(self._tallies(cloner, samples, device))

    def _tallies(
        self, cloner: Cloner, samples: Sequence[Sample], device: torch.device
    ) -> Iterator[Tally]:
        for first in range(0, len(samples), _TOGETHER):
            batch = self._collate(samples[first : first + _TOGETHER]).to(device)
            logits = cloner(batch.columns, predict=True)
            assert isinstance(logits, Tensor)
            owner = batch.columns.label_at // batch.columns.tokens.size(1) + first
            yield tally_of(logits, batch.columns.labels, owner, self._material.grid)


_NAMES: Final = {"swap": "reference_swapped", "mute": "reference_muted"}


def specs(grid: Grid) -> dict[str, ScoreSpec]:
    """Which way each score gets better."""
    lower, higher = ScoreSpec(Better.LOWER), ScoreSpec(Better.HIGHER)
    nats = ScoreSpec(Better.LOWER, "nat/code")
    found = {"cross_entropy": nats, "top1": higher, "eoc_accuracy": higher, "eoc_false": lower}
    for book in range(grid.books):
        found |= {f"cross_entropy_q{book}": nats, f"top1_q{book}": higher}
    for name in _NAMES:
        gain = ScoreSpec(Better.HIGHER, "nat/code")
        found |= {f"{name}_gain": gain, f"{name}_gain_low": gain}
    return found


def _gain(name: str, own: Sequence[float], changed: Sequence[float]) -> Scores:
    costs = [b - a for a, b in zip(own, changed, strict=True)]
    return {f"{name}_gain": fmean(costs), f"{name}_gain_low": low_end(costs)}


def low_end(costs: Sequence[float]) -> float:
    """Of the 95 % interval of their mean; NaN for one alone."""
    if len(costs) < 2:
        return math.nan
    # Not `statistics.stdev`, which has no answer to a NaN and raises.
    error = float(torch.tensor(costs, dtype=torch.float64).std()) / math.sqrt(len(costs))
    return fmean(costs) - _INTERVAL * error


def _means(nats: Tensor, hits: Tensor, counted: Tensor) -> Scores:
    return {
        "cross_entropy": float(nats[counted].double().mean()),
        "top1": float(hits[counted].double().mean()),
    }


def tally_of(logits: Tensor, labels: Tensor, owner: Tensor, grid: Grid) -> Tally:
    """Of logits [P, Q, V] and labels [P, Q]; `owner` [P] numbers the recordings from 0."""
    nats = functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none"
    )
    said = logits.argmax(dim=-1)
    return Tally(
        labels.cpu(),
        nats.view_as(labels).cpu(),
        (said == labels).cpu(),
        (said == grid.eoc).cpu(),
        owner.cpu(),
    )


def _joined(tallies: Iterator[Tally]) -> Tally:
    parts = list(tallies)
    fields = [field.name for field in dataclasses.fields(Tally)]
    return Tally(**{name: torch.cat([getattr(part, name) for part in parts]) for name in fields})
