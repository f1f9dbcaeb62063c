"""Cross-entropy of several books at once, a chunk of places at a time. Called by `recipes.voice_cloning`.

Logits of all places in float32 are the largest tensor of such a model by far (8 · 1,026 of them a place). Here those
of one chunk live at a time: its loss and its gradient are taken while they are there, and dropped with them, as
Liger-Kernel's fused linear cross-entropy does (Hsu et al. 2024). Shapes: P places, D channels, Q books, V values.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from speech_trainer.data.delay import IGNORED

CHUNK: Final = 512  # places: 17 MB of logits for 8 books of 1,026


class CodeLosses(NamedTuple):
    """`total`: all labels' cross-entropy, and z-loss, added up; the one with a gradient. `books` [Q]: of each book,
    without z-loss. `z`: the z-loss before its weight."""

    total: Tensor
    books: Tensor
    z: Tensor


def code_losses(hidden: Tensor, head: Tensor, labels: Tensor, z_weight: float = 0.0) -> CodeLosses:
    """Sums over all labels [P, Q] that are not IGNORED, of hidden [P, D] and a head [Q · V, D].

    z-loss (Chowdhery et al. 2022) is the square of the log of what softmax divides by: it keeps logits from drifting.
    """
    total, books, z = _Fused.apply(hidden, head, labels, z_weight)  # type: ignore[no-untyped-call]
    return CodeLosses(total, books, z)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, labels: Tensor, z_weight: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        wanted = any(ctx.needs_input_grad[:2])
        # What autocast would make of a linear layer; its gradients are added up in float32.
        kind = torch.get_autocast_dtype(hidden.device.type)
        lower = kind if torch.is_autocast_enabled(hidden.device.type) else head.dtype
        with torch.autocast(hidden.device.type, enabled=False):
            inputs, weight = hidden.detach().to(lower), head.detach().to(lower)
            of_hidden = torch.zeros_like(hidden) if wanted else None
            of_head = torch.zeros_like(head) if wanted else None
            books = hidden.new_zeros(labels.size(1), dtype=_exact(hidden))
            z = hidden.new_zeros((), dtype=_exact(hidden))
            for first in range(0, hidden.size(0), CHUNK):
                part = slice(first, first + CHUNK)
                logits = functional.linear(inputs[part], weight).to(_exact(hidden))
                logits = logits.unflatten(1, (labels.size(1), -1))
                book, square = _chunk(logits, labels[part], z_weight)
                books += book
                z += square
                if of_hidden is not None and of_head is not None:
                    slope = logits.flatten(1).to(lower)  # `_chunk` left the gradient there
                    of_hidden[part] = slope @ weight
                    of_head += slope.T @ inputs[part]
        ctx.save_for_backward(of_hidden, of_head)
        ctx.mark_non_differentiable(books, z)
        return books.sum() + z_weight * z, books, z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_total: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, None, None]:
        of_hidden, of_head = ctx.saved_tensors
        return (
            of_total.to(of_hidden.dtype) * of_hidden,
            of_total.to(of_head.dtype) * of_head,
            None,
            None,
        )


def _exact(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


def _chunk(logits: Tensor, labels: Tensor, z_weight: float) -> tuple[Tensor, Tensor]:
    """Losses [Q] and the sum of squares; `logits` [P, Q, V] becomes the gradient of the weighted sum of both."""
    counted = labels != IGNORED
    chosen = labels.clamp_min(0)[..., None]
    norm = torch.logsumexp(logits, dim=-1, keepdim=True)
    losses = (norm - logits.gather(-1, chosen)).squeeze(-1) * counted
    squares = norm.squeeze(-1).square() * counted
    logits.sub_(norm).exp_().mul_(1.0 + 2.0 * z_weight * norm)
    logits.scatter_add_(-1, chosen, logits.new_full((), -1.0).expand_as(chosen))
    logits.mul_(counted[..., None])
    return losses.sum(dim=0), squares.sum()
