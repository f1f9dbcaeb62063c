"""Which voice an export is, and what it says. Called by `speechtrain speak`; a further kind of voice is a line here."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from transformers.utils import logging

from speech_trainer.data.errors import SampleError
from speech_trainer.errors import ConfigError, DataError
from speech_trainer.models import higgs_v2, higgs_v3
from speech_trainer.speaking import cloned, vits
from speech_trainer.speaking.request import Request, Said

_PRETRAINED: Final = re.compile(r"^recipe\.\w+\.pretrained:")
Speak = Callable[[Path, Request], Said]
VOICES: Final[Mapping[str, Speak]] = {
    "vits": vits.speak,
    higgs_v3.MODEL_TYPE: cloned.speaker_of(higgs_v3.HiggsV3),
    higgs_v2.MODEL_TYPE: cloned.speaker_of(higgs_v2.HiggsV2),
}


def speak(export: Path, request: Request) -> Said:
    """Say it with the voice in a folder. Raises: ConfigError, DataError."""
    kind = kind_of(export)
    voice = VOICES.get(kind)
    if voice is None:
        raise ConfigError(
            f"RUN: {str(export)!r} is of model_type {kind!r}, no voice; known are {', '.join(VOICES)}"
        )
    logging.disable_progress_bar()  # of files that are read in a moment
    try:
        return voice(export, request)
    except SampleError as error:
        raise DataError(str(error)) from error
    except ConfigError as error:  # what is read here is no field of a job
        raise ConfigError(_PRETRAINED.sub("RUN:", str(error))) from error


def kind_of(export: Path) -> str:
    """model_type of an export. Raises: ConfigError."""
    path = export / "config.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"RUN: {str(path)!r} can't be read ({error}); name export/ of a run, with config.json and model.safetensors"
        ) from error
    return str(document.get("model_type", "")) if isinstance(document, dict) else ""
