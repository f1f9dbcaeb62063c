"""What the recipe is made of: model, optimizers, schedules, speakers. Called by `recipes.vits.recipe`."""

import math
from pathlib import Path

from torch import nn
from transformers import VitsConfig, VitsModel

from speech_trainer.audio.spectrograms import SpectrogramSettings
from speech_trainer.data.manifest import Manifest
from speech_trainer.engine.recipe import Built, RecipeContext
from speech_trainer.errors import ConfigError
from speech_trainer.models.vits import (
    MODULES,
    VitsGenerator,
    load_pretrained,
    new_model,
    pretrained_config,
)
from speech_trainer.modules.discriminators import WaveformDiscriminator
from speech_trainer.recipes.adversarial import DISCRIMINATOR, GENERATOR, plans
from speech_trainer.recipes.optimizers import adam_of
from speech_trainer.recipes.vits.presets import VitsSettings


def speaker_ids(manifest: Manifest) -> dict[str, int]:
    """Speakers of the training manifest, numbered by name."""
    names = sorted({utterance.speaker for utterance in manifest.utterances})
    return {name: number for number, name in enumerate(names)}


def build_model(
    settings: VitsSettings, pretrained: str, vocabulary_size: int, speakers: int
) -> VitsModel:
    """A pretrained or a new model that fits vocabulary, speakers and spectrogram.

    Raises: ConfigError.
    """
    if not pretrained:
        return new_model(_config(settings, vocabulary_size, speakers))
    model = load_pretrained(Path(pretrained))
    for field, found, wanted in (
        ("vocab_size", model.config.vocab_size, vocabulary_size),
        ("num_speakers", model.config.num_speakers, speakers),
    ):
        if found < wanted:
            raise ConfigError(
                f"recipe.vits.pretrained: {field} {found} of {pretrained!r} is below the "
                f"{wanted} of the data; use another checkpoint or other data"
            )
    return model


def pretrained_spectrogram(directory: Path) -> SpectrogramSettings:
    """The time-frequency grid that a pretrained model was made for. Raises: ConfigError."""
    config = pretrained_config(directory)
    return SpectrogramSettings(
        sample_rate=config.sampling_rate,
        fft_size=2 * (config.spectrogram_bins - 1),
        hop_length=math.prod(config.upsample_rates),
    )


def _config(settings: VitsSettings, vocabulary_size: int, speakers: int) -> VitsConfig:
    several = speakers > 1
    return VitsConfig(
        vocab_size=vocabulary_size,
        spectrogram_bins=settings.spectrogram.linear_bins,
        sampling_rate=settings.spectrogram.sample_rate,
        num_speakers=speakers,
        speaker_embedding_size=settings.speaker_embedding_size if several else 0,
        **settings.model,
    )


def build(settings: VitsSettings, model: VitsModel, context: RecipeContext) -> Built:
    """Both models on the device with their optimizers."""
    generator = VitsGenerator(model, settings.segment_frames).to(context.device).train()
    discriminator = WaveformDiscriminator(settings.discriminator).to(context.device).train()
    max_steps = context.config.training.max_steps
    adam = adam_of(settings, settings.epsilon)
    modules: dict[str, nn.Module] = {name: getattr(model, name) for name in MODULES}
    if model.config.num_speakers > 1:
        modules["speaker_embedding"] = model.embed_speaker
    return Built(
        models={GENERATOR: generator, DISCRIMINATOR: discriminator},
        optimizers=plans(modules, discriminator, settings, max_steps, adam, adam),
    )
