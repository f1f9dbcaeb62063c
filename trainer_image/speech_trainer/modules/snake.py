"""Snake, the periodic activation of neural vocoders and codecs (Ziyin et al. 2020). Called by `models.codec`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_FLOOR = 1e-9  # as in transformers' DacModel: keeps 1/alpha finite


class Snake(nn.Module):
    """x + sin²(αx)/α for x [B, C, T], one α per channel; the parameter is named and shaped as in `DacModel`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, C, T] → [B, C, T]."""
        found: Tensor = _Snake.apply(hidden, self.alpha)  # type: ignore[no-untyped-call]
        return found


class _Snake(torch.autograd.Function):
    """Keeps its input alone for the backward pass; autograd would keep four tensors of that size."""

    @staticmethod
    def forward(context: Any, hidden: Tensor, alpha: Tensor) -> Tensor:
        context.save_for_backward(hidden, alpha)
        wave = torch.sin(alpha.to(hidden.dtype) * hidden)
        return torch.addcmul(hidden, wave.square_(), (alpha + _FLOOR).reciprocal().to(hidden.dtype))

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        hidden, alpha = context.saved_tensors
        narrow = alpha.to(hidden.dtype)
        inverse = (narrow + _FLOOR).reciprocal()
        angle = narrow * hidden
        double = torch.sin(2.0 * angle)
        of_alpha = (
            (hidden * double).mul_(inverse).sub_(torch.sin(angle).square_().mul_(inverse.square()))
        )
        own = of_alpha.mul_(gradient).sum(dim=(0, 2), dtype=torch.float32).reshape_as(alpha)
        return torch.addcmul(gradient, double.mul_(gradient), narrow * inverse), own.to(alpha.dtype)
