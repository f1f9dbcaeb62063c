"""What a codec run is about, before any model: settings, manifests, and how a recording is read.

Made once by `recipes.codec.recipe`; its preflight, evaluation and strategic sections read it.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from torch import Tensor
from transformers import DacConfig

from speech_contract import paths
from speech_contract.recipes import CodecRecipe
from speech_trainer.data.folder import Listing
from speech_trainer.data.manifest import Manifest
from speech_trainer.data.recordings import read_recordings
from speech_trainer.data.samples import Sample, SampleLimits, load_sample, usable
from speech_trainer.engine.recipe import RecipeContext
from speech_trainer.errors import ConfigError
from speech_trainer.models.codec import LOOKUP, codec_config
from speech_trainer.recipes.codec.presets import CodecSettings, resolve


@dataclasses.dataclass(frozen=True)
class Material:
    """The recordings, and what is made of them. `listing`: of the folder that they lie in, where it is one."""

    settings: CodecSettings
    network: DacConfig
    manifest: Manifest
    validation: Manifest | None
    listing: Listing | None = None

    def load(self, manifest: Manifest, index: int) -> Sample:
        """One recording at the codec's rate. Raises: SampleError."""
        settings = self.settings
        shortest = max(scale.window for scale in settings.scales)
        limits = SampleLimits(settings.sample_rate, settings.hop, shortest, settings.max_seconds)
        return load_sample(manifest, manifest.utterances[index], None, limits)

    def clips(self, manifest: Manifest | None, count: int) -> list[Tensor]:
        """The first recordings [T] that can be read, at most `count`, each cut to whole frames."""
        if manifest is None:
            return []
        hop = self.settings.hop
        found = usable(len(manifest.utterances), count, lambda i: self.load(manifest, i))
        return [s.waveform[: s.waveform.numel() // hop * hop] for s in found]


def read_material(spec: CodecRecipe, context: RecipeContext) -> Material:
    """Read the manifests and fix every setting. Raises: ConfigError, DataError."""
    data = context.config.data
    if data is None:
        raise ConfigError("data: None is missing; the recipe codec needs data.train")
    settings = resolve(spec, context.config.training)
    if spec.pretrained:
        network = codec_config(Path(spec.pretrained))
        settings = _as_pretrained(settings, network)
    else:
        network = new_config(settings)
    kept = context.run_dir / paths.RECORDINGS
    train = read_recordings(data.train, "train", kept, context.lead)
    held_out = (
        read_recordings(data.validation, "validation", kept, context.lead).manifest
        if data.validation
        else None
    )
    manifest = train.manifest.first(data.max_samples)
    return Material(settings, network, manifest, held_out, train.listing)


def new_config(settings: CodecSettings) -> DacConfig:
    """Sizes as transformers has them."""
    quantizer = settings.quantizer
    return DacConfig(
        encoder_hidden_size=settings.encoder_channels,
        downsampling_ratios=list(settings.ratios),
        decoder_hidden_size=settings.decoder_channels,
        n_codebooks=quantizer.levels,
        codebook_size=quantizer.codes,
        codebook_dim=quantizer.dimensions or 8,
        quantizer_dropout=quantizer.dropout,
        sampling_rate=settings.sample_rate,
    )


def _as_pretrained(settings: CodecSettings, network: DacConfig) -> CodecSettings:
    """The sizes that a checkpoint has; its codebooks need no start."""
    by_distance = getattr(network, LOOKUP, "angle") == "distance"
    quantizer = dataclasses.replace(
        settings.quantizer,
        levels=network.n_codebooks,
        codes=network.codebook_size,
        dimensions=None if by_distance else network.codebook_dim,
        start_step=1,
    )
    return dataclasses.replace(
        settings,
        sample_rate=network.sampling_rate,
        ratios=tuple(network.downsampling_ratios),
        encoder_channels=network.encoder_hidden_size,
        decoder_channels=network.decoder_hidden_size,
        quantizer=quantizer,
    )
