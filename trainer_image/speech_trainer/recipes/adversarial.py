"""What GAN recipes share: settings, optimizers, the discriminators' step and the generator's part that they judge.

Called by recipes. Losses are those of `losses.adversarial`; what a step says of them is named the same in every recipe.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn

from speech_trainer.engine.expectations import Range, Setting
from speech_trainer.engine.recipe import OptimizerPlan
from speech_trainer.errors import ConfigError
from speech_trainer.losses import adversarial as gan
from speech_trainer.modules.discriminators import Judgement
from speech_trainer.recipes.optimizers import AdamSettings, adamw_plan

GENERATOR: Final = "generator"  # models, optimizers and groups of losses
DISCRIMINATOR: Final = "discriminator"
OBJECTIVES: Final = {GENERATOR: "total", DISCRIMINATOR: "discriminator/adversarial"}
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


class Settings(Protocol):
    """What settings of a GAN recipe hold."""

    @property
    def learning_rate(self) -> float:
        """Of the generator, at its peak."""
        ...

    @property
    def discriminator_learning_rate(self) -> float:
        """Of the discriminators, at its peak."""
        ...

    @property
    def adversarial_start_step(self) -> int:
        """Step from which the discriminators train and judge."""
        ...


def number(override: str | None, default: float) -> float:
    """A number of the manifest, or the preset's."""
    return default if override is None else float(override)


def start_step(recipe: str, given: int | None, share: float, max_steps: int) -> int:
    """Where the discriminators come in: as the manifest says, or after a share of the run. Raises: ConfigError."""
    start = 1 + int(share * max_steps) if given is None else given
    if start < 1:
        raise ConfigError(
            f"recipe.{recipe}.adversarialStartStep: {start} is below 1; steps count from 1"
        )
    return start


def plans(
    modules: Mapping[str, nn.Module],
    discriminator: nn.Module,
    settings: Settings,
    max_steps: int,
    adam: AdamSettings,
    judges_adam: AdamSettings,
) -> dict[str, OptimizerPlan]:
    """Both optimizers; the discriminators' schedule begins where they come in. `modules`: the generator's, named."""
    start = settings.adversarial_start_step
    return {
        GENERATOR: adamw_plan(modules, settings.learning_rate, max_steps, adam),
        DISCRIMINATOR: adamw_plan(
            {DISCRIMINATOR: discriminator},
            settings.discriminator_learning_rate,
            max(1, max_steps - start + 1),
            judges_adam,
            active_from=start,
        ),
    }


def rates(settings: Settings) -> dict[str, Setting]:
    """What the preflight holds the optimizers to."""
    return {
        GENERATOR: Setting("learningRate", settings.learning_rate),
        DISCRIMINATOR: Setting("discriminatorLearningRate", settings.discriminator_learning_rate),
    }


def ranges(judges: int) -> dict[str, Range]:
    """Where the losses of untrained discriminators lie: they score about 0 where a recording should have 1."""
    undecided = Range(0.5 * judges, 2.0 * judges, f"{judges} undecided discriminators, 1 each")
    return {
        "discriminator/adversarial": undecided,
        "generator/adversarial": undecided,
        "generator/feature_matching": Range(1e-9, 1e3, "difference of features, above 0"),
    }


@dataclass(frozen=True)
class Judged:
    """What the discriminators said of both kinds, before their update. `heard`: the leaf that stands for the output."""

    real: list[Judgement]
    output: list[Judgement]
    heard: Tensor


def discriminate(
    discriminator: nn.Module,
    real: Tensor,
    output: Tensor,
    weight: float,
    terms: Terms,
    cast: AbstractContextManager[object],
) -> Judged:
    """Backward of the discriminators over [B, 1, T] of both kinds.

    One forward for both kinds and both sides: DDP allows one forward per backward, and since optimizers are stepped
    after the whole step, the generator is judged by the same weights.
    """
    heard = output.detach().requires_grad_()
    with cast:
        of_real, of_output = discriminator(real, heard)
    loss = gan.discriminator_loss([s for s, _ in of_real], [s for s, _ in of_output])
    (loss * weight).backward(retain_graph=True)  # of the output's half, for `convince`
    heard.grad = None
    terms["discriminator/adversarial"] = loss
    return Judged(of_real, of_output, heard)


def convince(judged: Judged, output: Tensor, terms: Terms, weights: Weights) -> Tensor:
    """The generator's adversarial part, weighted. The discriminators are gone through here, and get no gradient of it.

    Their activations are free before the way back through the generator begins.
    """
    adversarial = gan.adversarial_loss([scores for scores, _ in judged.output])
    matching = gan.feature_matching_loss(judged.real, judged.output)
    terms |= {"generator/adversarial": adversarial, "generator/feature_matching": matching}
    loss = weights.adversarial * adversarial + weights.feature_matching * matching
    (gradient,) = torch.autograd.grad(loss, judged.heard)
    found: Tensor = _Known.apply(output, loss.detach(), gradient)  # type: ignore[no-untyped-call]
    return found


class _Known(torch.autograd.Function):
    """A loss whose gradient is known already."""

    @staticmethod
    def forward(context: Any, output: Tensor, loss: Tensor, gradient: Tensor) -> Tensor:
        context.save_for_backward(gradient)
        return loss.clone()

    @staticmethod
    def backward(context: Any, share: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = context.saved_tensors
        return gradient * share, None, None
