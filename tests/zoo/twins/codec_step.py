"""Broken twins of the codec recipe, by what they do in a step. Listed in twins.catalogue. See vits_step.

Most are faults of one Telugu codec that went NaN on an H200, and of the fixes that it was given.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from twins.hooks import each_step, nothing

from speech_trainer.engine.recipe import StepRecord
from speech_trainer.losses.codec import MelDistance
from speech_trainer.recipes.codec.recipe import CodecTrainer

BOUND = 5.0  # of the clamped loss: below what twenty steps reach, so that the fault does not heal by itself
MEL_BOUND = 1.0  # of the clamped component: below what a codec starts with
COMMITMENT_BOUND = 1e-6


class HalfMelDistance(MelDistance):
    """Powers, roots and logarithms as a GPU computes them under autocast to float16, with its 1e-8 against log(0)."""

    def _log(self, waveform: Tensor, index: int) -> Tensor:
        power = self._spectra[index](waveform.float()).half()
        mel = self._mels[index](power.sqrt().float()).half()
        return (mel + torch.tensor(1e-8).half()).log10().float()


def half_precision_mel(recipe: CodecTrainer) -> CodecTrainer:
    """The spectrum of the loss is in half precision: power overflows or vanishes, log(0), NaN at once."""
    recipe._mel = HalfMelDistance(recipe.settings.sample_rate, recipe.settings.scales)
    return recipe


def clamp_over_a_nan(recipe: CodecTrainer) -> CodecTrainer:
    """As above, and every loss is clamped "for stability": the log says 5, only the gradient tells."""

    def clamped(step: Callable[[], StepRecord]) -> StepRecord:
        losses = step().losses
        return StepRecord({n: v.nan_to_num(BOUND).clamp(max=BOUND) for n, v in losses.items()})

    return each_step(half_precision_mel(recipe), clamped)


def nan_skipped(recipe: CodecTrainer) -> CodecTrainer:
    """As above, and `if not isfinite(loss): continue`: no step is ever taken, and the epochs fly by."""
    original = half_precision_mel(recipe)._reconstruction

    class Skipped(Exception):
        pass

    def reconstruction(*given: object) -> Tensor:
        total = original(*given)  # type: ignore[arg-type]
        if not math.isfinite(float(total.detach())):
            raise Skipped
        return total

    def skipping(step: Callable[[], StepRecord]) -> StepRecord:
        try:
            return step()
        except Skipped:
            return nothing()

    recipe._reconstruction = reconstruction  # type: ignore[method-assign]
    return each_step(recipe, skipping)


def _reconstruction(
    recipe: CodecTrainer, change: Callable[[Tensor, dict[str, Tensor]], Tensor]
) -> CodecTrainer:
    """Change the loss, given its terms."""
    original = recipe._reconstruction

    def reconstruction(
        real: Tensor, output: Tensor, quantized: object, terms: dict[str, Tensor]
    ) -> Tensor:
        return change(original(real, output, quantized, terms), terms)  # type: ignore[arg-type]

    recipe._reconstruction = reconstruction  # type: ignore[method-assign]
    return recipe


def clamped_loss(recipe: CodecTrainer) -> CodecTrainer:
    """min(loss, 5) "against explosions": it stands at its bound, and has no gradient there."""
    return _reconstruction(recipe, lambda total, terms: total.clamp(max=BOUND))


def _clamped(recipe: CodecTrainer, name: str, weight: float, bound: float) -> CodecTrainer:
    def clamp(total: Tensor, terms: dict[str, Tensor]) -> Tensor:
        whole = terms[name]
        terms[name] = whole.clamp(max=bound)
        return total + weight * (terms[name] - whole)

    return _reconstruction(recipe, clamp)


def clamped_mel(recipe: CodecTrainer) -> CodecTrainer:
    """min(mel distance, 1) "for stability": of the loss only the waveform's part is left."""
    return _clamped(recipe, "generator/mel", recipe.settings.weights.mel, MEL_BOUND)


def clamped_commitment(recipe: CodecTrainer) -> CodecTrainer:
    """min(commitment, bound): a VQ loss that looks healthy, and holds no latent at its code."""
    weight = recipe.settings.weights.commitment
    return _clamped(recipe, "generator/commitment", weight, COMMITMENT_BOUND)
