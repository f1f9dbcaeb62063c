"""Data sets of the Higgs community as a manifest of ours. Behind `speechtrain data import higgs`.

The two forms stand in `data.higgs_forms`. Audio stays where it is. A reference that is no sample of its own becomes a
line, for its text and codes are what a target is spoken like; it is then a target as well. Nothing is left out or
dropped without being counted.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import soundfile

from speech_trainer.audio.files import read_info
from speech_trainer.data.higgs_forms import (
    BadField,
    Dropped,
    Pair,
    Take,
    pair_of_messages,
    pair_of_sample,
)
from speech_trainer.data.manifest import Problem, Utterance, write_manifest
from speech_trainer.data.references import with_reference
from speech_trainer.errors import DataError

METADATA: Final = "metadata.json"


@dataclass(frozen=True)
class ImportReport:
    """`manifest` None: nothing was to be written. `added`: references that were no samples. `dropped`: by field."""

    manifest: Path | None
    lines: int
    with_reference: int
    added: int
    dropped: dict[str, int]
    problems: tuple[Problem, ...]


def import_higgs(source: Path, target: Path, *, dry_run: bool = False) -> ImportReport:
    """Write the manifest `target` from `source`: a folder with metadata.json, that file, or ms-swift's JSONL.

    Raises: DataError when `source` can't be read as either, is `target`, or holds nothing that can be used.
    """
    path = source / METADATA if source.is_dir() else source
    if target.resolve() == path.resolve():
        raise DataError(f"out: {str(target)!r} is the source; name another file")
    made = _Import(target.parent)
    rows = _samples(path) if path.suffix == ".json" else _json_lines(path)
    read = pair_of_sample if path.suffix == ".json" else pair_of_messages
    for row in rows:
        made.take(row, read, path.parent)
    lines = made.lines()
    if not lines:
        first = made.problems[0] if made.problems else "no sample"
        raise DataError(f"{path}: nothing can be used, first: {first}")
    if not dry_run:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_manifest(target, lines)
    return made.report(None if dry_run else target, lines)


@dataclass(frozen=True)
class _Row:
    """One sample as it stands; `file`: how a message names its place where that is no line."""

    line: int
    record: Any
    file: str = ""


class _Import:
    """Targets as they come, then references that are none of them."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._own: dict[str, Utterance] = {}  # audio → line
        self._wanted: list[tuple[str, Take, _Row]] = []
        self._added = 0
        self._dropped: Dropped = Counter()
        self.problems: list[Problem] = []

    def take(self, row: _Row, read: Callable[[Any, Path, Dropped], Pair], folder: Path) -> None:
        """The next sample; one of which nothing can be made is a problem."""
        mine: Dropped = Counter()
        try:
            if isinstance(row.record, BadField):
                raise row.record
            target, reference = read(row.record, folder, mine)
            audio = self._add(target)
        except BadField as error:
            self._left_out(row, error)
            return
        self._dropped.update(mine)
        if reference is not None:
            self._wanted.append((audio, reference, row))

    def lines(self) -> list[Utterance]:
        """Every line with its reference. Called once."""
        for audio, reference, row in self._wanted:
            try:
                heard = self._heard(audio, reference)
            except BadField as error:
                self._left_out(row, error)
                continue
            if heard:
                self._own[audio] = with_reference(self._own[audio], heard)
        return list(self._own.values())

    def report(self, target: Path | None, lines: list[Utterance]) -> ImportReport:
        """In numbers."""
        return ImportReport(
            manifest=target,
            lines=len(lines),
            with_reference=sum(with_reference(u, None) != u for u in lines),
            added=self._added,
            dropped=dict((+self._dropped).most_common()),
            problems=tuple(self.problems),
        )

    def _add(self, take: Take) -> str:
        """The name of its audio, relative to the manifest. Raises: BadField."""
        audio = os.path.relpath(take.audio, self._home)
        if audio in self._own:
            rule = "is the audio of a sample before"
            raise BadField(take.field, str(take.audio), rule, "drop one of them")
        self._own[audio] = Utterance(
            audio_filepath=audio,
            duration=_duration(take),
            text=take.text,
            speaker=take.speaker,
            language=take.language,
            extra={"id": take.name} if take.name else {},
        )
        return audio

    def _heard(self, target: str, reference: Take) -> str | None:
        audio = os.path.relpath(reference.audio, self._home)
        if audio == target:
            self._dropped[f"{reference.field}, the target itself"] += 1
            return None
        if audio not in self._own:
            if not reference.text:
                self._dropped[f"{reference.field} without its words"] += 1
                return None
            self._add(reference)
            self._added += 1
        return audio

    def _left_out(self, row: _Row, error: BadField) -> None:
        self.problems.append(
            Problem(row.line, error.field, error.value, error.rule, error.remedy, file=row.file)
        )


def _duration(take: Take) -> float:
    """As it is said, for that is the only witness of half a file; else the file's own. Raises: BadField."""
    path = str(take.audio)
    try:
        seconds = (
            take.seconds if take.seconds and take.audio.is_file() else read_info(take.audio).seconds
        )
    except FileNotFoundError as error:
        remedy = "paths are relative to the file that names them"
        raise BadField(take.field, path, "does not exist", remedy) from error
    except (OSError, soundfile.LibsndfileError, RuntimeError) as error:
        raise BadField(take.field, path, f"can't be read ({error})", "replace it") from error
    if seconds <= 0:
        raise BadField(take.field, path, "holds no sound", "record it again")
    return round(seconds, 4)


def _samples(path: Path) -> Iterator[_Row]:
    """Of metadata.json. Raises: DataError."""
    document = _parsed(_text(path), str(path))
    found = document.get("samples") if isinstance(document, Mapping) else None
    if not isinstance(found, list):
        raise DataError(
            f"{path}, samples: no list of samples; name the metadata.json of a Higgs data set, or ms-swift's JSONL"
        )
    for number, sample in enumerate(found):
        yield _Row(number + 1, sample, file=f"samples[{number}]")


def _json_lines(path: Path) -> Iterator[_Row]:
    """Of ms-swift's JSONL. Raises: DataError."""
    for number, text in enumerate(_text(path).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            record = BadField("line", text, f"is no JSON ({error})", "write one object a line")
        yield _Row(number, record)


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: no JSON ({error}); restore the file") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        remedy = f"name a folder with {METADATA}, that file, or a JSONL file of ms-swift"
        raise DataError(f"path: {str(path)!r} can't be read ({error}); {remedy}") from error
