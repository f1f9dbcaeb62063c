"""A run directory → what its page tells. What is not there is left out; what is broken is said, never fatal.

No recording and no picture from outside its samples is carried along: their names come out of a file, and the
directory may come from elsewhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from speech_contract import codec, paths
from speech_contract.errors import ContractError
from speech_contract.events import Event
from speech_contract.result import Result
from speech_telemetry.report.curves import Curves
from speech_telemetry.report.inside import pictures_of
from speech_telemetry.report.story import Lines, Medium, Story
from speech_telemetry.report.time_spent import time_spent
from speech_telemetry.series import Row, read_row

SOUNDS_BYTES: Final = 12 * 1024 * 1024  # of all recordings together
PICTURE_BYTES: Final = 256 * 1024  # of one
PICTURES: Final = 8
CONFIG_BYTES: Final = 256 * 1024
TEXT_BYTES: Final = 64 * 1024 * 1024  # of events.jsonl: its end
_ATTEMPT: Final = re.compile(r"attempt-(\d+)")
_NUMBERED: Final = re.compile(r"(?P<number>\d+)-(?P<kind>.+)")
_SOUND: Final = {
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".ogg": "audio/ogg",
    ".mp3": "audio/mpeg",
}
_PICTURE: Final = {".png": "image/png", ".jpg": "image/jpeg"}
_TARGETS: Final = ("recorded",)  # stand before what was made of them


def read(run_dir: Path) -> Story:
    """Everything. Raises OSError when the directory cannot be looked at."""
    story = Story("", Curves())
    for path in series_files(run_dir):
        attempt = int(_ATTEMPT.fullmatch(path.parent.name)[1])  # type: ignore[index]  # as `series_files` chose it
        for row in _rows(path, story.notes):
            story.curves.take(row, attempt)
    story.curves.settle()
    story.goodput = time_spent(story.curves)
    openings = [attempt.opening for attempt in story.curves.attempts if attempt.opening]
    opening = openings[-1] if openings else {}
    story.title = str(opening.get("job") or run_dir.absolute().name)
    story.result = _result(run_dir, story.notes)
    story.config = _config(run_dir, story.notes)
    story.environment = _environment(run_dir, opening)
    story.sections = _sections(run_dir)
    folder = _samples_folder(run_dir, story.result)
    if folder is not None:
        story.sounds = _sounds(folder, story.notes)
        story.pictures = _pictures(folder, story.notes)
    story.drawn = pictures_of(folder, story.sections, story.notes)
    return story


def series_files(run_dir: Path) -> list[Path]:
    """Those of every attempt, oldest first."""
    found = [
        p
        for p in (run_dir / paths.LOGS).glob("attempt-*/series.jsonl")
        if _ATTEMPT.fullmatch(p.parent.name)
    ]
    return sorted(found, key=lambda path: int(path.parent.name.removeprefix("attempt-")))


def _rows(path: Path, notes: list[str]) -> Iterator[Row]:
    broken = 0
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            row = read_row(line)
            if row is None:
                broken += 1
            else:
                yield row
    if broken > 1:  # one is what a kill leaves
        notes.append(f"{broken} lines of {path.parent.name}/{path.name} cannot be read")


def _result(run_dir: Path, notes: list[str]) -> Result | None:
    text = _text(run_dir / paths.RESULT, notes)
    try:
        return codec.loads(Result, text, paths.RESULT, codec.Reading.NEWER) if text else None
    except ContractError as error:
        notes.append(str(error))
        return None


def _config(run_dir: Path, notes: list[str]) -> Any:
    text = _text(run_dir / paths.CONFIG, notes)
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError) as error:
        notes.append(f"{paths.CONFIG} is no JSON: {error}")
        return None


def _text(path: Path, notes: list[str]) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(CONFIG_BYTES)
    except FileNotFoundError:
        return ""
    except OSError as error:
        notes.append(f"{path.name} cannot be read: {error.strerror}")
        return ""


def _environment(run_dir: Path, opening: Mapping[str, Any]) -> Lines:
    """What the newest attempt ran on, as the supervisor and rank 0 say it."""
    known = ("recipe", "nodes", "ranks", "python", "system")
    found = {name: str(opening[name]) for name in known if opening.get(name) not in (None, "")}
    for event in _events(run_dir, Event.RUN_CONFIGURED, Event.MODEL_BUILT):
        names = ("device", "precision", "torch", "parameters", "trainable")
        found |= {name: str(event[name]) for name in names if name in event}
    return list(found.items())


def _sections(run_dir: Path) -> list[tuple[str, Row]]:
    """The strategic log of the newest step that has one: title and facts."""
    newest: dict[str, Row] = {}
    step = None
    for event in _events(run_dir, Event.STRATEGIC_LOG):
        if event.get("step") != step:
            newest, step = {}, event.get("step")
        facts = event.get("facts")
        if isinstance(facts, Mapping):
            newest[f"{event.get('section', '')}, step {step}"] = dict(facts)
    return list(newest.items())


def _events(run_dir: Path, *wanted: Event) -> Iterator[Mapping[str, Any]]:
    """Events of these names, oldest first, of the end of the file where it is very long."""
    path = run_dir / paths.EVENTS
    marks = [f'"{event.value}"' for event in wanted]
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TEXT_BYTES))
            for raw in file:
                line = raw.decode(errors="replace")
                if any(mark in line for mark in marks):
                    # Most lines are none of them, and parsing is slow.
                    row = read_row(line)
                    if row is not None and row.get("event") in [event.value for event in wanted]:
                        yield row
    except OSError:
        return


def _samples_folder(run_dir: Path, result: Result | None) -> Path | None:
    """Where the last evaluation wrote, if that lies in the run directory."""
    root = (run_dir / paths.SAMPLES).resolve()
    for name in result.samples if result else ():
        folder = (run_dir / name).resolve().parent
        if folder.is_relative_to(root) and folder.is_dir():
            return folder
    inner = [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
    return max(
        inner, key=lambda path: path.stat().st_mtime, default=root if root.is_dir() else None
    )


def _sounds(folder: Path, notes: list[str]) -> list[list[Medium]]:
    """Recordings of one sentence side by side, as `1-synthesized.wav` and `1-recorded.wav` name them."""
    groups: dict[str, list[Medium]] = {}
    size = left = 0
    for path in _files(folder, _SOUND):
        found = _NUMBERED.fullmatch(path.stem)
        size += path.stat().st_size
        if size > SOUNDS_BYTES:
            left += 1
            continue
        number, kind = (found["number"], found["kind"]) if found else (path.stem, path.stem)
        groups.setdefault(number, []).append(
            Medium(kind, _SOUND[path.suffix.lower()], path.read_bytes())
        )
    if left:
        notes.append(f"{left} recordings of {folder.name} are too large for a page")
    for group in groups.values():
        group.sort(key=lambda medium: medium.name not in _TARGETS)
    return [groups[number] for number in sorted(groups, key=lambda n: (len(n), n))]


def _pictures(folder: Path, notes: list[str]) -> list[Medium]:
    """What a script drew of the same evaluation: alignments, codebooks."""
    found = _files(folder, _PICTURE)
    fit = [path for path in found if path.stat().st_size <= PICTURE_BYTES][:PICTURES]
    if len(fit) < len(found):
        notes.append(
            f"{len(found) - len(fit)} pictures of {folder.name} are too many or too large for a page"
        )
    return [Medium(path.stem, _PICTURE[path.suffix.lower()], path.read_bytes()) for path in fit]


def _files(folder: Path, kinds: Mapping[str, str]) -> list[Path]:
    """Of the folder itself; links that lead out of it are none."""
    inside = (
        p
        for p in folder.iterdir()
        if p.suffix.lower() in kinds and p.is_file() and not p.is_symlink()
    )
    return sorted(inside)
