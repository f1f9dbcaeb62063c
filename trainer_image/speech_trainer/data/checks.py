"""What is wrong with one line of a manifest and its audio. One judgement for `data validate` and `data prepare`.

`validate` lists what is found, `prepare` leaves such lines out: what it writes is valid, and nothing is mended in
silence. A length known from the manifest is the only witness of half a file: WAV and OGG that were cut are read as
whole, shorter ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from torch import Tensor

from speech_trainer.audio.files import open_regular
from speech_trainer.data.errors import EmptyText, SampleError
from speech_trainer.data.manifest import Manifest, Problem, Utterance, symbols
from speech_trainer.data.samples import (
    SampleLimits,
    check_finite_and_audible,
    check_length,
    decode,
)
from speech_trainer.errors import DataError

DURATION_TOLERANCE: Final = 0.02  # share of the manifest's duration
MAX_SECONDS: Final = 20.0  # of one utterance: what the largest preset trains on
_GRID: Final = {"sample_rate": 22050, "hop_length": 256, "min_samples": 1024}  # of the presets


@dataclass
class LineChecks:
    """Checks the lines of one manifest, in their order. `max_seconds`: longest utterance that is to be trained on.

    `needs_text` False: for recipes of audio alone, whatever the lines say.
    """

    manifest: Manifest
    max_seconds: float = MAX_SECONDS
    needs_text: bool = True
    _seen: dict[str, int] = field(default_factory=dict)  # audio path → its first line

    def __post_init__(self) -> None:
        if not self.max_seconds > 0:
            raise DataError(f"maxSeconds: {self.max_seconds:g} is not above 0; leave it out for 20")

    def check(self, utterance: Utterance) -> tuple[list[Problem], tuple[Tensor, int] | None]:
        """Everything that is wrong with this line, and waveform [T] with its rate (Hz) where it can be read."""
        problems = [*self._text(utterance), *self._twice(utterance)]
        try:
            found = self._read(utterance)
        except SampleError as error:
            return [*problems, _problem(utterance, error)], None
        problems += self._against_the_line(utterance, *found)
        return problems, found

    def _text(self, utterance: Utterance) -> Iterator[Problem]:
        if self.needs_text and not symbols(utterance):
            error = EmptyText(
                "text", utterance.text, "has nothing to say", "write what is spoken, in letters"
            )
            yield _problem(utterance, error)

    def _twice(self, utterance: Utterance) -> Iterator[Problem]:
        first = self._seen.setdefault(utterance.audio_filepath, utterance.line)
        if first != utterance.line:
            rule, remedy = f"is already on line {first}", "drop one of them"
            yield Problem(utterance.line, "audio_filepath", utterance.audio_filepath, rule, remedy)

    def _read(self, utterance: Utterance) -> tuple[Tensor, int]:
        path = self.manifest.audio_path(utterance)
        waveform, rate = decode(path)
        check_finite_and_audible(waveform, path)
        return waveform, rate

    def _against_the_line(
        self, utterance: Utterance, waveform: Tensor, rate: int
    ) -> Iterator[Problem]:
        seconds = waveform.numel() / rate
        if abs(seconds - utterance.duration) > DURATION_TOLERANCE * utterance.duration:
            rule = f"differs from the file's {seconds:.3f} s"
            remedy = f"restore the file, or write {seconds:.3f} where it is whole"
            yield Problem(utterance.line, "duration", utterance.duration, rule, remedy)
        elif utterance.sha256 and digest(self.manifest.audio_path(utterance)) != utterance.sha256:
            rule = "is not the file's digest"
            remedy = "restore the file, or take sha256 out of this line to train on what is there"
            yield Problem(utterance.line, "sha256", utterance.sha256, rule, remedy)
        try:
            grid = SampleLimits(max_seconds=self.max_seconds, **_GRID)
            spoken = symbols(utterance) if self.needs_text else ""
            check_length(seconds, spoken, utterance, grid)
        except SampleError as error:
            yield _problem(utterance, error)


def digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal. Raises: OSError."""
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _problem(utterance: Utterance, error: SampleError) -> Problem:
    return Problem(utterance.line, error.field, error.value, error.rule, error.remedy, error.reason)
