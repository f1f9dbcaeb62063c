"""A sentence by an exported VITS voice, at its most likely, as its evaluations synthesize it.

A voice that learned phonemes is given those of espeak-ng, as `data synthesize` writes them.
"""

from __future__ import annotations

from pathlib import Path

import torch

from speech_trainer.data.errors import EmptyText
from speech_trainer.data.espeak import Espeak, SpeechRequest
from speech_trainer.data.manifest import Utterance
from speech_trainer.errors import ConfigError, DataError
from speech_trainer.models.vits import VitsGenerator, load_pretrained
from speech_trainer.recipes.vits.tokens import Vocabulary, from_pretrained
from speech_trainer.speaking.request import Request, Said


def speak(export: Path, request: Request) -> Said:
    """Raises: ConfigError, DataError, SampleError."""
    _check(request)
    vocabulary = from_pretrained(export)
    tokens = _tokens(vocabulary, request)
    model = load_pretrained(export)
    speakers = max(1, model.config.num_speakers)
    if not 0 <= request.speaker < speakers:
        raise ConfigError(
            f"speaker: {request.speaker} is not there; this voice has {speakers}, numbered from 0 by their names"
        )
    voice = VitsGenerator(model, segment_frames=1).to(request.device).eval()
    waveform = voice.synthesize(
        torch.tensor([tokens], device=request.device),
        torch.tensor([request.speaker], device=request.device),
    )
    return Said(waveform.cpu(), model.config.sampling_rate)


def _check(request: Request) -> None:
    if request.reference or request.reference_text:
        raise ConfigError(
            f"reference: {request.reference or request.reference_text!r} is for a cloned voice; a VITS voice speaks as "
            "it was trained: leave it out, or name a run of the recipe voiceCloning"
        )
    if request.codec is not None:
        raise ConfigError(
            f"codec: {str(request.codec)!r} has no use, VITS needs none; leave it out"
        )


def _tokens(vocabulary: Vocabulary, request: Request) -> list[int]:
    utterance = Utterance("", 0.0, " ".join(request.text.split()))
    if vocabulary.phonemes:
        utterance = Utterance("", 0.0, utterance.text, phonemes=_phonemes(request))
    found = vocabulary.encode(utterance)
    unknown = sorted(vocabulary.unknown([utterance]))
    if unknown:
        what = "phonemes" if vocabulary.phonemes else "characters"
        raise DataError(
            f"text: {request.text!r} has {what} that this voice has never learned: {', '.join(map(repr, unknown))}; "
            "write it without them, or train on text that has them"
        )
    if not found:
        raise EmptyText("text", request.text, "has nothing to say", "write what is spoken")
    return found


def _phonemes(request: Request) -> str:
    if not request.language:
        raise ConfigError(
            "language: is missing, and this voice reads phonemes; name the language of the text as espeak-ng does, "
            "such as te, hi, en-us or de"
        )
    with Espeak() as espeak:
        return espeak.say(SpeechRequest(request.text, request.language)).phonemes
