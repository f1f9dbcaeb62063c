"""Everything that is wrong with a manifest and its audio, line by line. Behind `speechtrain data validate`.

Reads every file once. Changes nothing.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from speech_trainer.data.errors import SampleError
from speech_trainer.data.manifest import Manifest, Problem, Utterance, scan_manifest
from speech_trainer.data.samples import check_finite_and_audible, decode

_DURATION_TOLERANCE: Final = 0.02  # share of the manifest's duration


@dataclass(frozen=True)
class ValidationReport:
    """What `data validate` prints. `seconds` counts good lines only."""

    path: Path
    lines: int
    seconds: float
    speakers: int
    languages: int
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        return not self.problems

    def by_reason(self) -> dict[str, int]:
        """Number of problems of each reason, most frequent first."""
        return dict(Counter(problem.reason for problem in self.problems).most_common())


def validate_manifest(path: Path, *, needs_text: bool = True) -> ValidationReport:
    """Check every line and its audio; text where it is needed.

    Raises: DataError when the manifest can't be read at all.
    """
    manifest, problems = scan_manifest(path, needs_text=needs_text)
    seen: dict[str, int] = {}
    good: list[Utterance] = []
    for utterance in manifest.utterances:
        found = list(_check(manifest, utterance, seen, needs_text))
        problems.extend(found)
        if not found:
            good.append(utterance)
    if not manifest.utterances and not problems:
        problems.append(_no_lines(path))
    return ValidationReport(
        path=path,
        lines=len(manifest.utterances),
        seconds=sum(utterance.duration for utterance in good),
        speakers=len({utterance.speaker for utterance in good}),
        languages=len({utterance.language for utterance in good}),
        problems=tuple(sorted(problems, key=lambda problem: problem.line)),
    )


def digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal. Raises: OSError."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check(
    manifest: Manifest, utterance: Utterance, seen: dict[str, int], needs_text: bool
) -> Iterator[Problem]:
    if needs_text and not (utterance.text.strip() or utterance.phonemes.strip()):
        yield _problem(
            utterance, "text", utterance.text, "is empty", "write what is spoken", "EmptyText"
        )
    first = seen.setdefault(utterance.audio_filepath, utterance.line)
    if first != utterance.line:
        rule = f"is already on line {first}"
        yield _problem(
            utterance, "audio_filepath", utterance.audio_filepath, rule, "drop one of them"
        )
    yield from _check_audio(manifest, utterance)


def _check_audio(manifest: Manifest, utterance: Utterance) -> Iterator[Problem]:
    path = manifest.audio_path(utterance)
    try:
        waveform, sample_rate = decode(path)
        check_finite_and_audible(waveform, path)
    except SampleError as error:
        yield _problem(utterance, error.field, error.value, error.rule, error.remedy, error.reason)
        return
    seconds = waveform.numel() / sample_rate
    if abs(seconds - utterance.duration) > _DURATION_TOLERANCE * utterance.duration:
        rule = f"differs from the file's {seconds:.3f} s"
        yield _problem(utterance, "duration", utterance.duration, rule, f"write {seconds:.3f}")
    if utterance.sha256 and digest(path) != utterance.sha256:
        rule = "is not the file's digest"
        yield _problem(
            utterance, "sha256", utterance.sha256, rule, "run `speechtrain data prepare` again"
        )


def _problem(
    utterance: Utterance,
    field: str,
    value: object,
    rule: str,
    remedy: str,
    reason: str = "Manifest",
) -> Problem:
    return Problem(utterance.line, field, value, rule, remedy, reason)


def _no_lines(path: Path) -> Problem:
    return Problem(0, "manifest", str(path), "has no lines", "write one JSON object per line")
