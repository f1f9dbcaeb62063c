"""Attention weights of a transformers model, for looking at. Called by backbones, outside of training.

Under `sdpa` weights are never made, and asking for them gives an empty list; here the model computes by plain matrix
products for one call.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


@torch.no_grad()
def attention_of(model: PreTrainedModel, forward: Callable[[], object]) -> list[Tensor]:
    """Weights [B, heads, L, L] of each layer during `forward`."""
    found: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, outputs: tuple[Tensor, Tensor]) -> None:
        found.append(outputs[1].detach())

    before, training = model.config._attn_implementation, model.training
    hooks = [m.register_forward_hook(keep) for n, m in model.named_modules() if _attends(n)]
    try:
        model.set_attn_implementation("eager")
        model.eval()
        forward()
    finally:
        model.set_attn_implementation(before)
        model.train(training)
        for hook in hooks:
            hook.remove()
    return found


def _attends(name: str) -> bool:
    return name.rpartition(".")[2] == "self_attn"
