"""What predictions depend on, measured: on nothing later than their place, on the reference, on a code's book.

Called by `inputs`, on every rank: a model that is split over ranks takes part with all of them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from speech_trainer.data.sequences import Columns
from speech_trainer.models.backbone import Backbone


@dataclass(frozen=True)
class Looks:
    """Largest change of a prediction, as a share of the spread of all. `reference` None: no row has one.

    `later`: when everything behind the middle label of each row of the batch is another; of what stands before it.
    `reference`: when the reference's codes are others. `apart`: when a row has EOC and code 0 instead of BOC and code 1
    in its first two books; a table whose books lie two rows too close adds up the same for both. None: one book.
    """

    later: float
    reference: float | None
    apart: float | None


@torch.no_grad()
def probe(model: nn.Module, columns: Columns) -> Looks:
    """Five forward passes, three of a model with one book, on every rank alike. `columns` on the host."""
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
        at = torch.isin(columns.row_at, middles)
        twins = [_predicted(model, one, device) for one in _taken_for_each_other(columns, at)]
    finally:
        model.train(training)
    spread = float(as_it_is.std().clamp_min(1e-12))
    later = float((other_future - as_it_is)[before].abs().max()) / spread
    voice = float((other_voice - as_it_is).abs().max()) / spread
    apart = float((twins[0] - twins[1]).abs().max()) / spread if twins and at.any() else None
    return Looks(later, voice if bool(columns.reference.any()) else None, apart)


def read_gradient(backbone: Backbone, columns: Columns) -> float | None:
    """Norm of the table's gradient by way of the rows that are read; None where the table is split or frozen."""
    table = backbone.table.weight
    if isinstance(table, DTensor) or not table.requires_grad:
        return None
    columns = columns.map(lambda t: t.to(table.device))
    embedded = backbone.embed(columns).flatten(0, 1).index_select(0, columns.row_at)
    if not embedded.requires_grad:
        return 0.0
    (found,) = torch.autograd.grad(embedded.float().square().sum(), table, materialize_grads=True)
    return float(found.norm())


def _predicted(model: nn.Module, columns: Columns, device: torch.device) -> Tensor:
    logits: Tensor = model(columns.map(lambda t: t.to(device)), predict=True)
    return logits.cpu()


def _middles(columns: Columns) -> Tensor:
    """[B]: the middle of the places that something is predicted from, of each row of the batch."""
    length, count = columns.tokens.size(1), columns.tokens.size(0)
    owners = columns.label_at // length
    places = [columns.label_at[owners == number] for number in range(count)]
    return torch.stack([p[len(p) // 2] if len(p) else torch.tensor(0) for p in places])


def _taken_for_each_other(columns: Columns, which: Tensor) -> list[Columns]:
    """Two batches that differ where a table with its books too close can't tell; none of one book alone."""
    if columns.rows.size(1) < 2:
        return []
    eoc = int(columns.rows.max())  # a row of it ends every recording, and BOC is the value before
    found = []
    for first, second in ((eoc, 0), (eoc - 1, 1)):
        rows = columns.rows.clone()
        rows[which, 0], rows[which, 1] = first, second
        found.append(dataclasses.replace(columns, rows=rows))
    return found


def _changed(columns: Columns, which: Tensor) -> Columns:
    """Other codes in these rows; BOC and EOC stay what they are less often than not, and need not."""
    shifted = columns.rows.roll(1, dims=1)
    rows = torch.where(which[:, None], (shifted + 1) % (int(columns.rows.max()) + 1), columns.rows)
    return dataclasses.replace(columns, rows=rows)
