"""Values of the presets that the contract names, and a manifest's overrides applied to them.

Debug trains on two CPU cores in minutes and really learns; Base is the H200 default, with the sizes of
transformers' `VitsConfig` (those of the paper and of MMS-TTS). Called by `recipes.vits.recipe`.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from speech_contract.recipes import Preset, VitsRecipe
from speech_contract.run_config import Training
from speech_trainer.audio.spectrograms import SpectrogramSettings
from speech_trainer.modules.discriminators import DiscriminatorSettings
from speech_trainer.recipes.adversarial import number, start_step


@dataclass(frozen=True)
class LossWeights:
    """The weights of the paper."""

    mel: float = 45.0
    kl: float = 1.0
    duration: float = 1.0
    adversarial: float = 1.0
    feature_matching: float = 2.0


@dataclass(frozen=True)
class VitsSettings:
    """Everything a run of the recipe depends on; written to config.json."""

    spectrogram: SpectrogramSettings
    model: Mapping[str, Any]  # of transformers' VitsConfig; unused with `pretrained`
    discriminator: DiscriminatorSettings
    batch_size: int  # over all ranks
    learning_rate: float
    discriminator_learning_rate: float
    adversarial_start_share: float  # of maxSteps: where a small run lets the discriminators in
    log_every_steps: int
    adversarial_start_step: int = 1
    segment_frames: int = 32
    warmup_steps: int = 20  # updates; linear
    final_learning_rate_share: float = 0.05  # cosine from 1 down to this at maxSteps
    betas: tuple[float, float] = (0.8, 0.99)
    epsilon: float = 1e-9
    weight_decay: float = 0.01
    clip_norm: float = 1000.0  # ten times the usual norm: catches explosions, shapes nothing
    max_seconds: float = 20.0  # of one utterance: bounds memory
    evaluation_sentences: int = 8
    speaker_embedding_size: int = 256  # when the data has several speakers
    weights: LossWeights = field(default_factory=LossWeights)


_DEBUG: Final = VitsSettings(
    spectrogram=SpectrogramSettings(sample_rate=22050),
    model={
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "ffn_dim": 128,
        "flow_size": 64,
        "prior_encoder_num_flows": 2,
        "prior_encoder_num_wavenet_layers": 2,
        "posterior_encoder_num_wavenet_layers": 4,
        "use_stochastic_duration_prediction": False,
        "duration_predictor_filter_channels": 64,
        "duration_predictor_dropout": 0.1,
        # Wide and shallow: on a CPU sixteen channels cost what four do, and learn twice as fast.
        "upsample_initial_channel": 128,
        "upsample_rates": [8, 8, 4],
        "upsample_kernel_sizes": [16, 16, 8],
        "resblock_kernel_sizes": [3, 7],
        "resblock_dilation_sizes": [[1], [3]],
        "layerdrop": 0.0,
    },
    discriminator=DiscriminatorSettings(
        periods=(2, 3, 5),
        period_channels=(8, 16, 32),
        scale_channels=(8, 16, 32),
        scale_strides=(1, 4, 4),
        scale_groups=(1, 4, 4),
        weight_norm=False,
    ),
    batch_size=8,
    learning_rate=2e-3,
    discriminator_learning_rate=2e-4,
    adversarial_start_share=0.7,
    log_every_steps=1,
    max_seconds=10.0,
    speaker_embedding_size=32,
)

_BASE: Final = VitsSettings(
    spectrogram=SpectrogramSettings(sample_rate=22050),
    model={"layerdrop": 0.0},  # layer drop would leave parameters without gradient
    discriminator=DiscriminatorSettings(),
    batch_size=64,
    learning_rate=2e-4,
    discriminator_learning_rate=2e-4,
    adversarial_start_share=0.0,
    log_every_steps=10,
    warmup_steps=500,
)

PRESETS: Final[Mapping[Preset, VitsSettings]] = {Preset.DEBUG: _DEBUG, Preset.BASE: _BASE}
FINE_TUNING_LEARNING_RATE: Final = 2e-5


def resolve(spec: VitsRecipe, training: Training) -> VitsSettings:
    """The preset with every override applied.

    Raises: ConfigError when a combination can't work.
    """
    preset = PRESETS[spec.preset]
    rate, discriminator_rate = preset.learning_rate, preset.discriminator_learning_rate
    if spec.pretrained:
        rate = discriminator_rate = FINE_TUNING_LEARNING_RATE
    return dataclasses.replace(
        preset,
        learning_rate=number(spec.learning_rate, rate),
        discriminator_learning_rate=number(spec.discriminator_learning_rate, discriminator_rate),
        batch_size=training.global_batch_size or preset.batch_size,
        log_every_steps=training.log_every_steps or preset.log_every_steps,
        adversarial_start_step=start_step(
            "vits",
            spec.adversarial_start_step,
            preset.adversarial_start_share,
            training.max_steps,
        ),
    )
