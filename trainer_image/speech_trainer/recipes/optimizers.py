"""What recipes share: AdamW that the engine can gate, with a warm-up and a cosine. Called by recipes' builders."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from speech_trainer.engine.recipe import OptimizerPlan


@dataclass(frozen=True)
class AdamSettings:
    """AdamW (Loshchilov and Hutter, 2019) and the shape of its rate."""

    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.01
    clip_norm: float | None = None  # None: no clipping
    warmup_steps: int = 1  # updates; linear
    final_learning_rate_share: float = 0.05  # cosine from 1 down to this at the last update


class Shape(Protocol):
    """What settings of a recipe say of its optimizers."""

    @property
    def betas(self) -> tuple[float, float]:
        """Of both moving averages."""
        ...

    @property
    def weight_decay(self) -> float:
        """Decoupled."""
        ...

    @property
    def clip_norm(self) -> float | None:
        """Of the gradient; None: no clipping."""
        ...

    @property
    def warmup_steps(self) -> int:
        """Updates."""
        ...

    @property
    def final_learning_rate_share(self) -> float:
        """Of the peak, at the last update."""
        ...


def adam_of(settings: Shape, epsilon: float = AdamSettings.epsilon) -> AdamSettings:
    """AdamW as a recipe's settings have it."""
    return AdamSettings(
        betas=settings.betas,
        epsilon=epsilon,
        weight_decay=settings.weight_decay,
        clip_norm=settings.clip_norm,
        warmup_steps=settings.warmup_steps,
        final_learning_rate_share=settings.final_learning_rate_share,
    )


def adamw_plan(
    modules: Mapping[str, nn.Module],
    learning_rate: float,
    updates: int,
    settings: AdamSettings,
    active_from: int = 1,
) -> OptimizerPlan:
    """One optimizer over every trainable parameter of `modules`. `updates`: where the cosine ends."""
    parameters = [p for module in modules.values() for p in module.parameters() if p.requires_grad]
    optimizer = AdamW(
        parameters,
        lr=learning_rate,
        betas=settings.betas,
        eps=settings.epsilon,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    warmup, floor = settings.warmup_steps, settings.final_learning_rate_share
    schedule = LambdaLR(optimizer, lambda update: rate_share(update, updates, warmup, floor))
    return OptimizerPlan(
        optimizer, dict(modules), schedule, clip_norm=settings.clip_norm, active_from=active_from
    )


def rate_share(update: int, updates: int, warmup_steps: int, floor: float) -> float:
    """Share of the learning rate at an update (from 0): linear warm-up, then a cosine down to `floor`."""
    warmup = min(1.0, (update + 1) / warmup_steps)
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, update / updates)))
    return warmup * (floor + (1.0 - floor) * cosine)
