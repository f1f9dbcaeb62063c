"""What GAN recipes share: settings, optimizers, the discriminators' step and the generator's part that they judge.

Called by recipes. Losses are those of `losses.adversarial`; what a step says of them is named the same in every recipe.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Final, Protocol

import torch
from torch import Tensor, nn

from speech_trainer.engine.expectations import Range, Setting
from speech_trainer.engine.recipe import OptimizerPlan, unwrap
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
