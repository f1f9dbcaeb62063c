"""What a voice-cloning run is about, before any model: settings, tokenizer, manifests, and who is heard for whom.

Made once by `recipes.voice_cloning.recipe`; its preflight, evaluation and sections read it. A line's reference is
another line of the same manifest (`data.references`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from speech_contract.recipes import VoiceCloningRecipe
from speech_trainer.data.codes import FIELD, CodecFacts, codec_of, read_codes, reference_of
from speech_trainer.data.delay import Grid
from speech_trainer.data.errors import BadCodes, TooLong, TooShort
from speech_trainer.data.manifest import Manifest, Utterance
from speech_trainer.data.padding import TokenBudget
from speech_trainer.data.references import references
from speech_trainer.data.sequences import Sequence, lay
from speech_trainer.engine.recipe import RecipeContext
from speech_trainer.errors import ConfigError, DataError
from speech_trainer.models.backbone import Backbone, Spoken
from speech_trainer.models.tokens import Tokens, byte_tokens, load_tokens
from speech_trainer.recipes.spoken import spoken
from speech_trainer.recipes.voice_cloning.backbones import BACKBONES
from speech_trainer.recipes.voice_cloning.presets import CloningSettings, resolve


@dataclass(frozen=True)
class Sample:
    """One utterance and whom it is spoken like. `heard`: the reference's line; None without one."""

    utterance: Utterance
    spoken: Spoken
    reference: Spoken | None
    heard: Utterance | None
    sequence: Sequence

    @property
    def audio_filepath(self) -> str:
        """By which people find it again."""
        return self.utterance.audio_filepath


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
    codec: CodecFacts | None  # that made the codes of both; None: no line has any

    @cached_property
    def budget(self) -> TokenBudget | None:
        """How micro-batches of the training lines are cut; None: by number."""
        most = self.settings.micro_batch_tokens
        return None if most is None else TokenBudget(self.lengths(self.training), most)

    def lengths(self, lines: Lines) -> list[int]:
        """Places of each line's sequence, by the manifest alone: nothing is loaded."""
        utterances = {u.line: u for pair in (lines.utterances, lines.references) for u in pair if u}
        texts = self.tokens.lengths([u.text for u in utterances.values()])
        own = {
            u.line: words + _frames(u) + self.grid.extra
            for u, words in zip(utterances.values(), texts, strict=True)
        }
        bare, paired = self._structure(heard=False), self._structure(heard=True)
        return [
            own[u.line] + (bare if heard is None else paired + own[heard.line])
            for u, heard in zip(lines.utterances, lines.references, strict=True)
        ]

    def _structure(self, *, heard: bool) -> int:
        """Places of a prompt that are neither words nor codes."""
        sound = Spoken("a", torch.zeros(self.grid.books, 1, dtype=torch.long))
        pieces = self.kind.prompt(
            self.tokens, self.grid, sound.text, sound if heard else None, sound.codes
        )
        (words,) = self.tokens.lengths([sound.text])
        own = words + 1 + self.grid.extra
        return sum(len(piece.tokens) for piece in pieces) - own * (2 if heard else 1)

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
        codes = read_codes(lines.manifest, utterance, self.codec)
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
    training = spoken(data.train, "train", context)
    held_out = spoken(data.validation, "validation", context)
    codec = codec_of(training)
    if spec.pretrained:
        folder = Path(spec.pretrained)
        grid, tokens = kind.grid_of(folder), load_tokens(folder, kind.markers)
    else:
        grid, tokens = _grid(codec, training, kind), byte_tokens(kind.markers)
    lines = Lines(training.first(data.max_samples), references(training)[: data.max_samples])
    others = Lines(held_out, references(held_out))
    return Material(settings, kind, grid, tokens, lines, others, codec)


def _grid(codec: CodecFacts | None, training: Manifest, kind: type[Backbone]) -> Grid:
    """As many books and codes as the data have: a model from random weights has no sizes of its own."""
    if codec is None:
        raise DataError(
            f"{training.path}: {FIELD} is missing or can't be read in every line; write them: `speechtrain data encode`"
        )
    return Grid(codec.codebooks, codec.codebook_size, kind.framed)


def _frames(utterance: Utterance) -> int:
    """Of its codes, as the line says; 0 for a line without, which can't be loaded either."""
    try:
        return reference_of(utterance).frames
    except BadCodes:
        return 0
