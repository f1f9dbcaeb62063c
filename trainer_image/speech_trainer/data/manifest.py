"""The one manifest format: JSON lines with NeMo's keys and ours, paths relative to the manifest.

    {"audio_filepath": "wavs/te-0001.wav", "duration": 1.36, "text": "...", "speaker": "te-f1",
     "language": "te", "phonemes": "...", "sha256": "..."}

`audio_filepath` and `duration` are required, `text` by recipes that learn to speak it (`needs_text`). Keys we
don't know are kept as they are. Read by recipes, `prepare` and `validate`; written by `prepare` and `synthesize`.
"""

import dataclasses
import json
import math
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from speech_contract.errors import shorten
from speech_telemetry.files import replace_text
from speech_trainer.errors import DataError

_STRINGS: Final = ("audio_filepath", "text", "speaker", "language", "phonemes", "sha256")
_REQUIRED: Final = ("audio_filepath", "duration")
_SPOKEN: Final = (*_REQUIRED, "text")  # where it is text that is learned; written always
_EXAMPLE: Final = '{"audio_filepath": "a.wav", "duration": 1.5, "text": "..."}'


@dataclasses.dataclass(frozen=True)
class Utterance:
    """One line. `duration` in seconds, 0 = of a folder's file that can't be read; "" = not given. `line` is from 1."""

    audio_filepath: str
    duration: float
    text: str = ""
    speaker: str = ""
    language: str = ""
    phonemes: str = ""  # IPA; training on it needs no phonemizer
    sha256: str = ""  # of the audio file
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    line: int = 0


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing wrong with one line of a manifest, as `data validate` shows it; `file` where a folder has no lines."""

    line: int
    field: str
    value: object
    rule: str
    remedy: str
    reason: str = "Manifest"
    file: str = ""

    def __str__(self) -> str:
        place = self.file or f"line {self.line}"
        return f"{place}, {self.field}: {shorten(self.value)} {self.rule}; {self.remedy}"


@dataclasses.dataclass(frozen=True)
class Manifest:
    """All lines of one manifest. `path` is what audio paths are relative to."""

    path: Path
    utterances: tuple[Utterance, ...]

    @property
    def seconds(self) -> float:
        """Of audio, as its lines say."""
        return sum(utterance.duration for utterance in self.utterances)

    def audio_path(self, utterance: Utterance) -> Path:
        return self.path.parent / utterance.audio_filepath

    def first(self, count: int | None) -> "Manifest":
        """The first `count` lines (`maxSamples`), or all."""
        return dataclasses.replace(self, utterances=self.utterances[:count])


def symbols(utterance: Utterance) -> str:
    """What of its phonemes, else of its text, is spoken: letters and digits (Unicode categories L and N).

    Punctuation, emoji and characters without width are none: nothing in the audio answers to them.
    """
    text = utterance.phonemes if utterance.phonemes.strip() else utterance.text
    return "".join(letter for letter in text if unicodedata.category(letter)[0] in "LN")


def plain(text: str) -> str:
    """What two sentences have in common that are the same but for case and blanks."""
    return " ".join(text.casefold().split())


def parse_line(text: str, line: int, *, needs_text: bool = True) -> Utterance | Problem:
    """Turn one line of a manifest into an utterance, or say what is wrong with it."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Problem(line, "line", text, f"is no JSON ({error})", f"write {_EXAMPLE}")
    if not isinstance(record, dict):
        return Problem(line, "line", record, "is no JSON object", f"write {_EXAMPLE}")
    return _check(record, line, needs_text) or _utterance(record, line)


def _check(record: Mapping[str, Any], line: int, needs_text: bool) -> Problem | None:
    for field in _SPOKEN if needs_text else _REQUIRED:
        if field not in record:
            return Problem(line, field, None, "is missing", f"write {_EXAMPLE}")
    for field in _STRINGS:
        if not isinstance(record.get(field, ""), str):
            return Problem(line, field, record[field], "is no string", "write it in quotes")
    if not record["audio_filepath"]:
        return Problem(line, "audio_filepath", "", "is empty", "name an audio file")
    duration = record["duration"]
    if not isinstance(duration, int | float) or isinstance(duration, bool):
        return Problem(line, "duration", duration, "is no number", "write seconds, such as 1.5")
    if not (math.isfinite(duration) and duration > 0):
        return Problem(line, "duration", duration, "is not above 0", "write the seconds of audio")
    return None


def _utterance(record: Mapping[str, Any], line: int) -> Utterance:
    strings = {field: record[field] for field in _STRINGS if field in record}
    known = {*_STRINGS, "duration"}
    extra = {key: value for key, value in record.items() if key not in known}
    return Utterance(**strings, duration=float(record["duration"]), extra=extra, line=line)


def scan_manifest(path: Path, *, needs_text: bool = True) -> tuple[Manifest, list[Problem]]:
    """Read every line; good ones and bad ones apart. Blank lines are passed over.

    Raises: DataError when the file can't be read or is no UTF-8.
    """
    good: list[Utterance] = []
    bad: list[Problem] = []
    for number, text in enumerate(_read_lines(path), start=1):
        if text.strip():
            parsed = parse_line(text, number, needs_text=needs_text)
            if isinstance(parsed, Problem):
                bad.append(parsed)
            else:
                good.append(parsed)
    return Manifest(path, tuple(good)), bad


def read_manifest(path: Path, *, needs_text: bool = True) -> Manifest:
    """Read a manifest that must be whole. `needs_text` False: for a recipe of audio alone.

    Raises: DataError naming the first bad line with field, value, rule and remedy, or the file.
    """
    manifest, problems = scan_manifest(path, needs_text=needs_text)
    if problems:
        more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
        raise DataError(
            f"{path}, {problems[0]}{more}; `speechtrain data validate {path}` lists all"
        )
    if not manifest.utterances:
        raise DataError(f"manifest: {str(path)!r} has no lines; write one JSON object per line")
    return manifest


def write_manifest(path: Path, utterances: Iterable[Utterance]) -> None:
    """Write a manifest beside `path` and rename it into place. Raises: OSError."""
    lines = [json.dumps(_record(utterance), ensure_ascii=False) for utterance in utterances]
    replace_text(path, "".join(f"{line}\n" for line in lines))


def _record(utterance: Utterance) -> dict[str, Any]:
    required = {field: getattr(utterance, field) for field in _SPOKEN}
    optional = {
        field: getattr(utterance, field)
        for field in _STRINGS
        if field not in _SPOKEN and getattr(utterance, field)
    }
    return required | optional | dict(utterance.extra)


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError as error:
        remedy = "make one with `speechtrain data synthesize` or `data prepare`, or fix the path"
        raise DataError(f"manifest: {str(path)!r} does not exist; {remedy}") from error
    except (OSError, UnicodeDecodeError) as error:
        remedy = "make it a readable UTF-8 file of JSON lines"
        raise DataError(f"manifest: {str(path)!r} can't be read ({error}); {remedy}") from error
