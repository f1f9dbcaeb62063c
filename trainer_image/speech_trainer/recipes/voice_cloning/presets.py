"""Values of the presets that the contract names, and a manifest's overrides applied to them.

Debug trains a tiny model from random weights; Lora4B and Full4B adapt a published one, and take its sizes from its
own config. Called by `recipes.voice_cloning.material`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from speech_contract.recipes import Adapters, CloningPreset, VoiceCloningRecipe
from speech_contract.run_config import Training
from speech_trainer.errors import ConfigError
from speech_trainer.models.backbone import Sizes
from speech_trainer.modules.lora import LoraSettings


@dataclass(frozen=True)
class CloningSettings:
    """Everything a run of the recipe depends on; written to config.json."""

    batch_size: int  # utterances over all ranks
    learning_rate: float
    log_every_steps: int
    sizes: Sizes | None = None  # of a model from random weights
    lora: LoraSettings | None = None  # None: every weight trains
    z_weight: float = 0.0
    warmup_steps: int = 20  # updates; linear
    final_learning_rate_share: float = 0.1  # cosine from 1 down to this at maxSteps
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    max_seconds: float = 30.0  # of a recording, and of a reference: bounds memory
    checkpoint_layers: bool = (
        False  # activations inside of layers are computed twice and never kept
    )
    micro_batch_tokens: int | None = (
        None  # of a padded micro-batch; None: a rank's share at once, or microBatchSize
    )
    split: bool = False  # weights, gradients and optimizer state over the ranks (FSDP2)
    evaluation_samples: int = 64
    generated_samples: int = 4  # held-out sentences that are spoken freely at each evaluation


_DEBUG: Final = CloningSettings(
    batch_size=16,
    learning_rate=2e-3,
    log_every_steps=1,
    sizes=Sizes(
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
    ),
    evaluation_samples=32,
)

_FULL: Final = CloningSettings(
    batch_size=64,
    learning_rate=2e-5,
    log_every_steps=10,
    warmup_steps=200,
    checkpoint_layers=True,
    micro_batch_tokens=8192,
    split=True,
)

_LORA: Final = dataclasses.replace(
    _FULL, learning_rate=1e-4, lora=LoraSettings(rank=32, alpha=64.0), split=False
)

PRESETS: Final[Mapping[CloningPreset, CloningSettings]] = {
    CloningPreset.DEBUG: _DEBUG,
    CloningPreset.LORA_4B: _LORA,
    CloningPreset.FULL_4B: _FULL,
}


def resolve(spec: VoiceCloningRecipe, training: Training) -> CloningSettings:
    """The preset with every override applied. Raises: ConfigError for a combination that can't train."""
    preset = PRESETS[spec.preset]
    if not spec.pretrained and (preset.sizes is None or spec.adapters is Adapters.LORA):
        what = f"preset {spec.preset.value}" if preset.sizes is None else "adapters Lora"
        raise ConfigError(
            f"recipe.voiceCloning.pretrained: '' is missing, {what} adapts a model that exists; name its directory, "
            "or use preset Debug without adapters"
        )
    return dataclasses.replace(
        preset,
        learning_rate=_number(spec.learning_rate, preset.learning_rate),
        z_weight=_number(spec.z_loss, preset.z_weight),
        micro_batch_tokens=spec.micro_batch_tokens or preset.micro_batch_tokens,
        lora=_lora(spec.adapters, preset),
        batch_size=training.global_batch_size or preset.batch_size,
        log_every_steps=training.log_every_steps or preset.log_every_steps,
    )


def _lora(adapters: Adapters | None, preset: CloningSettings) -> LoraSettings | None:
    if adapters is None:
        return preset.lora
    return (preset.lora or LoraSettings()) if adapters is Adapters.LORA else None


def _number(text: str | None, default: float) -> float:
    return default if text is None else float(text)
