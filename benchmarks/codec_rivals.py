"""What the codec recipe is compared with, as wraps of it: `SPEECHTRAIN_WRAP_RECIPE=codec_rivals:frozen_random_books`.

Used by accept_codec.py, which puts this folder on PYTHONPATH. Data, network, losses, optimizer and evaluation are the
recipe's: a difference in the scores is the quantiser's.
"""

from __future__ import annotations

import dataclasses
from types import MethodType

import torch
from torch import Tensor, nn
from torch.nn import functional

from speech_trainer.engine.recipe import Built
from speech_trainer.modules.quantizer import (
    CodeLevel,
    Level,
    Quantized,
    QuantizerSettings,
    Reduce,
    ResidualQuantizer,
)
from speech_trainer.recipes.adversarial import GENERATOR
from speech_trainer.recipes.codec import parts
from speech_trainer.recipes.codec.recipe import CodecTrainer
from speech_trainer.recipes.optimizers import adam_of, adamw_plan

CLAMP = 10.0


def frozen_random_books(recipe: CodecTrainer) -> CodecTrainer:
    """Random codes, as wide as what each book has to code when the books start; from then on they never move."""
    build = recipe.build

    def built() -> Built:
        found = build()
        quantizer = parts.codec_of(found).quantizer
        quantizer._start = MethodType(_start_at_random, quantizer)  # type: ignore[method-assign]
        for level in quantizer.levels:
            level.move = MethodType(_forget, level)  # type: ignore[method-assign]
            level.revive = lambda *_: None  # type: ignore[method-assign]
        return found

    recipe.build = built  # type: ignore[method-assign]
    return recipe


@torch.no_grad()
def _start_at_random(quantizer: ResidualQuantizer, chance: torch.Generator) -> None:
    residual = quantizer.reservoir
    for level in quantizer.levels:
        noise = torch.randn(level.codes.shape, generator=chance)
        codes = residual.mean(dim=0) + residual.std(dim=0) * noise
        level.start(codes, torch.ones_like(level.counts))
        residual = residual - codes[level.nearest(residual)]


def _forget(level: CodeLevel, _decay: float, _reduce: Reduce) -> None:
    level.batch_counts.zero_()
    level.batch_sums.zero_()


def telugu_codec(recipe: CodecTrainer) -> CodecTrainer:
    """The quantiser of the Telugu codec after its 'six critical fixes'; rate and data are the job's.

    Small random codes from step 1 on, without k-means and revival; averages of what was already rounded, begun at
    random; a commitment that holds the latent instead of the code; each level's loss clamped; and a second writer,
    since codes are parameters too.
    """
    material, build = recipe.material, recipe.build
    start = dataclasses.replace(material.settings.quantizer, start_step=1)
    settings = dataclasses.replace(material.settings, quantizer=start)
    recipe.material, recipe.settings = dataclasses.replace(material, settings=settings), settings

    def built() -> Built:
        found = build()
        codec = parts.codec_of(found)
        codec.quantizer = _TeluguQuantizer(codec.config.hidden_size, start)
        found.staged = codec.quantizer.staged()
        adam = adam_of(settings)
        modules = dict(codec.named_children())  # encoder, decoder, quantizer
        steps = recipe.context.config.training.max_steps
        found.optimizers[GENERATOR] = adamw_plan(modules, settings.learning_rate, steps, adam)
        return found

    recipe.build = built  # type: ignore[method-assign]
    return recipe


class _TeluguLevel(CodeLevel):
    """Codes that both a gradient and an average write."""

    def __init__(self, hidden: int, settings: QuantizerSettings) -> None:
        super().__init__(hidden, settings)
        codes = 0.01 * torch.randn(settings.codes, hidden)
        self.start(codes, torch.zeros(settings.codes))
        self.sums.normal_()
        del self.codes
        self.codes = nn.Parameter(codes)

    def collect(self, projected: Tensor, chosen: Tensor) -> Tensor:
        """Averages of the codes themselves: they are where they are."""
        return super().collect(self.codes.detach()[chosen], chosen)

    def revive(self, dead_share: float, vectors: Tensor) -> None:
        """Dead codes stay dead."""


class _TeluguQuantizer(ResidualQuantizer):
    """The same chain of levels, with its commitment."""

    def __init__(self, hidden: int, settings: QuantizerSettings) -> None:
        super().__init__(hidden, settings)
        self.quantizers = nn.ModuleList(
            _TeluguLevel(hidden, settings) for _ in range(settings.levels)
        )

    def _forward(self, hidden: Tensor, coded: bool, real: bool) -> Quantized:
        residual, total = hidden, torch.zeros_like(hidden)
        codes, commitments, seen = [], [], []
        for level in self.levels:
            rows = residual.detach().transpose(1, 2).reshape(-1, hidden.size(1))
            chosen = level.nearest(rows)
            found = level.codes[chosen].reshape(hidden.size(0), -1, hidden.size(1)).transpose(1, 2)
            commitments.append(functional.mse_loss(residual.detach(), found).clamp(max=CLAMP))
            rounded = residual + (found - residual).detach()
            given, residual, total = residual, residual - rounded, total + rounded
            left = residual.detach().square().mean() / given.detach().square().mean()
            usage = level.collect(rows, chosen) if self.training and real else level.counts
            codes.append(chosen.reshape(hidden.size(0), -1))
            seen.append(Level(usage, left))
        return Quantized(total, torch.stack(codes, dim=1), torch.stack(commitments).sum(), seen)
