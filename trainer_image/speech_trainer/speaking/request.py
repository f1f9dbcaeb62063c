"""What somebody wants said, and what came of it. Shared by the voices of this room and by `speaking.voices`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor


@dataclass(frozen=True)
class Request:
    """A sentence. `reference`: an audio file, or MANIFEST.jsonl:LINE; "" = none. `codec`: instead of the export's own.

    `seed`, `temperature`, `top_k`, `top_p` and `max_seconds` are for cloned voices, which are drawn at random;
    `speaker` and `language` for VITS: its number, and what language the text is in where the voice reads phonemes.
    """

    text: str
    reference: str
    reference_text: str
    language: str
    speaker: int
    codec: Path | None
    seed: int
    temperature: float
    top_k: int
    top_p: float
    max_seconds: float
    device: torch.device


@dataclass(frozen=True)
class Said:
    """`waveform` [T]. `ended`: by itself, and not because it was cut. `notes`: sentences for the person."""

    waveform: Tensor
    sample_rate: int  # Hz
    ended: bool = True
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Of audio."""
        return self.waveform.numel() / self.sample_rate
