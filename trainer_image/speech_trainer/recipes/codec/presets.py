"""Values of the presets that the contract names, and a manifest's overrides applied to them.

Debug trains on two CPU cores in minutes and really learns; Speech24k has the sizes, losses and rates of the published
24 kHz DAC (Kumar et al. 2023), Speech16k the same for recordings at 16 kHz. Called by `recipes.codec.recipe`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from speech_contract.recipes import CodecPreset, CodecRecipe
from speech_contract.run_config import Training
from speech_trainer.errors import ConfigError
from speech_trainer.losses.codec import Scale
from speech_trainer.modules.band_discriminators import BandSettings
from speech_trainer.modules.discriminators import DiscriminatorSettings
from speech_trainer.modules.quantizer import QuantizerSettings
from speech_trainer.recipes.adversarial import number, start_step


@dataclass(frozen=True)
class LossWeights:
    """The weights of DAC; it has no waveform loss."""

    mel: float = 15.0
    waveform: float = 0.0
    commitment: float = 0.25
    adversarial: float = 1.0
    feature_matching: float = 2.0


@dataclass(frozen=True)
class CodecSettings:
    """Everything a run of the recipe depends on; written to config.json."""

    sample_rate: int  # Hz
    ratios: tuple[int, ...]  # of the strided convolutions; their product is the hop
    encoder_channels: int  # of the first layer; doubled by each strided one
    decoder_channels: int  # of the first layer; halved by each
    quantizer: QuantizerSettings
    scales: tuple[Scale, ...]  # of the mel distance
    discriminator: BandSettings
    batch_size: int  # crops over all ranks
    crop_frames: int  # of a training crop
    learning_rate: float
    discriminator_learning_rate: float
    adversarial_start_share: float  # of maxSteps: where a small run lets the discriminators in
    log_every_steps: int
    adversarial_start_step: int = 1
    warmup_steps: int = 20  # updates; linear
    final_learning_rate_share: float = 0.05  # cosine from 1 down to this at maxSteps
    betas: tuple[float, float] = (0.8, 0.99)
    weight_decay: float = 0.01
    clip_norm: float = 1000.0  # as DAC: catches explosions, shapes nothing
    discriminator_clip_norm: float = 10.0
    loudness: float | None = (
        None  # dB of full scale (RMS) that crops are brought to; None: as recorded
    )
    max_seconds: float = 3600.0  # of one recording: bounds memory
    evaluation_clips: int = 16
    weights: LossWeights = field(default_factory=LossWeights)

    @property
    def hop(self) -> int:
        """Samples a frame."""
        return math.prod(self.ratios)

    @property
    def crop(self) -> int:
        """Samples of a training crop."""
        return self.crop_frames * self.hop

    @property
    def bits_per_second(self) -> float:
        """Of the codes, without any coding of their entropy."""
        bits = self.quantizer.levels * math.log2(self.quantizer.codes)
        return bits * self.sample_rate / self.hop


_DAC_SCALES: Final = tuple(
    Scale(window, bins)
    for window, bins in zip(
        (32, 64, 128, 256, 512, 1024, 2048), (5, 10, 20, 40, 80, 160, 320), strict=True
    )
)

_DEBUG: Final = CodecSettings(
    sample_rate=16000,
    ratios=(2, 4, 4, 10),
    encoder_channels=8,
    decoder_channels=128,
    quantizer=QuantizerSettings(
        levels=8, codes=256, decay=0.97, start_step=60, revive_every=10, dead_share=0.2
    ),
    scales=(Scale(64, 10), Scale(256, 40), Scale(1024, 80)),
    discriminator=BandSettings(
        windows=(512,),
        edges=(0.0, 0.25, 1.0),
        channels=4,
        periods=DiscriminatorSettings(periods=(2, 3), period_channels=(4, 8, 16)),
    ),
    batch_size=16,
    crop_frames=24,
    learning_rate=2e-3,
    discriminator_learning_rate=2e-4,
    adversarial_start_share=0.9,
    log_every_steps=1,
    evaluation_clips=8,
    weights=LossWeights(mel=1.0, waveform=100.0),
)

_SPEECH_24K: Final = CodecSettings(
    sample_rate=24000,
    ratios=(2, 4, 5, 8),
    encoder_channels=64,
    decoder_channels=1536,
    quantizer=QuantizerSettings(levels=32, codes=1024, dimensions=8, dropout=0.5, start_step=500),
    scales=_DAC_SCALES,
    discriminator=BandSettings(),
    batch_size=72,
    crop_frames=30,
    learning_rate=1e-4,
    discriminator_learning_rate=1e-4,
    adversarial_start_share=0.0,
    log_every_steps=10,
    warmup_steps=500,
    loudness=-16.0,
)

_SPEECH_16K: Final = dataclasses.replace(
    _SPEECH_24K,
    sample_rate=16000,
    quantizer=dataclasses.replace(_SPEECH_24K.quantizer, levels=12),
    scales=_DAC_SCALES[:-1],
)

PRESETS: Final[Mapping[CodecPreset, CodecSettings]] = {
    CodecPreset.DEBUG: _DEBUG,
    CodecPreset.SPEECH_16K: _SPEECH_16K,
    CodecPreset.SPEECH_24K: _SPEECH_24K,
}


def resolve(spec: CodecRecipe, training: Training) -> CodecSettings:
    """The preset with every override applied. Raises: ConfigError when a combination can't work."""
    preset = PRESETS[spec.preset]
    settings = dataclasses.replace(
        preset,
        learning_rate=number(spec.learning_rate, preset.learning_rate),
        discriminator_learning_rate=number(
            spec.discriminator_learning_rate, preset.discriminator_learning_rate
        ),
        batch_size=training.global_batch_size or preset.batch_size,
        log_every_steps=training.log_every_steps or preset.log_every_steps,
        adversarial_start_step=start_step(
            "codec",
            spec.adversarial_start_step,
            preset.adversarial_start_share,
            training.max_steps,
        ),
    )
    check(settings)
    return settings


def check(settings: CodecSettings) -> None:
    """Raises: ConfigError for what can't train."""
    quantizer = settings.quantizer
    seen = settings.batch_size * settings.crop_frames * max(0, quantizer.start_step - 1)
    if quantizer.start_step > 1 and seen < quantizer.codes * quantizer.start_vectors:
        raise ConfigError(
            f"training.globalBatchSize: {settings.batch_size} gives {seen} latents before the codebooks start at step "
            f"{quantizer.start_step}, k-means of {quantizer.codes} codes needs "
            f"{quantizer.codes * quantizer.start_vectors}; use larger batches"
        )
