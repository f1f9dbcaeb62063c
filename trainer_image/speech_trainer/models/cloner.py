"""A backbone with its loss as one module: what ranks wrap, and what a step calls. Called by `recipes.voice_cloning`.

Losses are taken inside of `forward`, where weights that are split over ranks are whole.
"""

from __future__ import annotations

from torch import Tensor, nn

from speech_trainer.data.sequences import Columns
from speech_trainer.losses.codes import CodeLosses, code_losses
from speech_trainer.models.backbone import Backbone


class Cloner(nn.Module):
    """Columns → losses, or logits for whoever looks."""

    def __init__(self, backbone: Backbone, z_weight: float) -> None:
        super().__init__()
        self.backbone, self._z_weight = backbone, z_weight

    def forward(self, columns: Columns, *, predict: bool = False) -> CodeLosses | Tensor:
        """Sums over all labels; `predict`: logits [P, Q, V] instead."""
        hidden = self.backbone(columns)
        if predict:
            return self.backbone.logits(hidden).float()
        return code_losses(hidden, self.backbone.head, columns.labels, self._z_weight)
