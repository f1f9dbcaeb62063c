"""What predictions depend on, measured: on nothing later than their place, and on the reference.

Called by the recipe's preflight, on every rank: a model that is split over ranks takes part with all of them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speech_trainer.data.sequences import Columns


@dataclass(frozen=True)
class Looks:
    """Largest change of a prediction, as a share of the spread of all. `reference` None: no row has one.

    `later`: when everything behind the middle label of each row of the batch is another; of what stands before it.
    `reference`: when the reference's codes are others.
    """

    later: float
    reference: float | None


@torch.no_grad()
def probe(model: nn.Module, columns: Columns) -> Looks:
    """Three forward passes. `columns` on the host."""
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    try:
        as_it_is = _predicted(model, columns, device)
        middles = _middles(columns)
        after = columns.row_at > middles[columns.row_at // columns.tokens.size(1)]
        before = columns.label_at <= middles[columns.label_at // columns.tokens.size(1)]
        other_future = _predicted(model, _changed(columns, after), device)
        other_voice = _predicted(model, _changed(columns, columns.reference), device)
    finally:
        model.train(training)
    spread = float(as_it_is.std().clamp_min(1e-12))
    later = float((other_future - as_it_is)[before].abs().max()) / spread
    voice = float((other_voice - as_it_is).abs().max()) / spread
    return Looks(later, voice if bool(columns.reference.any()) else None)


def _predicted(model: nn.Module, columns: Columns, device: torch.device) -> Tensor:
    logits: Tensor = model(columns.map(lambda t: t.to(device)), predict=True)
    return logits.cpu()


def _middles(columns: Columns) -> Tensor:
    """[B]: the middle of the places that something is predicted from, of each row of the batch."""
    length, count = columns.tokens.size(1), columns.tokens.size(0)
    owners = columns.label_at // length
    places = [columns.label_at[owners == number] for number in range(count)]
    return torch.stack([p[len(p) // 2] if len(p) else torch.tensor(0) for p in places])


def _changed(columns: Columns, which: Tensor) -> Columns:
    """Other codes in these rows; BOC and EOC stay what they are less often than not, and need not."""
    shifted = columns.rows.roll(1, dims=1)
    rows = torch.where(which[:, None], (shifted + 1) % (int(columns.rows.max()) + 1), columns.rows)
    return dataclasses.replace(columns, rows=rows)
