"""What a codec batch holds and what the network makes of it: the sections Input and Output.

Called through `CodecTrainer.strategic_sections`, outside the step, on rank 0. Audio never reaches the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, Final

import torch
from torch import Tensor
from transformers import DacFeatureExtractor

from speech_trainer.data.folder import Listing
from speech_trainer.models.codec import Codec
from speech_trainer.recipes.codec.batch import CodecBatch
from speech_trainer.recipes.codec.material import Material
from speech_trainer.recipes.codec.presets import CodecSettings
from speech_trainer.strategic.facts import ends, shape, statistics

_SHOWN: Final = 2  # crops of the batch
_SILENCE: Final = 1e-12  # power that is shown for less, -120 dB
_BANDS: Final = (0, 500, 1000, 2000, 4000, 8000, 12000)  # Hz


def describe_input(material: Material, batch: CodecBatch, step: int) -> Mapping[str, Any]:
    """Shapes, rates, loudness and where the crops were taken; at step 1 all data received."""
    rate = material.settings.sample_rate
    facts: dict[str, Any] = {
        "waveform": shape(batch.waveform, "batch channel samples"),
        "audio seconds": round(batch.audio_seconds, 2),
        "weight": batch.weight,
        "recorded at, Hz": _counted(crop.recorded_at for crop in batch.crops),
        "loudness, dB": _loudness(batch),
        "crops": [
            {
                "line": crop.utterance.line,
                "file": crop.utterance.audio_filepath,
                "from": f"{crop.start / rate:.2f} s of {crop.utterance.duration:.2f} s",
                "gain": round(crop.gain, 3),
                "level": statistics(waveform[0]),
            }
            for crop, waveform in list(zip(batch.crops, batch.waveform, strict=False))[:_SHOWN]
        ],
    }
    return {"data received": _received(material)} | facts if step == 1 else facts


def _counted(rates: Iterable[int]) -> dict[str, int]:
    """How many crops are of files of each rate, the most frequent one first."""
    return {str(rate): count for rate, count in Counter(rates).most_common()}


def _loudness(batch: CodecBatch) -> dict[str, float]:
    """RMS of the crops in dB of full scale, as the network hears them."""
    power = batch.waveform.float().square().mean(dim=(1, 2))
    levels = (10.0 * power.clamp_min(_SILENCE).log10()).sort().values
    quietest, median, loudest = levels[0], levels[levels.numel() // 2], levels[-1]
    return {
        name: round(float(level), 1)
        for name, level in (("quietest", quietest), ("median", median), ("loudest", loudest))
    }


@torch.no_grad()
def describe_output(codec: Codec, batch: CodecBatch, *, coded: bool) -> Mapping[str, Any]:
    """Codes in use, what each level leaves, and the error by band."""
    training = codec.training
    codec.eval()
    try:
        output, quantized = codec(batch.waveform, coded=coded)
    finally:
        codec.train(training)
    recorded = batch.waveform[..., : output.size(-1)]
    facts: dict[str, Any] = {
        "decoded": shape(output, "batch channel samples"),
        "level": statistics(output),
        "error by band, dB": _bands(output, recorded, codec.config.sampling_rate),
    }
    if not coded:
        return facts | {"codes": "none yet: latents pass unrounded until the codebooks start"}
    return facts | {
        "codes": [
            {
                "book": f"q{number}",
                "in use": f"{codes.unique().numel()} of {codec.config.codebook_size}",
                "residual left": round(float(level.residual), 3),
                "first": ends(codes[0].tolist()),
            }
            for number, (codes, level) in enumerate(
                zip(quantized.codes.unbind(1), quantized.levels, strict=True)
            )
        ]
    }


def feature_extractor(settings: CodecSettings) -> DacFeatureExtractor:
    """What pads waveforms for the exported model."""
    return DacFeatureExtractor(sampling_rate=settings.sample_rate, hop_length=settings.hop)


def _received(material: Material) -> dict[str, Any]:
    utterances, settings = material.manifest.utterances, material.settings
    held_out = material.validation.utterances if material.validation else ()
    return {
        **(_folder(material.listing) if material.listing else {}),
        "recordings": len(utterances),
        "held out": len(held_out),
        "hours": round(material.manifest.seconds / 3600, 3),
        "longest": f"{max(u.duration for u in utterances):.2f} s",
        "speakers": len({u.speaker for u in utterances}),
        "languages": sorted({u.language or "not given" for u in utterances}),
        "sample rate": settings.sample_rate,
        "frames a second": round(settings.sample_rate / settings.hop, 3),
        "bits a second": round(settings.bits_per_second, 1),
    }


def _folder(listing: Listing) -> dict[str, Any]:
    return {
        "folder": listing.folder,
        "hidden there": listing.hidden,
        "no audio by name": listing.other,
        "unreadable": len(listing.unreadable),
    }


def _bands(output: Tensor, recorded: Tensor, rate: int) -> dict[str, float]:
    """Energy of the error over energy of the recording in each band, in dB; 0 = as good as silence."""
    error = torch.fft.rfft((output - recorded).float()).abs().square().sum(dim=(0, 1))
    whole = torch.fft.rfft(recorded.float()).abs().square().sum(dim=(0, 1))
    frequencies = torch.linspace(0.0, rate / 2, error.numel())
    found = {}
    for low, high in pairwise(_BANDS):
        inside = ((frequencies >= low) & (frequencies < high)).to(error.device)
        if bool(inside.any()):
            share = error[inside].sum() / whole[inside].sum().clamp_min(1e-12)
            found[f"{low}-{high} Hz"] = round(float(10.0 * share.clamp_min(1e-12).log10()), 2)
    return found
