"""One manifest line to one training sample, or a typed error that says why not.

Called by `data.loader` from its worker threads (no state is shared) and by `data.validate`. Foreign errors
of the file system and of libsndfile become `SampleError` here and nowhere else.
"""

import logging
from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import soundfile
import torch
from torch import Tensor

from speech_contract.events import MESSAGES, Event
from speech_trainer.audio.files import read_audio
from speech_trainer.audio.resampling import resample
from speech_trainer.data.errors import (
    DecodeError,
    EmptyText,
    MissingFile,
    NonFiniteAudio,
    OtherSampleError,
    SampleError,
    Silent,
    TooLong,
    TooShort,
)
from speech_trainer.data.manifest import Manifest, Utterance, symbols

SILENCE_RMS: Final = 1e-3  # -60 dB of full scale

logger = logging.getLogger(__name__)
S = TypeVar("S")
Encode = Callable[[Utterance], list[int]]  # tokens of an utterance; [] = nothing to say


@dataclass(frozen=True)
class SampleLimits:
    """What a recipe can train on."""

    sample_rate: int  # Hz
    hop_length: int  # samples per frame
    min_samples: int  # at `sample_rate`
    max_seconds: float


@dataclass(frozen=True)
class Sample:
    """One utterance ready for a batch: waveform [T] float32 at the recipe's rate, tokens [L], none of audio alone."""

    utterance: Utterance
    waveform: Tensor
    tokens: list[int] = field(default_factory=list)
    recorded_at: int = 0  # Hz of the file; 0 = not known


def load_sample(
    manifest: Manifest, utterance: Utterance, encode: Encode | None, limits: SampleLimits
) -> Sample:
    """Decode, check and tokenize one utterance. Raises: SampleError, one subclass per reason.

    `encode` None: the recipe trains on audio alone, whatever the line says.
    """
    tokens = encode(utterance) if encode else []
    if encode and not (tokens and symbols(utterance)):
        raise EmptyText("text", utterance.text, "has nothing to say", "write what is spoken")
    path = manifest.audio_path(utterance)
    waveform, recorded_at = load_waveform(path, limits)
    check_length(waveform.numel() / limits.sample_rate, tokens, utterance, limits)
    return Sample(utterance, waveform, tokens, recorded_at)


def usable(size: int, count: int, load: Callable[[int], S]) -> list[S]:
    """`count` of `size` samples that load, from all over the manifest; each bad one is a warning."""
    samples: list[S] = []
    for index in spread(size, count):
        if len(samples) == count:
            break
        try:
            samples.append(load(index))
        except SampleError as error:
            extra = {"event": Event.SAMPLE_REPLACED.value, "index": index}
            logger.warning(MESSAGES[Event.SAMPLE_REPLACED], exc_info=error, extra=extra)
    return samples


def spread(size: int, count: int) -> Iterator[int]:
    """Every index below `size`, `count` evenly spaced ones first: manifests are often sorted by speaker or language."""
    first = dict.fromkeys(n * size // count for n in range(min(size, count)))
    yield from first
    yield from (index for index in range(size) if index not in first)


def load_waveform(path: Path, limits: SampleLimits) -> tuple[Tensor, int]:
    """Waveform [T] at the recipe's sample rate, and the rate of the file. Raises: SampleError."""
    waveform, sample_rate = decode(path)
    check_finite_and_audible(waveform, path)
    if sample_rate != limits.sample_rate:
        waveform = _resample(waveform, sample_rate, limits.sample_rate)
    return waveform, sample_rate


def check_finite_and_audible(waveform: Tensor, path: Path) -> None:
    """Raises: NonFiniteAudio, Silent."""
    if not bool(torch.isfinite(waveform).all()):
        raise NonFiniteAudio("audio_filepath", str(path), "holds NaN or Inf", "export it again")
    if waveform.numel() == 0 or float(waveform.square().mean().sqrt()) < SILENCE_RMS:
        raise Silent("audio_filepath", str(path), "is silent (below -60 dB)", "record it again")


def decode(path: Path) -> tuple[Tensor, int]:
    """Waveform [T] and its own sample rate. Raises: SampleError."""
    try:
        return read_audio(path)
    except FileNotFoundError as error:
        remedy = "paths are relative to the manifest"
        raise MissingFile("audio_filepath", str(path), "does not exist", remedy) from error
    except soundfile.LibsndfileError as error:
        rule = f"can't be decoded ({error.error_string})"
        remedy = "replace it by a whole file, as WAV or FLAC"
        raise DecodeError("audio_filepath", str(path), rule, remedy) from error
    except (OSError, RuntimeError, ValueError) as error:
        rule = f"can't be loaded ({type(error).__name__}: {error})"
        raise OtherSampleError("audio_filepath", str(path), rule, "check the file") from error


def _resample(waveform: Tensor, sample_rate: int, target: int) -> Tensor:
    logger.debug("Resampling on the fly; `speechtrain data prepare` does it once")
    return resample(waveform, sample_rate, target)


def check_length(seconds: float, tokens: Sized, utterance: Utterance, limits: SampleLimits) -> None:
    """Raises: TooLong; TooShort where there are fewer frames than tokens, or not one FFT frame."""
    if seconds > limits.max_seconds:
        rule = f"is longer than {limits.max_seconds:g} s"
        raise TooLong("duration", round(seconds, 3), rule, "cut it into sentences")
    samples = round(seconds * limits.sample_rate)
    frames = samples // limits.hop_length
    if samples < limits.min_samples or frames < len(tokens):
        if not tokens:
            rule = f"is shorter than {limits.min_samples / limits.sample_rate:.3g} s"
            raise TooShort("duration", round(seconds, 3), rule, "leave it out")
        rule = f"gives {frames} frames for {len(tokens)} tokens of {utterance.text!r}"
        raise TooShort("duration", round(seconds, 3), rule, "check that text and audio belong")
