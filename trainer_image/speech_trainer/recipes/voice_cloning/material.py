"""What a voice-cloning run is about, before any model: settings, tokenizer, manifests, and who is heard for whom.

Made once by `recipes.voice_cloning.recipe`; its preflight, evaluation and sections read it. A line's reference is
another recording: `ref_audio` names the audio of another line of the same manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from torch import Tensor

from speech_contract import paths
from speech_contract.recipes import VoiceCloningRecipe
from speech_trainer.data.codes import FIELD, read_codes
from speech_trainer.data.delay import Grid
from speech_trainer.data.errors import BadCodes, TooLong, TooShort
from speech_trainer.data.manifest import Manifest, Utterance
from speech_trainer.data.recordings import read_recordings
from speech_trainer.data.sequences import Sequence, lay
from speech_trainer.engine.recipe import RecipeContext
from speech_trainer.errors import ConfigError, DataError
from speech_trainer.models.backbone import Backbone, Spoken
from speech_trainer.models.tokens import Tokens, byte_tokens, load_tokens
from speech_trainer.recipes.voice_cloning.backbones import BACKBONES
from speech_trainer.recipes.voice_cloning.presets import CloningSettings, resolve

REF_AUDIO: Final = "ref_audio"


@dataclass(frozen=True)
class Sample:
    """One utterance and whom it is spoken like. `heard`: the reference's line; None without one."""

    utterance: Utterance
    spoken: Spoken
    reference: Spoken | None
    heard: Utterance | None
    sequence: Sequence


@dataclass(frozen=True)
class Lines:
    """A manifest with the reference of each line, or None where it has none."""

    manifest: Manifest
    references: tuple[Utterance | None, ...]

    @property
    def utterances(self) -> tuple[Utterance, ...]:
        """Every line."""
        return self.manifest.utterances

    @property
    def seconds(self) -> list[float]:
        """Of each line with its reference: what its sequence is long by."""
        pairs = zip(self.utterances, self.references, strict=True)
        return [u.duration + (0.0 if r is None else r.duration) for u, r in pairs]


@dataclass(frozen=True)
class Material:
    """The recordings, and what is made of them."""

    settings: CloningSettings
    kind: type[Backbone]
    grid: Grid
    tokens: Tokens
    training: Lines
    held_out: Lines

    def load(self, lines: Lines, index: int) -> Sample:
        """One sequence. Raises: SampleError."""
        utterance, heard = lines.utterances[index], lines.references[index]
        spoken = self.spoken(lines, utterance)
        reference = None if heard is None else self.spoken(lines, heard)
        return self.sample(utterance, spoken, heard, reference)

    def sample(
        self,
        utterance: Utterance,
        spoken: Spoken,
        heard: Utterance | None,
        reference: Spoken | None,
    ) -> Sample:
        """The same words in the voice of whatever reference. Raises: SampleError."""
        pieces = self.kind.prompt(self.tokens, self.grid, spoken.text, reference, spoken.codes)
        return Sample(utterance, spoken, reference, heard, lay(pieces, self.grid))

    def spoken(self, lines: Lines, utterance: Utterance) -> Spoken:
        """Words and codes of a line. Raises: SampleError."""
        if utterance.duration > self.settings.max_seconds:
            rule = f"is longer than {self.settings.max_seconds:g} s"
            raise TooLong("duration", utterance.duration, rule, "cut it into sentences")
        codes = read_codes(lines.manifest, utterance)
        self._check(codes, utterance)
        return Spoken(utterance.text, codes)

    def _check(self, codes: Tensor, utterance: Utterance) -> None:
        """Raises: BadCodes, TooShort for codes that the model has not."""
        name, grid = utterance.audio_filepath, self.grid
        remedy = "encode with the codec that the model was trained on"
        if codes.size(0) != grid.books:
            rule = f"has {codes.size(0)} books, the model {grid.books}"
            raise BadCodes(FIELD, name, rule, remedy)
        if codes.size(1) == 0:
            raise TooShort(FIELD, name, "has no frame", "leave the line out")
        low, high = int(codes.min()), int(codes.max())
        if low < 0 or high >= grid.codes:
            rule = f"has codes from {low} to {high}, the model 0 to {grid.codes - 1}"
            raise BadCodes(FIELD, name, rule, remedy)


def read_material(spec: VoiceCloningRecipe, context: RecipeContext) -> Material:
    """Read the manifests and fix every setting. Raises: ConfigError, DataError."""
    data = context.config.data
    if data is None or data.validation is None:
        raise ConfigError(
            "data: train or validation is missing; the recipe voiceCloning needs both manifests"
        )
    settings, kind = resolve(spec, context.config.training), BACKBONES[spec.backbone]
    if spec.pretrained:
        folder = Path(spec.pretrained)
        grid, tokens = kind.grid_of(folder), load_tokens(folder, kind.markers)
    else:
        grid = Grid(settings.books, settings.codes, kind.framed)
        tokens = byte_tokens(kind.markers)
    kept, lead = context.run_dir / paths.RECORDINGS, context.lead
    training = read_recordings(data.train, "train", kept, lead, needs_text=True).manifest
    held_out = read_recordings(data.validation, "validation", kept, lead, needs_text=True).manifest
    training = training.first(data.max_samples)
    return Material(settings, kind, grid, tokens, paired(training), paired(held_out))


def paired(manifest: Manifest) -> Lines:
    """Every line with its reference. Raises: DataError."""
    by_audio = {manifest.audio_path(u).resolve(): u for u in manifest.utterances}
    found = tuple(_reference(manifest, u, by_audio) for u in manifest.utterances)
    return Lines(manifest, found)


def _reference(
    manifest: Manifest, utterance: Utterance, by_audio: Mapping[Path, Utterance]
) -> Utterance | None:
    named = utterance.extra.get(REF_AUDIO)
    if not named:
        return None
    found = by_audio.get((manifest.path.parent / str(named)).resolve())
    if found is None:
        raise DataError(
            f"{manifest.path}, line {utterance.line}, {REF_AUDIO}: {named!r} is the audio of no other line here; name "
            "one that is: its text and its codes are the reference"
        )
    return found
