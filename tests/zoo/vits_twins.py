"""Broken twins of the VITS recipe: each trains wrongly in a way its loss curve hides.

Used through the fault hook: `SPEECHTRAIN_WRAP_RECIPE=vits_twins:dead_modules`. Each takes the built recipe and
returns one that the engine can't tell from it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from speech_trainer.engine.recipe import Built, Losses, unwrap
from speech_trainer.models.vits import length_mask
from speech_trainer.recipes.vits import parts
from speech_trainer.recipes.vits.batch import VitsBatch
from speech_trainer.recipes.vits.recipe import Vits


def dead_modules(recipe: Vits) -> Vits:
    """L1 between the mel of freely synthesized speech and of the recording, unaligned.

    The posterior encoder is never used, and `ceil` cuts the gradient of the durations: two of five
    modules never learn, while the loss falls nicely.
    """

    def train_step(built: Built, batch: VitsBatch, step: int) -> Losses:
        generator = unwrap(built.models[parts.GENERATOR])
        waveform = _synthesize(generator, batch)
        size = min(waveform.size(1), batch.waveform.size(1))
        generated = recipe.spectrograms(waveform[:, :size])
        recorded = recipe.spectrograms(batch.waveform[:, :size])
        loss = (generated - recorded).abs().mean()
        loss.backward()
        return {"total": loss.detach(), "generator/mel": loss.detach()}

    recipe.train_step = train_step  # type: ignore[method-assign]
    return recipe


def no_backward(recipe: Vits) -> Vits:
    """Computes every loss and never calls backward."""
    original = recipe.train_step

    def train_step(built: Built, batch: VitsBatch, step: int) -> Losses:
        losses = original(built, batch, step)
        for plan in built.optimizers.values():
            plan.optimizer.zero_grad(set_to_none=True)
        return losses

    recipe.train_step = train_step  # type: ignore[method-assign]
    return recipe


def _synthesize(generator: torch.nn.Module, batch: VitsBatch) -> Tensor:
    """Waveform [B, T] of whole utterances, batched, with gradient where there can be one."""
    vits = generator.vits
    token_mask = length_mask(batch.token_lengths, batch.tokens.size(1))
    hidden, mean, _ = generator.encode_text(batch.tokens, token_mask)
    durations = torch.exp(vits.duration_predictor(hidden, token_mask, None)).ceil() * token_mask
    ends = durations.cumsum(dim=2)
    frames = torch.arange(int(ends.max()), device=ends.device).view(1, -1, 1)
    path = ((frames < ends) & (frames >= ends - durations)).float()
    prior = mean @ path.transpose(1, 2)
    latent = vits.flow(prior, torch.ones_like(prior[:, :1]), None, reverse=True)
    return vits.decoder(latent, None).squeeze(1)
