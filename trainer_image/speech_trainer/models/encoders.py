"""Codecs that turn recordings into codes and back: ours as it is exported, and the tokenizer of Higgs Audio v2.

Called by `speechtrain data encode`, `speaking` and `recipes.voice_cloning`. Weights are read from safetensors alone and
must be whole: `from_pretrained` fills what is missing with random numbers, and codes of those look like any others.
Shapes: B batch, T samples, Q codebooks, F frames.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import DacModel, HiggsAudioV2TokenizerModel

from speech_contract import env
from speech_trainer.data.checks import digest
from speech_trainer.data.codes import CodecFacts
from speech_trainer.errors import ConfigError

_FILES: Final = ("config.json", ".safetensors", ".safetensors.index.json")
FOLDER: Final = "codec"  # in the export of a cloned voice: what its codes are spoken by
KINDS: Final[Mapping[str, Any]] = {
    "dac": DacModel,
    "higgs_audio_v2_tokenizer": HiggsAudioV2TokenizerModel,
}


class CodecEncoder:
    """`data.codes.Encoder` by a model of transformers, in float32."""

    def __init__(self, model: nn.Module, facts: CodecFacts, device: torch.device) -> None:
        self.facts, self._device = facts, device
        self._model: Any = model.to(device).eval()

    @torch.inference_mode()
    def __call__(self, waveforms: Tensor) -> Tensor:
        """Waveforms [B, 1, T] → codes [B, Q, F] on the host. No TF32: its ten bits are not enough for a code."""
        with torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False):
            codes: Tensor = self._model.encode(waveforms.to(self._device)).audio_codes
        return codes.cpu()

    @torch.inference_mode()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes [Q, F] → waveform [T] on the host, in float32 within an autocast too."""
        with torch.autocast(self._device.type, enabled=False):
            found = self._model.decode(audio_codes=codes[None].to(self._device)).audio_values
        waveform: Tensor = found.flatten().cpu()
        return waveform


def load_encoder(directory: Path, device: torch.device) -> CodecEncoder:
    """The codec in a folder with config.json and safetensors. Raises: ConfigError."""
    kind = kind_of(directory)
    try:
        found: Any = KINDS[kind].from_pretrained(
            directory, output_loading_info=True, use_safetensors=True, dtype=torch.float32
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        remedy = "name a folder with config.json and model.safetensors, as export/ of a run"
        raise ConfigError(
            f"codec: {str(directory)!r} can't be loaded ({error}); {remedy}"
        ) from error
    model, info = found
    lacking = sorted(info["missing_keys"])
    if lacking:
        raise ConfigError(
            f"codec: {str(directory)!r} lacks {len(lacking)} weights, {', '.join(lacking[:3])}; use a whole checkpoint"
        )
    return CodecEncoder(model, _facts(kind, model.config, weights_digest(directory)), device)


def device_of(name: str, environment: Mapping[str, str]) -> torch.device:
    """`auto`: the GPU of this process among those of its machine, where there is one. Raises: ConfigError."""
    if name == "auto":
        count = torch.cuda.device_count()
        local = int(environment.get(env.LOCAL_RANK, "0"))
        return torch.device("cuda", local % count) if count else torch.device("cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device: {name!r} is not there ({reason}); write cpu or auto") from error


def copy_codec(directory: Path, target: Path) -> None:
    """Put config and weights of a codec, and nothing else that lies there, into a folder. Raises: OSError."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(directory.iterdir()):
        if path.name.endswith(_FILES):
            shutil.copyfile(path, target / path.name)


def weights_digest(directory: Path) -> str:
    """SHA-256 of model.safetensors; of the digests of all files where there are several."""
    digests = [digest(path) for path in sorted(directory.glob("*.safetensors"))]
    return (
        digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    )


def kind_of(directory: Path) -> str:
    """model_type of a codec. Raises: ConfigError when it is none."""
    path = directory / "config.json"
    try:
        kind = json.loads(path.read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        remedy = "name a folder with config.json and model.safetensors, as export/ of a run"
        raise ConfigError(f"codec: {str(path)!r} can't be read ({error}); {remedy}") from error
    if kind not in KINDS:
        raise ConfigError(
            f"codec: {str(directory)!r} is of model_type {kind!r}; known are {' and '.join(KINDS)}"
        )
    return str(kind)


def _facts(kind: str, config: Any, weights: str) -> CodecFacts:
    if kind == "dac":
        books, rate = config.n_codebooks, config.sampling_rate
        hop = math.prod(config.downsampling_ratios)
    else:
        books, rate, hop = config.num_quantizers, config.sample_rate, config.hop_length
    return CodecFacts(kind, weights, books, config.codebook_size, rate, hop)
