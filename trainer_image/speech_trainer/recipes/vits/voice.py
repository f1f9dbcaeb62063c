"""What a VITS run is about, before any model: settings, manifests, vocabulary, speakers, time-frequency grid.

Made once by `recipes.vits.recipe`; its preflight and its strategic sections read it.
"""

import dataclasses
from pathlib import Path
from typing import Final

from speech_contract.recipes import VitsRecipe
from speech_contract.run_config import Data, RunConfig
from speech_trainer.audio.spectrograms import Spectrograms
from speech_trainer.data.manifest import Manifest
from speech_trainer.data.samples import Sample, SampleLimits, load_sample, usable
from speech_trainer.engine.recipe import RecipeContext
from speech_trainer.errors import ConfigError
from speech_trainer.recipes.spoken import spoken
from speech_trainer.recipes.vits import parts, tokens
from speech_trainer.recipes.vits.presets import VitsSettings, resolve
from speech_trainer.recipes.vits.tokens import Vocabulary

_BAD_AUDIO_FLOOR: Final = 1  # FFT frames an utterance must at least have


@dataclasses.dataclass(frozen=True)
class Voice:
    """One voice, or several, as the job and its data describe them."""

    settings: VitsSettings
    manifest: Manifest
    validation: Manifest | None
    vocabulary: Vocabulary
    speakers: dict[str, int]
    spectrograms: Spectrograms

    def load(self, manifest: Manifest, index: int) -> Sample:
        """One utterance, ready for a batch. Raises: SampleError."""
        spectrogram = self.settings.spectrogram
        limits = SampleLimits(
            sample_rate=spectrogram.sample_rate,
            hop_length=spectrogram.hop_length,
            min_samples=_BAD_AUDIO_FLOOR * spectrogram.fft_size,
            max_seconds=self.settings.max_seconds,
        )
        return load_sample(manifest, manifest.utterances[index], self.vocabulary.encode, limits)

    def few(self, manifest: Manifest | None, count: int) -> list[Sample]:
        """The first usable samples of a manifest, at most `count`."""
        if manifest is None:
            return []
        return usable(len(manifest.utterances), count, lambda i: self.load(manifest, i))


def read_voice(spec: VitsRecipe, context: RecipeContext) -> Voice:
    """Read the manifests and fix every setting. Raises: ConfigError, DataError."""
    settings = resolve(spec, context.config.training)
    if spec.pretrained:
        grid = parts.pretrained_spectrogram(Path(spec.pretrained))
        settings = dataclasses.replace(settings, spectrogram=grid)
    data = _data(context.config)
    manifest = spoken(data.train, "train", context).first(data.max_samples)
    return Voice(
        settings=settings,
        manifest=manifest,
        validation=spoken(data.validation, "validation", context) if data.validation else None,
        vocabulary=tokens.from_pretrained(Path(spec.pretrained))
        if spec.pretrained
        else tokens.from_manifest(manifest),
        speakers=parts.speaker_ids(manifest),
        spectrograms=Spectrograms(settings.spectrogram).to(context.device),
    )


def _data(config: RunConfig) -> Data:
    if config.data is None:
        raise ConfigError("data: None is missing; the recipe vits needs data.train.manifest")
    return config.data
