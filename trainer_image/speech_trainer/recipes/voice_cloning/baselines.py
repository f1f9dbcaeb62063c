"""What answers score that know no text and no voice: chance, how often a code occurs, the code before.

Fitted on training data, scored on held-out data, in the units of the model's own scores. Called by
`recipes.voice_cloning.evaluation`. Shapes: Q books, F frames, V values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from speech_trainer.data.delay import IGNORED, Grid

Scores = dict[str, float]
_BEFORE_THE_FIRST = -1


class Trivial:
    """Counts of some recordings' codes."""

    def __init__(self, grid: Grid, recordings: Sequence[Tensor]) -> None:
        """`recordings`: codes [Q, F] each, at least one."""
        self._grid = grid
        labels, before = _chained(grid, recordings)
        counts = torch.stack([_histogram(book, grid.size) for book in labels])
        self._unigram = (counts + 1.0) / (counts + 1.0).sum(dim=1, keepdim=True)
        known = (labels != IGNORED) & (before != _BEFORE_THE_FIRST)
        copies = ((labels == before) & known).sum(dim=1)
        self._copied = (copies + 1.0) / (known.sum(dim=1) + 2.0)

    def scores(self, recordings: Sequence[Tensor]) -> dict[str, Scores]:
        """By name of the answer: nats a code, and how often it is right."""
        labels, before = _chained(self._grid, recordings)
        counted = labels != IGNORED
        shares = self._unigram.gather(1, labels.clamp_min(0))
        likeliest = self._unigram.argmax(dim=1, keepdim=True)
        first = before == _BEFORE_THE_FIRST
        copied = self._copied[:, None].masked_fill(first, 0.0)
        mixed = copied * (labels == before) + (1.0 - copied) * shares
        size = self._grid.size
        return {
            "chance": {"cross_entropy": math.log(size), "top1": 1.0 / size},
            "unigram": _told(shares, labels == likeliest, counted),
            "previous_frame": _told(mixed, labels == before, counted),
        }


def _told(shares: Tensor, hits: Tensor, counted: Tensor) -> Scores:
    return {
        "cross_entropy": float(-shares[counted].log().mean()),
        "top1": float(hits[counted].float().mean()),
    }


def _chained(grid: Grid, recordings: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Labels [Q, n] of all recordings, each with its EOC where its book learns one, and the label before each."""
    labels, before = [], []
    for codes in recordings:
        ends = torch.full((grid.books, 1), grid.eoc)
        if not grid.framed:
            ends[-1] = IGNORED
        labels.append(torch.cat([codes, ends], dim=1))
        before.append(functional.pad(codes, (1, 0), value=_BEFORE_THE_FIRST))
    return torch.cat(labels, dim=1), torch.cat(before, dim=1)


def _histogram(book: Tensor, size: int) -> Tensor:
    return torch.bincount(book[book != IGNORED], minlength=size).double()
