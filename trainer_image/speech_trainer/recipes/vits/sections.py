"""What a VITS batch holds and what the model makes of it: the sections Input and Output.

Called through `Vits.strategic_sections`, outside the step, on rank 0. Ids are decoded by the run's own
vocabulary, blanks shown as `·`; audio never reaches it.
"""

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

from speech_trainer.models.vits import GeneratorOutput, VitsGenerator, segments
from speech_trainer.recipes.vits.batch import VitsBatch
from speech_trainer.recipes.vits.voice import Voice
from speech_trainer.strategic.facts import ends, shape, statistics

_SHOWN: Final = 2  # samples of the batch


def describe_input(voice: Voice, batch: VitsBatch, step: int) -> Mapping[str, Any]:
    """Decoded sequences, shapes, audio segments and positions; at step 1 all data received."""
    facts: dict[str, Any] = {
        "tokens": shape(batch.tokens, "batch tokens"),
        "waveform": shape(batch.waveform, "batch samples"),
        "audio seconds": round(batch.audio_seconds, 2),
        "weight": batch.weight,
        "samples": [_sample(voice, batch, i) for i in range(min(_SHOWN, batch.samples))],
    }
    return {"data received": _received(voice)} | facts if step == 1 else facts


@torch.no_grad()
def describe_output(voice: Voice, generator: VitsGenerator, batch: VitsBatch) -> Mapping[str, Any]:
    """Alignment, durations and mel, predicted beside found, for the first samples of the batch."""
    training = generator.training
    generator.eval()
    try:
        return _describe_output(voice, generator, batch)
    finally:
        generator.train(training)


def _describe_output(voice: Voice, generator: VitsGenerator, batch: VitsBatch) -> Mapping[str, Any]:
    linear = voice.spectrograms.linear(batch.waveform)
    inputs = (batch.tokens, batch.token_lengths, linear, batch.frame_lengths, batch.speakers)
    output = generator(*inputs)
    predicted = generator.predicted_durations(batch.tokens, batch.token_lengths, batch.speakers)
    found = output.alignment.sum(dim=1)
    shown = range(min(_SHOWN, batch.tokens.size(0)))
    return {
        "generated": shape(output.waveform, "batch channel samples"),
        "alignment": [_alignment(found, batch, i) for i in shown],
        "durations in frames": [_durations(predicted, found, batch, i) for i in shown],
        "mel of a segment": _mels(voice, batch, output),
    }


def _received(voice: Voice) -> dict[str, Any]:
    utterances = voice.manifest.utterances
    held_out = voice.validation.utterances if voice.validation else ()
    return {
        "utterances": len(utterances),
        "held out": len(held_out),
        "hours": round(voice.manifest.seconds / 3600, 3),
        "longest": f"{max(u.duration for u in utterances):.2f} s",
        "speakers": len(voice.speakers),
        "languages": sorted({u.language or "not given" for u in utterances}),
        "tokens from": "phonemes" if voice.vocabulary.phonemes else "text",
        "vocabulary": voice.vocabulary.size,
        "unknown symbols": sorted(voice.vocabulary.unknown((*utterances, *held_out))),
        "sample rate": voice.settings.spectrogram.sample_rate,
    }


def _sample(voice: Voice, batch: VitsBatch, index: int) -> dict[str, Any]:
    length = int(batch.token_lengths[index])
    hop = voice.settings.spectrogram.hop_length
    samples = int(batch.frame_lengths[index]) * hop
    utterance = batch.utterances[index]
    return {
        "line": utterance.line,
        "text": utterance.text,
        "decoded": voice.vocabulary.decode(batch.tokens[index, :length].tolist()),
        "ids": ends(batch.tokens[index, :length].tolist()),
        "tokens": f"0 to {length} of {batch.tokens.size(1)}",
        "audio": f"0 to {samples} of {batch.waveform.size(1)} samples",
        "level": statistics(batch.waveform[index, :samples]),
    }


def _alignment(found: Tensor, batch: VitsBatch, index: int) -> dict[str, Any]:
    durations = found[index, : int(batch.token_lengths[index])]
    return {
        "frames": int(batch.frame_lengths[index]),
        "tokens": durations.numel(),
        "longest token": int(durations.max()),
        "tokens of one frame": round(float((durations == 1).float().mean()), 3),
    }


def _durations(predicted: Tensor, found: Tensor, batch: VitsBatch, index: int) -> dict[str, Any]:
    length = int(batch.token_lengths[index])
    prediction, label = predicted[index, :length], found[index, :length]
    return {
        "predicted": ends([round(v, 2) for v in prediction.tolist()]),
        "aligned": ends([int(v) for v in label.tolist()]),
        "predicted sum": round(float(prediction.ceil().sum()), 1),
        "aligned sum": int(label.sum()),
        "mean absolute error": round(float((prediction - label).abs().mean()), 3),
    }


def _mels(voice: Voice, batch: VitsBatch, output: GeneratorOutput) -> dict[str, Any]:
    settings = voice.settings
    hop = settings.spectrogram.hop_length
    size = settings.segment_frames * hop
    real = segments(batch.waveform.unsqueeze(1), output.start * hop, size)
    prediction = voice.spectrograms(output.waveform[:1].squeeze(1))[0]
    label = voice.spectrograms(real[:1].squeeze(1))[0]
    return {
        "segment": f"frames {int(output.start[0])} to {int(output.start[0]) + settings.segment_frames}",
        "predicted": statistics(prediction) | ends(prediction.mean(dim=0).tolist()),
        "label": statistics(label) | ends(label.mean(dim=0).tolist()),
        "mean absolute error": round(float((prediction - label).abs().mean()), 4),
    }
