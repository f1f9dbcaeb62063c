"""Low-rank updates beside frozen linear layers (Hu et al. 2021). Called by `recipes.voice_cloning.parts`.

Written here, not taken from peft: a merge that can be undone, on modules that stay where transformers looks for them,
is a page; and a table of codes that is the head as well stays one parameter, where peft's `modules_to_save` makes two.
Shapes: I inputs, O outputs, R rank.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class LoraSettings:
    """`alpha` / `rank` multiplies the update. `layers`: linear layers that get one, by the last part of their name."""

    rank: int = 16
    alpha: float = 32.0
    layers: tuple[str, ...] = (
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    )  # fmt: skip


class LoraLinear(nn.Module):
    """`base`, frozen, plus scale · up · down."""

    def __init__(self, base: nn.Linear, settings: LoraSettings) -> None:
        super().__init__()
        weight = base.weight
        self.base = base.requires_grad_(False)
        self.scale = settings.alpha / settings.rank
        self.down = nn.Parameter(weight.new_empty(settings.rank, base.in_features))
        self.up = nn.Parameter(weight.new_zeros(base.out_features, settings.rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5.0))

    def forward(self, x: Tensor) -> Tensor:
        """[…, I] → […, O]."""
        update = functional.linear(functional.linear(x, self.down), self.up)
        found: Tensor = self.base(x)
        return found + self.scale * update

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """A plain layer that computes the same."""
        base = self.base
        layer = nn.Linear(base.in_features, base.out_features, bias=base.bias is not None)
        layer = layer.to(base.weight.device, base.weight.dtype)
        layer.weight.copy_(base.weight + self.scale * self.up @ self.down)
        if base.bias is not None:
            layer.bias.copy_(base.bias)
        return layer


def adapt(model: nn.Module, settings: LoraSettings) -> None:
    """Put an update beside every layer that `settings` names, in place. Raises: ValueError when there is none."""
    chosen = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in settings.layers
    ]
    if not chosen:
        raise ValueError(f"no linear layer is named {', '.join(settings.layers)}")
    for name in chosen:
        _put(model, name, LoraLinear(_linear(model, name), settings))


def adapters(model: nn.Module) -> list[LoraLinear]:
    """Those that `adapt` put in."""
    return [module for module in model.modules() if isinstance(module, LoraLinear)]


@contextmanager
def merged(model: nn.Module) -> Iterator[None]:
    """The model with plain layers in place of its adapters, for an export."""
    own = {n: m for n, m in model.named_modules() if isinstance(m, LoraLinear)}
    for name, module in own.items():
        _put(model, name, module.merged())
    try:
        yield
    finally:
        for name, module in own.items():
            _put(model, name, module)


def frozen_names(model: nn.Module, trained: Collection[str]) -> Sequence[str]:
    """Parameters that are not meant to train: all but the adapters' and those named."""
    own = {
        f"{n}.{p}"
        for n, m in model.named_modules()
        if isinstance(m, LoraLinear)
        for p in ("down", "up")
    }
    return [name for name, _ in model.named_parameters() if name not in own and name not in trained]


def _linear(model: nn.Module, name: str) -> nn.Linear:
    found = model.get_submodule(name)
    assert isinstance(found, nn.Linear)
    return found


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    path, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(path), attribute, module)
