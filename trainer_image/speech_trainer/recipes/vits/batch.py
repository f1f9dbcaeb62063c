"""One rank's batch of the VITS recipe, and how samples become one.

Shapes: B batch, L tokens, T samples.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speech_trainer.data.manifest import Utterance
from speech_trainer.data.samples import Sample
from speech_trainer.recipes.vits.presets import VitsSettings
from speech_trainer.recipes.vits.tokens import BLANK_ID


@dataclass(frozen=True)
class VitsBatch:
    """`engine.recipe.Batch`. `utterances` stay on the host, for the strategic log."""

    tokens: Tensor  # [B, L] int64
    token_lengths: Tensor  # [B]
    waveform: Tensor  # [B, T], T a multiple of the hop
    frame_lengths: Tensor  # [B]
    speakers: Tensor  # [B] int64
    weight: float
    samples: int
    audio_seconds: float
    utterances: tuple[Utterance, ...]

    @property
    def count(self) -> int:
        """Every loss is a mean over samples."""
        return self.samples

    def to(self, device: torch.device) -> "VitsBatch":
        """Move the tensors, non-blocking."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> "VitsBatch":
        """The same in page-locked memory, from which `to` is asynchronous."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, change: Callable[[Tensor], Tensor]) -> "VitsBatch":
        return dataclasses.replace(
            self,
            tokens=change(self.tokens),
            token_lengths=change(self.token_lengths),
            waveform=change(self.waveform),
            frame_lengths=change(self.frame_lengths),
            speakers=change(self.speakers),
        )


@dataclass(frozen=True)
class Collate:
    """Samples → batch. No samples → one silent stand-in with weight 0, so that every rank steps."""

    settings: VitsSettings
    speakers: dict[str, int]
    pin_memory: bool = False

    def __call__(self, samples: Sequence[Sample]) -> VitsBatch:
        members = list(samples) or [self._stand_in()]
        hop = self.settings.spectrogram.hop_length
        frames = [sample.waveform.numel() // hop for sample in members]
        batch = VitsBatch(
            tokens=pad_sequence(
                [torch.tensor(s.tokens) for s in members], batch_first=True, padding_value=BLANK_ID
            ),
            token_lengths=torch.tensor([len(s.tokens) for s in members]),
            waveform=self._padded([s.waveform for s in members], frames),
            frame_lengths=torch.tensor(frames),
            speakers=torch.tensor([self.speakers.get(s.utterance.speaker, 0) for s in members]),
            weight=1.0 if samples else 0.0,
            samples=len(samples),
            audio_seconds=sum(frames) * hop / self.settings.spectrogram.sample_rate
            if samples
            else 0.0,
            utterances=tuple(s.utterance for s in samples),
        )
        return batch.pinned() if self.pin_memory else batch

    def _padded(self, waveforms: list[Tensor], frames: list[int]) -> Tensor:
        """[B, T] with zeros behind each, at least one training segment long."""
        hop = self.settings.spectrogram.hop_length
        size = max(*frames, self.settings.segment_frames) * hop
        padded = torch.zeros(len(waveforms), size)
        for row, waveform, count in zip(padded, waveforms, frames, strict=True):
            row[: count * hop] = waveform[: count * hop]
        return padded

    def _stand_in(self) -> Sample:
        length = self.settings.segment_frames * self.settings.spectrogram.hop_length
        utterance = Utterance(audio_filepath="", duration=1.0, text="")
        return Sample(utterance, torch.zeros(length), [BLANK_ID])
