"""The records and marks of what `custom` scripts save, as they lie in the run directory. Standard library only.

    marks/save-7.step-40.a2.json          a `speech_contract.saves.Save`: the seventh save that was told of
    marks/save-7.step-40.a2.CONFIRMED     confirmSteps finite steps followed it
    marks/save-7.step-40.a2.QUARANTINED   a bad step came before that; wins
    skips/M-n.json                        windows of data that no later attempt shall train on

Written by `marks`, in the master's supervisor; read by the callbacks too. Everything is created exclusively and never
changed, so a crash leaves nothing half done that counts. The seventh is younger than the sixth, whatever their steps:
a script that went back counts them again.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path

from speech_contract import codec, paths
from speech_contract.errors import ContractError
from speech_contract.saves import Save, Window, joined
from speech_telemetry.files import create_text

_NAME = re.compile(r"save-(\d+)\.step-\d+\.a\d+\.json")


@dataclasses.dataclass(frozen=True)
class Marked:
    """One save with its marks."""

    number: int
    save: Save
    confirmed: bool = False
    quarantined: bool = False

    @property
    def trusted(self) -> bool:
        """A NaN may be gone back to it."""
        return self.confirmed and not self.quarantined


def records(run_dir: Path) -> list[Marked]:
    """Every save that was told of, oldest first. One that was cut off while it was written down is not known."""
    found = []
    for path in (run_dir / paths.MARKS).glob("save-*.json"):
        name = _NAME.fullmatch(path.name)
        save = _read(path) if name else None
        if name and save is not None:
            marks = (
                path.with_suffix(f".{m}").exists() for m in (paths.CONFIRMED, paths.QUARANTINED)
            )
            found.append(Marked(int(name[1]), save, *marks))
    return sorted(found, key=lambda marked: marked.number)


def standing(run_dir: Path) -> list[Marked]:
    """Those of `records` whose place no later save has taken and whose files are there."""
    last = {marked.save.place: marked for marked in records(run_dir)}
    ordered = sorted(last.values(), key=lambda marked: marked.number)
    return [marked for marked in ordered if is_there(run_dir, marked.save)]


def located(run_dir: Path, save: Save) -> Path | None:
    """Where a save lies; None when the script did not say."""
    return run_dir / save.path if save.path else None  # an absolute path stays what it is


def is_there(run_dir: Path, save: Save) -> bool:
    """Whether a save lies where the script said; one that it told no place of is believed."""
    place = located(run_dir, save)
    return place is None or os.path.exists(place)


def add(run_dir: Path, save: Save) -> Marked:
    """Write a save down. Raises OSError."""
    names = map(_NAME.fullmatch, os.listdir(_folder(run_dir)))
    number = 1 + max((int(name[1]) for name in names if name), default=0)
    path = paths.save_file(run_dir, number, save.step, save.attempt)
    create_text(path, codec.dumps(save))
    return Marked(number, save)


def mark(run_dir: Path, marked: Marked, name: str) -> None:
    """Mark a save `paths.CONFIRMED` or `paths.QUARANTINED`. Raises OSError."""
    path = paths.save_file(run_dir, marked.number, marked.save.step, marked.save.attempt)
    try:
        create_text(path.with_suffix(f".{name}"), "")
    except FileExistsError:
        return


def kept_path(run_dir: Path, told: str) -> str:
    """A path as it is kept: a run directory that is mounted elsewhere takes what lies in it along."""
    try:
        return str(Path(told).relative_to(run_dir))
    except ValueError:
        return told


def write_skips(
    run_dir: Path, attempt: int, windows: tuple[Window, ...], left: int, target: int, cause: str
) -> None:
    """Record what is passed over from now on, in going back from step `left` to step `target`. Raises OSError."""
    folder = run_dir / paths.SKIPS
    folder.mkdir(parents=True, exist_ok=True)
    count = sum(1 for _ in folder.glob(f"{attempt}-*.json"))
    body = {"windows": windows, "step": left, "target": target, "cause": cause}
    create_text(paths.skip_file(run_dir, attempt, count + 1), json.dumps(body))


def skips(run_dir: Path) -> tuple[Window, ...]:
    """Every recorded window, of all attempts. One that was cut off is as if it were not there."""
    windows: list[Window] = []
    for path in (run_dir / paths.SKIPS).glob("*.json"):
        try:
            body = json.loads(path.read_text(encoding="utf-8"))
            windows += [(int(first), int(last)) for first, last in body["windows"]]
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return joined(windows)


def _folder(run_dir: Path) -> Path:
    folder = run_dir / paths.MARKS
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _read(path: Path) -> Save | None:
    try:
        return codec.loads(Save, path.read_bytes(), reading=codec.Reading.NEWER)
    except (OSError, UnicodeDecodeError, ContractError):
        return None
