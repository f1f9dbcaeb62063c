"""A small voice made of tones, written to files. Used by the fixtures of this folder and by tests of whole voices."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch

from speech_trainer.audio.files import write_wav

RATE = 22050


def tone(seconds: float, pitch: float = 220.0) -> torch.Tensor:
    """A waveform with some harmonics, so that mel bins differ."""
    time = torch.arange(int(seconds * RATE)) / RATE
    harmonics = [torch.sin(2 * math.pi * pitch * k * time) / k for k in range(1, 6)]
    return 0.2 * torch.stack(harmonics).sum(dim=0)


def write_voice(folder: Path, name: str, count: int, first: int = 0) -> Path:
    """`count` utterances of growing length; letters stand for pitches."""
    (folder / "wavs").mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(first, first + count):
        letters = "".join("abcdefgh"[(number * 3 + i) % 8] for i in range(4 + number % 5))
        waveform = torch.cat([tone(0.12, 110.0 + 40.0 * "abcdefgh".index(c)) for c in letters])
        write_wav(folder / f"wavs/{number}.wav", waveform, RATE)
        lines.append(
            {
                "audio_filepath": f"wavs/{number}.wav",
                "duration": round(waveform.numel() / RATE, 4),
                "text": letters.upper(),
                "phonemes": letters,
                "speaker": "tones",
                "language": "en",
            }
        )
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path
