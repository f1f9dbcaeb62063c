"""Least-squares GAN losses (Mao et al. 2017) and feature matching, each a scalar in float32. Called by GAN recipes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from speech_trainer.modules.discriminators import Judgement


def discriminator_loss(real: Sequence[Tensor], generated: Sequence[Tensor]) -> Tensor:
    """Least squares: scores of recordings towards 1, of generated speech towards 0."""
    terms = [
        (1.0 - r.float()).square().mean() + g.float().square().mean()
        for r, g in zip(real, generated, strict=True)
    ]
    return torch.stack(terms).sum()


def adversarial_loss(generated: Sequence[Tensor]) -> Tensor:
    """Least squares: the generator wants its scores to be 1."""
    return torch.stack([(1.0 - g.float()).square().mean() for g in generated]).sum()


def feature_matching_loss(real: Sequence[Judgement], generated: Sequence[Judgement]) -> Tensor:
    """Mean absolute difference of every layer's features, summed over layers and discriminators."""
    terms = [
        (a.detach().float() - b.float()).abs().mean()
        for (_, reals), (_, fakes) in zip(real, generated, strict=True)
        for a, b in zip(reals, fakes, strict=True)
    ]
    return torch.stack(terms).sum()
