"""Losses of VITS (Kim et al. 2021, section 2), each a scalar in float32. Called by `recipes.vits`.

Shapes: B batch, D channels, F frames, M mel bins.
"""

import torch
from torch import Tensor


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
