"""Training crops of the codec recipe, and how they become one rank's batch.

Where a crop begins depends on the seed and on its place in the training stream alone, so that a resumed run, on any
number of ranks, hears the same. Shapes: B batch, T samples of a crop.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from speech_trainer.data.manifest import Utterance
from speech_trainer.data.samples import SILENCE_RMS, Sample
from speech_trainer.recipes.codec.presets import CodecSettings

_TRIES = 4  # places in a recording before a quiet crop is taken all the same


@dataclass(frozen=True)
class Crop:
    """`waveform` [T] from `start` on, in samples of the recipe's rate; `gain` brought it to its loudness.

    `recorded_at`: Hz of the file.
    """

    utterance: Utterance
    waveform: Tensor
    start: int
    gain: float = 1.0
    recorded_at: int = 0


@dataclass(frozen=True)
class CodecBatch:
    """`engine.recipe.Batch`. `crops` stay on the host, for preflight and strategic log, without their waveforms."""

    waveform: Tensor  # [B, 1, T]
    weight: float
    audio_seconds: float
    crops: tuple[Crop, ...]

    @property
    def samples(self) -> int:
        """Crops in it."""
        return len(self.crops)

    @property
    def count(self) -> int:
        """Every loss is a mean over crops of one length."""
        return len(self.crops)

    @property
    def real(self) -> bool:
        """Not a stand-in: the codebooks may learn from it."""
        return bool(self.crops)

    def to(self, device: torch.device) -> CodecBatch:
        """Move the audio, non-blocking."""
        return dataclasses.replace(self, waveform=self.waveform.to(device, non_blocking=True))


@dataclass(frozen=True)
class Cutter:
    """Recording → crop; the same for the same position."""

    settings: CodecSettings
    seed: int

    def __call__(self, sample: Sample, position: int) -> Crop:
        """A place that is not silent, if a few tries find one; a short recording is padded behind."""
        chance, size = random.Random(f"{self.seed}/{position}/crop"), self.settings.crop
        room = max(0, sample.waveform.numel() - size)
        for _ in range(_TRIES):
            start = chance.randint(0, room)
            piece = sample.waveform[start : start + size]
            if float(piece.square().mean().sqrt()) >= SILENCE_RMS:
                break
        piece = functional.pad(piece, (0, size - piece.numel()))
        gain = self._gain(piece)
        return Crop(sample.utterance, piece * gain, start, gain, sample.recorded_at)

    def _gain(self, piece: Tensor) -> float:
        """Towards the wanted loudness, never into clipping."""
        if self.settings.loudness is None:
            return 1.0
        level, peak = float(piece.square().mean().sqrt()), float(piece.abs().max())
        if level < SILENCE_RMS:
            return 1.0
        wanted = float(10.0 ** (self.settings.loudness / 20.0))
        return min(wanted / level, 1.0 / peak)


@dataclass(frozen=True)
class Collate:
    """Crops → batch. No crops → a silent stand-in with weight 0, so that every rank steps."""

    settings: CodecSettings
    pin_memory: bool = False

    def __call__(self, crops: Sequence[Crop]) -> CodecBatch:
        rows = [crop.waveform for crop in crops] or [torch.zeros(self.settings.crop)]
        waveform = torch.stack(rows).unsqueeze(1)
        kept = tuple(dataclasses.replace(c, waveform=torch.empty(0)) for c in crops)
        return CodecBatch(
            waveform=waveform.pin_memory() if self.pin_memory else waveform,
            weight=1.0 if crops else 0.0,
            audio_seconds=len(crops) * self.settings.crop / self.settings.sample_rate,
            crops=kept,
        )
