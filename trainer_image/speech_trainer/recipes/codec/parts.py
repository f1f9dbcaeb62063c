"""What the recipe is made of: network, discriminators, optimizers, what is staged. Called by `recipes.codec.recipe`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers import DacModel

from speech_trainer.engine.recipe import Built, RecipeContext, unwrap
from speech_trainer.errors import ConfigError
from speech_trainer.models.codec import Codec
from speech_trainer.modules.band_discriminators import CodecDiscriminator
from speech_trainer.recipes.adversarial import DISCRIMINATOR, GENERATOR, plans
from speech_trainer.recipes.codec.material import Material
from speech_trainer.recipes.optimizers import adam_of


def build(material: Material, pretrained: str, context: RecipeContext) -> Built:
    """Both models on the device with their optimizers. Raises: ConfigError."""
    settings, device = material.settings, context.device
    codec = Codec(material.network, settings.quantizer)
    if pretrained:
        codec.load(load_pretrained(Path(pretrained)))
    codec = codec.to(device).train()
    discriminator = CodecDiscriminator(settings.discriminator).to(device).train()
    adam = adam_of(settings)
    judges_adam = dataclasses.replace(adam, clip_norm=settings.discriminator_clip_norm)
    modules: dict[str, nn.Module] = {"encoder": codec.encoder, "decoder": codec.decoder}
    if settings.quantizer.dimensions is not None:
        modules["quantizer"] = codec.quantizer
    ema = codec.named_parameters() if settings.ema_decay else ()
    return Built(
        models={GENERATOR: codec, DISCRIMINATOR: discriminator},
        optimizers=plans(
            modules,
            discriminator,
            settings,
            context.config.training.max_steps,
            adam,
            judges_adam,
        ),
        staged=codec.quantizer.staged(),
        ema={name: parameter.detach().clone() for name, parameter in ema},
    )


def load_pretrained(directory: Path) -> DacModel:
    """Raises: ConfigError when there is no DacModel, or when weights are missing."""
    try:
        found: Any = DacModel.from_pretrained(directory, output_loading_info=True)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"recipe.codec.pretrained: {str(directory)!r} holds no DacModel ({error}); "
            "name a folder with config.json and model.safetensors"
        ) from error
    model, info = found
    if info["missing_keys"]:
        raise ConfigError(
            f"recipe.codec.pretrained: {str(directory)!r} lacks {', '.join(sorted(info['missing_keys'])[:3])}; "
            "use a whole checkpoint"
        )
    assert isinstance(model, DacModel)
    return model


def codec_of(built: Built) -> Codec:
    """The network below its wrapper."""
    codec = unwrap(built.models[GENERATOR])
    assert isinstance(codec, Codec)
    return codec


def summed(tensor: Tensor) -> Tensor:
    """Added up over all ranks, in place."""
    dist.all_reduce(tensor)
    return tensor


def gathered(tensor: Tensor) -> Tensor:
    """The rows of all ranks, rank 0's first."""
    parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)
