"""Codes of a recording, computed once and stored beside it. Called by `recipes.voice_cloning.material`.

A manifest's line names them in `codes`: a safetensors file, and behind `#` the tensor in it where that is not "codes".
"""

from __future__ import annotations

from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from speech_trainer.data.errors import DecodeError, MissingFile
from speech_trainer.data.manifest import Utterance

FIELD: Final = "codes"
_REMEDY: Final = "encode the recording again"


def read_codes(utterance: Utterance) -> Tensor:
    """[Q, F] int64, of Q books and F frames. Raises: MissingFile, DecodeError."""
    place = utterance.extra.get(FIELD)
    if not isinstance(place, str) or not place:
        raise MissingFile(FIELD, place, "names no file", "encode the recordings first")
    path, _, key = place.partition("#")
    try:
        with safe_open(path, "pt") as file:
            found: Tensor = file.get_tensor(key or FIELD)
    except FileNotFoundError as error:
        raise MissingFile(FIELD, place, "does not exist", _REMEDY) from error
    except (OSError, SafetensorError) as error:
        raise DecodeError(FIELD, place, f"can't be read ({error})", _REMEDY) from error
    if found.dim() != 2 or found.is_floating_point():
        shown = f"{list(found.shape)} of {found.dtype}"
        raise DecodeError(FIELD, place, f"holds {shown}, no codes [books, frames]", _REMEDY)
    return found.to(torch.long)
