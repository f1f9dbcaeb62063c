"""Codec and recogniser of a run, where they are at hand: by them what the model says is heard. Called by the recipe.

A voice goes with the codec that wrote its codes: another one of the same sizes makes noise of them, and no loss tells.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import torch

from speech_contract.recipes import VoiceCloningRecipe
from speech_trainer.data.codes import CodecFacts, facts_of, reference_of
from speech_trainer.data.errors import BadCodes
from speech_trainer.data.manifest import Manifest
from speech_trainer.errors import ConfigError
from speech_trainer.models.encoders import (
    FOLDER,
    CodecEncoder,
    kind_of,
    load_encoder,
    weights_digest,
)
from speech_trainer.models.recognizers import Recognizer


class Listeners:
    """Codec and recogniser of two folders on a device; None where there is no folder. Read when first asked for."""

    def __init__(self, codec: Path | None, recognizer: Path | None, device: torch.device) -> None:
        self._codec, self._recognizer, self._device = codec, recognizer, device

    @cached_property
    def codec(self) -> CodecEncoder | None:
        """Raises: ConfigError."""
        return None if self._codec is None else load_encoder(self._codec, self._device)

    @cached_property
    def recognizer(self) -> Recognizer | None:
        """Raises: ConfigError."""
        folder = self._recognizer
        return None if folder is None else Recognizer(folder, self._device)


def find_codec(spec: VoiceCloningRecipe, training: Manifest) -> Path | None:
    """What the job names, else what came with the pretrained model. Raises: ConfigError for another than the codes'."""
    beside = Path(spec.pretrained) / FOLDER
    if not spec.codec and not (spec.pretrained and beside.is_dir()):
        return None
    folder = Path(spec.codec) if spec.codec else beside
    kind_of(folder)
    facts = _facts(training)
    if facts is not None and facts.digest != weights_digest(folder):
        raise ConfigError(
            f"recipe.voiceCloning.codec: {str(folder)!r} is not the codec that wrote the codes of "
            f"{str(training.path)!r} ({facts.kind}, SHA-256 {facts.digest[:12]}…); name that one, or encode the data "
            "with this one"
        )
    return folder


def find_recognizer(spec: VoiceCloningRecipe, codec: Path | None) -> Path | None:
    """What the job names. Raises: ConfigError when it is not there, or when there is no codec to hear anything by."""
    if not spec.recognizer:
        return None
    folder, field = Path(spec.recognizer), "recipe.voiceCloning.recognizer"
    if not (folder / "config.json").is_file():
        raise ConfigError(
            f"{field}: {str(folder)!r} has no config.json; name a folder with a model of speech recognition"
        )
    if codec is None:
        raise ConfigError(
            f"{field}: {str(folder)!r} hears nothing without a codec; name the one that wrote the codes in "
            "recipe.voiceCloning.codec"
        )
    return folder


def _facts(manifest: Manifest) -> CodecFacts | None:
    """Of the first line; None when there is nothing to be read, which loading the line tells better."""
    try:
        first = reference_of(manifest.utterances[0])
    except BadCodes:
        return None
    return facts_of(manifest.path.parent / first.file)
