"""Losses of VITS (Kim et al. 2021, section 2), each a scalar in float32. Called by `recipes.vits`.

Shapes: B batch, D channels, F frames, M mel bins.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from speech_trainer.modules.discriminators import Judgement


def mel_loss(generated: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of two log-mels [B, M, F]."""
    return (generated.float() - target.float()).abs().mean()


def kl_loss(
    flowed: Tensor,
    posterior_log_scale: Tensor,
    prior_mean: Tensor,
    prior_log_scale: Tensor,
    frame_mask: Tensor,
) -> Tensor:
    """KL of posterior and prior per frame, from one sample `flowed` [B, D, F] of the posterior.

    It may be below 0 for a single sample.
    """
    flowed, prior_log_scale = flowed.float(), prior_log_scale.float()
    distance = (flowed - prior_mean.float()).square() * torch.exp(-2 * prior_log_scale)
    divergence = prior_log_scale - posterior_log_scale.float() - 0.5 + 0.5 * distance
    return (divergence * frame_mask).sum() / frame_mask.sum()


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
