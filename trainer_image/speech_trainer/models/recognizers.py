"""What a speech recogniser makes of speech that was generated: a model of transformers in a folder of one's own.

Called by the evaluation of `recipes.voice_cloning`. Nothing is downloaded, and none comes with the project.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional
from torchaudio.functional import edit_distance
from transformers import pipeline

from speech_trainer.errors import ConfigError

_SHORTEST: Final = 0.5  # seconds; convolutions of a recogniser take no less than some frames
_TASK: Final = "automatic-speech-recognition"


class Recognizer:
    """Waveform → text."""

    def __init__(self, directory: Path, device: torch.device) -> None:
        """Raises: ConfigError when the folder holds no recogniser with its tokenizer and feature extractor."""
        try:
            self._ask: Any = pipeline(_TASK, model=str(directory), device=device)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise ConfigError(
                f"recipe.voiceCloning.recognizer: {str(directory)!r} can't be loaded ({error}); name a folder with a "
                "model of speech recognition, its tokenizer and its preprocessor_config.json"
            ) from error

    def __call__(self, waveform: Tensor, sample_rate: int) -> str:
        """Of [T] on the host."""
        short = int(_SHORTEST * sample_rate) - waveform.numel()
        padded = functional.pad(waveform, (0, max(0, short)))
        answer = self._ask({"raw": padded.numpy(), "sampling_rate": sample_rate})
        return str(answer["text"])


def character_error_rate(said: Sequence[str], wanted: Sequence[str]) -> float:
    """Characters to change, add and take out (Levenshtein), of all sentences, by those that were wanted.

    Letters, marks and digits count, in one case, and single spaces. Telugu and its kin are judged by characters, since
    one of them makes a whole word wrong. Raises: ValueError when nothing was wanted.
    """
    pairs = [(_plain(a), _plain(b)) for a, b in zip(said, wanted, strict=True)]
    total = sum(len(b) for _, b in pairs)
    if not total:
        raise ValueError("the sentences hold no letter")
    errors: int = sum(edit_distance(a, b) for a, b in pairs)
    return errors / total


def _plain(text: str) -> str:
    kept = (
        letter if unicodedata.category(letter)[0] in "LMN" else " "
        for letter in unicodedata.normalize("NFC", text).casefold()
    )
    return " ".join("".join(kept).split())
