"""Broken twins of the codec recipe, by what becomes of its codes and codebooks. Listed in twins.catalogue.

Losses fall in all of them. What is broken is what an exported codec would send.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor, nn
from twins.hooks import after_build

from speech_trainer.engine.recipe import Built
from speech_trainer.modules.quantizer import Quantized, ResidualQuantizer, alone
from speech_trainer.recipes import adversarial
from speech_trainer.recipes.codec.parts import codec_of
from speech_trainer.recipes.codec.recipe import CodecTrainer


def _quantizer(recipe: CodecTrainer, change: Callable[[ResidualQuantizer], None]) -> CodecTrainer:
    """Change the quantiser that is built."""

    def changed(built: Built) -> Built:
        change(codec_of(built).quantizer)
        return built

    return after_build(recipe, changed)


def _quantized(
    recipe: CodecTrainer, change: Callable[[Tensor, Quantized], Quantized]
) -> CodecTrainer:
    """Change what the quantiser makes of latents, once they are rounded."""

    def wrap(quantizer: ResidualQuantizer) -> None:
        original = quantizer.forward

        def forward(hidden: Tensor, *, coded: bool = True, real: bool = True) -> Quantized:
            quantized = original(hidden, coded=coded, real=real)
            return change(hidden, quantized) if coded else quantized

        quantizer.forward = forward  # type: ignore[method-assign]

    return _quantizer(recipe, wrap)


def decoder_hears_latents(recipe: CodecTrainer) -> CodecTrainer:
    """The decoder is given the latents beside the codes: a fine autoencoder, whose codes decode to noise."""
    return _quantized(recipe, lambda hidden, q: dataclasses.replace(q, hidden=hidden.float()))


def decoder_ignores_codes(recipe: CodecTrainer) -> CodecTrainer:
    """The decoder is given nothing of the input: it learns the mean of all speech."""

    def wrap(quantizer: ResidualQuantizer) -> None:
        original = quantizer.forward

        def forward(hidden: Tensor, *, coded: bool = True, real: bool = True) -> Quantized:
            quantized = original(hidden, coded=coded, real=real)
            return dataclasses.replace(quantized, hidden=torch.ones_like(quantized.hidden))

        quantizer.forward = forward  # type: ignore[method-assign]

    return _quantizer(recipe, wrap)


def no_straight_through(recipe: CodecTrainer) -> CodecTrainer:
    """Rounding cuts the gradient: once codes are in use, the encoder learns by commitment alone."""
    return _quantized(recipe, lambda _, q: dataclasses.replace(q, hidden=q.hidden.detach()))


def commitment_detached(recipe: CodecTrainer) -> CodecTrainer:
    """mse(latent.detach(), code): detached on the wrong side, it holds no latent at its code."""
    return _quantized(recipe, lambda _, q: dataclasses.replace(q, commitment=q.commitment.detach()))


def books_from_normal(recipe: CodecTrainer) -> CodecTrainer:
    """Codes begin at N(0, 1) and not by k-means: each level adds energy, and one code takes all."""

    def keep(quantizer: ResidualQuantizer) -> None:
        quantizer._start = lambda chance: None  # type: ignore[method-assign]

    return _quantizer(recipe, keep)


def averages_of_the_rounded(recipe: CodecTrainer) -> CodecTrainer:
    """Moving averages of what was rounded already: a codebook is its own fixed point and never moves."""

    def wrap(quantizer: ResidualQuantizer) -> None:
        for level in quantizer.levels:

            def collect(projected: Tensor, chosen: Tensor, level: nn.Module = level) -> Tensor:
                usage: Tensor = type(level).collect(level, level.codes[chosen], chosen)
                return usage

            level.collect = collect  # type: ignore[method-assign]

    return _quantizer(recipe, wrap)


def too_few_latents(recipe: CodecTrainer) -> CodecTrainer:
    """K-means of the latents of one crop: fewer than there are codes, and most codes begin at nothing."""

    def wrap(quantizer: ResidualQuantizer) -> None:
        original, few = quantizer._start, max(1, quantizer.settings.codes // 10)

        def start(chance: torch.Generator) -> None:
            quantizer.reservoir[few:] = 0.0
            quantizer.filled[few:] = 0.0
            original(chance)

        quantizer._start = start  # type: ignore[method-assign]

    return _quantizer(recipe, wrap)


def revival_keeps_counts(recipe: CodecTrainer) -> CodecTrainer:
    """Dead codes are made anew, their averages not: the next update puts them back where they died."""

    def wrap(quantizer: ResidualQuantizer) -> None:
        for level in quantizer.levels:

            def revive(dead_share: float, vectors: Tensor, level: nn.Module = level) -> None:
                dead = level.dead(dead_share).unsqueeze(1)
                level.codes.copy_(torch.where(dead, vectors, level.codes))

            level.revive = revive  # type: ignore[method-assign]

    return _quantizer(recipe, wrap)


def two_writers(recipe: CodecTrainer) -> CodecTrainer:
    """Codes are parameters as well as moving averages: AdamW and its weight decay pull at them too."""

    def add(built: Built) -> Built:
        plan, codec = built.optimizers[adversarial.GENERATOR], codec_of(built)
        for level in codec.quantizer.levels:
            codes = level._buffers.pop("codes")
            assert codes is not None
            level.register_parameter("codes", nn.Parameter(codes))
            plan.optimizer.param_groups[0]["params"].append(level.codes)
        plan.modules["decoder"] = nn.ModuleList([codec.decoder, codec.quantizer])
        return built

    return after_build(recipe, add)


def books_not_staged(recipe: CodecTrainer) -> CodecTrainer:
    """Codebooks are in no checkpoint, and a NaN that once got into them stays."""

    def forget(built: Built) -> Built:
        built.staged.clear()
        return built

    return after_build(recipe, forget)


def each_rank_its_own_books(recipe: CodecTrainer) -> CodecTrainer:
    """Statistics are not summed over ranks: each keeps its own codebooks, and rank 0's are exported."""

    def after_update(built: Built, step: int, gate: Tensor) -> None:
        seed = recipe.context.config.training.seed
        codec_of(built).quantizer.update(step, seed, alone, alone)

    recipe.after_update = after_update  # type: ignore[method-assign]
    return recipe
