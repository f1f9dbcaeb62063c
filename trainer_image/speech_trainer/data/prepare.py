"""Make a manifest ready to train on: mono, one sample rate, durations and digests. `data prepare`.

Bad lines are left out and reported, never fixed in silence.
"""

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from torch import Tensor

from speech_trainer.audio.files import write_wav
from speech_trainer.audio.resampling import resample
from speech_trainer.data.errors import EmptyText, SampleError
from speech_trainer.data.manifest import (
    Manifest,
    Problem,
    Utterance,
    scan_manifest,
    write_manifest,
)
from speech_trainer.data.samples import check_finite_and_audible, decode
from speech_trainer.data.validate import digest
from speech_trainer.errors import DataError

AUDIO_FOLDER: Final = "wavs"


@dataclass(frozen=True)
class PrepareOptions:
    """What to make of a manifest. `sample_rate` in Hz; `max_samples` None = all good lines.

    `needs_text` False: it is for recipes of audio alone.
    """

    sample_rate: int = 22050
    max_samples: int | None = None
    needs_text: bool = True

    def __post_init__(self) -> None:
        if not 8000 <= self.sample_rate <= 192_000:
            raise DataError(
                f"sampleRate: {self.sample_rate} is not between 8000 and 192000; use 22050"
            )
        if self.max_samples is not None and self.max_samples < 1:
            raise DataError(f"maxSamples: {self.max_samples} is not above 0; leave it out for all")


@dataclass(frozen=True)
class PrepareReport:
    """What was written, and every line that was left out."""

    manifest: Path
    utterances: int
    seconds: float
    problems: tuple[Problem, ...]


def prepare(
    source: Path,
    folder: Path,
    options: PrepareOptions,
    on_utterance: Callable[[int], None] = lambda done: None,
) -> PrepareReport:
    """Write `folder/<name of source>` and `folder/wavs/` from the manifest `source`.

    Raises: DataError when the manifest can't be read, nothing good is in it, or the target is the source.
    """
    manifest, problems = scan_manifest(source, needs_text=options.needs_text)
    target = folder / source.name
    if target.resolve() == source.resolve():
        raise DataError(f"folder: {str(folder)!r} holds the source manifest; name another folder")
    (folder / AUDIO_FOLDER).mkdir(parents=True, exist_ok=True)
    prepared: list[Utterance] = []
    for utterance in manifest.utterances:
        if options.max_samples is not None and len(prepared) >= options.max_samples:
            break
        result = _prepare_one(manifest, utterance, folder, options)
        if isinstance(result, Problem):
            problems.append(result)
        else:
            prepared.append(result)
            on_utterance(len(prepared))
    if not prepared:
        first = f", first: {problems[0]}" if problems else ""
        raise DataError(f"manifest: {str(source)!r} has no usable line{first}")
    write_manifest(target, prepared)
    seconds = sum(utterance.duration for utterance in prepared)
    return PrepareReport(target, len(prepared), seconds, tuple(problems))


def _prepare_one(
    manifest: Manifest, utterance: Utterance, folder: Path, options: PrepareOptions
) -> Utterance | Problem:
    try:
        waveform = _load(manifest, utterance, options)
    except SampleError as error:
        return Problem(
            utterance.line, error.field, error.value, error.rule, error.remedy, error.reason
        )
    relative = f"{AUDIO_FOLDER}/{_file_name(utterance)}"
    write_wav(folder / relative, waveform, options.sample_rate)
    return dataclasses.replace(
        utterance,
        audio_filepath=relative,
        duration=round(waveform.numel() / options.sample_rate, 4),
        sha256=digest(folder / relative),
    )


def _load(manifest: Manifest, utterance: Utterance, options: PrepareOptions) -> Tensor:
    if options.needs_text and not (utterance.text.strip() or utterance.phonemes.strip()):
        raise EmptyText("text", utterance.text, "is empty", "write what is spoken")
    path = manifest.audio_path(utterance)
    waveform, source_rate = decode(path)
    check_finite_and_audible(waveform, path)
    return resample(waveform, source_rate, options.sample_rate)


def _file_name(utterance: Utterance) -> str:
    """Stem of the source and a digest of its path: two folders may use the same names."""
    key = hashlib.sha256(utterance.audio_filepath.encode()).hexdigest()[:8]
    return f"{Path(utterance.audio_filepath).stem}-{key}.wav"
