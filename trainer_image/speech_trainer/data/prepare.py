"""Make a manifest ready to train on: mono, one sample rate, durations and digests. `data prepare`.

Whatever `data validate` would call wrong is left out and reported, never fixed in silence.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from speech_trainer.audio.files import write_wav
from speech_trainer.audio.resampling import resample
from speech_trainer.data.checks import MAX_SECONDS, LineChecks, digest
from speech_trainer.data.manifest import (
    Manifest,
    Problem,
    Utterance,
    write_manifest,
)
from speech_trainer.data.recordings import scan_recordings
from speech_trainer.data.references import REF_AUDIO, named_by, with_reference
from speech_trainer.errors import DataError

AUDIO_FOLDER: Final = "wavs"


@dataclass(frozen=True)
class PrepareOptions:
    """What to make of a manifest. `sample_rate` in Hz; `max_samples` None = all good lines.

    `max_seconds`: longest utterance to be trained on; longer ones are left out. `needs_text` False: it is for recipes
    of audio alone.
    """

    sample_rate: int = 22050
    max_samples: int | None = None
    max_seconds: float = MAX_SECONDS
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
    """Write `folder/<name of source>` and `folder/wavs/` from the manifest `source`, or from a folder of audio.

    Raises: DataError when the manifest can't be read, nothing good is in it, or the target is the source.
    """
    found, problems = scan_recordings(source, needs_text=options.needs_text)
    manifest = found.manifest
    target = folder / (f"{source.name}.jsonl" if found.listing else source.name)
    if target.resolve() == source.resolve():
        raise DataError(f"folder: {str(folder)!r} holds the source manifest; name another folder")
    (folder / AUDIO_FOLDER).mkdir(parents=True, exist_ok=True)
    prepared: list[tuple[Path, Utterance]] = []  # beside the audio that it was
    checks = LineChecks(manifest, options.max_seconds, options.needs_text)
    for utterance in manifest.utterances:
        if options.max_samples is not None and len(prepared) >= options.max_samples:
            break
        result = _prepare_one(checks, utterance, folder, options)
        if isinstance(result, list):
            problems.extend(result)
        else:
            prepared.append((manifest.audio_path(utterance).resolve(), result))
            on_utterance(len(prepared))
    if not prepared:
        first = f", first: {problems[0]}" if problems else ""
        raise DataError(f"manifest: {str(source)!r} has no usable line{first}")
    by_audio = dict(prepared)
    lines = [_heard(manifest, utterance, by_audio, problems) for _, utterance in prepared]
    write_manifest(target, lines)
    seconds = sum(utterance.duration for utterance in lines)
    return PrepareReport(target, len(lines), seconds, tuple(problems))


def _heard(
    manifest: Manifest,
    utterance: Utterance,
    prepared: Mapping[Path, Utterance],
    problems: list[Problem],
) -> Utterance:
    """The line with the new name of its reference; without one that was left out."""
    named = named_by(manifest, utterance)
    if named is None:
        return utterance
    found = prepared.get(named)
    if found is None:
        value, rule = utterance.extra[REF_AUDIO], "is no line that is kept"
        remedy = "the line is kept without it; `speechtrain data pair` gives another"
        problems.append(Problem(utterance.line, REF_AUDIO, value, rule, remedy))
    return with_reference(utterance, found.audio_filepath if found else None)


def _prepare_one(
    checks: LineChecks, utterance: Utterance, folder: Path, options: PrepareOptions
) -> Utterance | list[Problem]:
    problems, found = checks.check(utterance)
    if problems or found is None:
        return problems
    waveform = resample(*found, options.sample_rate)
    relative = f"{AUDIO_FOLDER}/{_file_name(utterance)}"
    write_wav(folder / relative, waveform, options.sample_rate)
    return dataclasses.replace(
        utterance,
        audio_filepath=relative,
        duration=round(waveform.numel() / options.sample_rate, 4),
        sha256=digest(folder / relative),
    )


def _file_name(utterance: Utterance) -> str:
    """Stem of the source and a digest of its path: two folders may use the same names."""
    key = hashlib.sha256(utterance.audio_filepath.encode()).hexdigest()[:8]
    return f"{Path(utterance.audio_filepath).stem}-{key}.wav"
