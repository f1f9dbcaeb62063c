"""Prompts and delayed codes as one sequence, and sequences as one padded batch. Called by `recipes.voice_cloning`.

A sequence has a text token or a row of codes at every place. A label stands where it is predicted *from*: the row at
place p + 1 is the label at p, so nothing is shifted later. Rows lie at their own place from the start; no step deals
them out over a batch, where a frame too many in one row would move its neighbours' frames.

Padding stands behind, so position ids are the places themselves, and causal attention needs no mask.
Shapes: B batch, L places, Q books, N rows of codes and M text tokens of a whole batch, P places that have labels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from collections.abc import Sequence as Several
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speech_trainer.data.delay import IGNORED, Grid


@dataclass(frozen=True)
class Piece:
    """A stretch of a sequence. `tokens`: of text, or the placeholders of `rows` [R, Q]. `learned`: its rows are labels.

    `reference`: rows of the voice that is to be spoken with.
    """

    tokens: Several[int]
    rows: Tensor | None = None
    learned: bool = False
    reference: bool = False

    def __post_init__(self) -> None:
        if self.rows is not None and self.rows.size(0) != len(self.tokens):
            raise ValueError(f"{self.rows.size(0)} rows for {len(self.tokens)} placeholders")


@dataclass(frozen=True)
class Sequence:
    """`tokens` [L]; `rows` [R, Q] at places `row_at` [R]; `labels` [L, Q]; `reference` [R], which rows are that."""

    tokens: Tensor
    rows: Tensor
    row_at: Tensor
    labels: Tensor
    reference: Tensor

    @property
    def length(self) -> int:
        """Places."""
        return self.tokens.numel()


@dataclass(frozen=True)
class Columns:
    """A padded batch as a model reads it. Places of all rows of the batch are numbered through, b · L + l.

    Where codes, text and labels lie was found on the host, so that nothing on the device has to be counted.
    """

    tokens: Tensor  # [B, L]
    rows: Tensor  # [N, Q]
    row_at: Tensor  # [N], ascending
    text_at: Tensor  # [M], ascending; padding is in neither
    label_at: Tensor  # [P], ascending: places that something is predicted from
    labels: Tensor  # [P, Q]
    reference: Tensor  # [N] bool

    def map(self, change: Callable[[Tensor], Tensor]) -> Columns:
        """Every tensor changed: moved, or pinned."""
        fields = dataclasses.fields(self)
        return dataclasses.replace(self, **{f.name: change(getattr(self, f.name)) for f in fields})


def lay(pieces: Several[Piece], grid: Grid) -> Sequence:
    """Pieces one behind the other, with the labels of those that are learned."""
    tokens = torch.tensor([token for piece in pieces for token in piece.tokens])
    labels = torch.full((tokens.numel() + 1, grid.books), IGNORED)
    rows, places, reference = [], [], []
    start = 0
    for piece in pieces:
        size = len(piece.tokens)
        if piece.rows is not None:
            rows.append(piece.rows)
            places.append(torch.arange(start, start + size))
            reference.append(torch.full((size,), piece.reference))
            if piece.learned:
                labels[start : start + size] = grid.learned(piece.rows)
        start += size
    return Sequence(
        tokens=tokens,
        rows=torch.cat([torch.empty(0, grid.books, dtype=torch.long), *rows]),
        row_at=torch.cat([torch.empty(0, dtype=torch.long), *places]),
        labels=labels[1:],  # the row at p + 1 is what p predicts; the first place is text
        reference=torch.cat([torch.empty(0, dtype=torch.bool), *reference]),
    )


def collate(sequences: Several[Sequence], padding: int) -> Columns:
    """Padded behind with the token `padding`."""
    tokens = pad_sequence([s.tokens for s in sequences], batch_first=True, padding_value=padding)
    labels = pad_sequence([s.labels for s in sequences], batch_first=True, padding_value=IGNORED)
    length = tokens.size(1)
    row_at = torch.cat([s.row_at + number * length for number, s in enumerate(sequences)])
    real = torch.arange(length)[None] < torch.tensor([s.length for s in sequences])[:, None]
    text = real.flatten()
    text[row_at] = False
    flat = labels.flatten(0, 1)
    label_at = (flat != IGNORED).any(dim=1).nonzero().squeeze(1)
    return Columns(
        tokens=tokens,
        rows=torch.cat([s.rows for s in sequences]),
        row_at=row_at,
        text_at=text.nonzero().squeeze(1),
        label_at=label_at,
        labels=flat[label_at],
        reference=torch.cat([s.reference for s in sequences]),
    )
