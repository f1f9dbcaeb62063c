"""What GAN recipes share: one step of the discriminators, and the generator's part that they judge. Called by recipes.

Losses are those of `losses.adversarial`; what a step says of them is named the same in every recipe.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor, nn

from speech_trainer.engine.recipe import unwrap
from speech_trainer.losses import adversarial as gan
from speech_trainer.modules.discriminators import Judgement

Terms = dict[str, Tensor]  # name of a loss → scalar, not yet weighted


class Weights(Protocol):
    """Of the generator's part."""

    @property
    def adversarial(self) -> float:
        """Of the scores."""
        ...

    @property
    def feature_matching(self) -> float:
        """Of the features."""
        ...


def discriminate(
    discriminator: nn.Module,
    real: Tensor,
    output: Tensor,
    weight: float,
    terms: Terms,
    cast: AbstractContextManager[object],
) -> list[Judgement]:
    """Backward of the discriminators over [B, 1, T] of both kinds; returns how they judge the recordings.

    One forward for both halves: DDP allows one forward per backward.
    """
    with cast:
        judgements: list[Judgement] = discriminator(torch.cat([real, output.detach()]))
    halves = [scores.chunk(2) for scores, _ in judgements]
    loss = gan.discriminator_loss([a for a, _ in halves], [b for _, b in halves])
    (loss * weight).backward()
    terms["discriminator/adversarial"] = loss
    return [
        (scores.detach().chunk(2)[0], [layer.detach().chunk(2)[0] for layer in features])
        for scores, features in judgements
    ]


def convince(
    discriminator: nn.Module,
    judged_real: list[Judgement],
    output: Tensor,
    terms: Terms,
    weights: Weights,
    cast: AbstractContextManager[object],
) -> Tensor:
    """The generator's adversarial part, through frozen and unwrapped discriminators, weighted."""
    frozen = unwrap(discriminator)
    frozen.requires_grad_(False)
    with cast:
        judgements: list[Judgement] = frozen(output)
    frozen.requires_grad_(True)
    adversarial = gan.adversarial_loss([scores for scores, _ in judgements])
    matching = gan.feature_matching_loss(judged_real, judgements)
    terms |= {"generator/adversarial": adversarial, "generator/feature_matching": matching}
    return weights.adversarial * adversarial + weights.feature_matching * matching
