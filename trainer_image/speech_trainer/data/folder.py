"""A folder of audio as data: which files are recordings, in which order, how long each is.

    <folder>/.speechtrain-durations.json    what was read of headers, for the next run; only where it can be written
    <run>/recordings/<digest>.json          what this run trains on, listed once: a later attempt reads it, so that
                                            files that come or go meanwhile move nothing

Called by `data.recordings`. A header is read once: again only when its file has another size or time of change. A file
whose header can't be read stays in the list, with a duration of 0: whoever loads it counts it by its reason, as a bad
line of a manifest.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import soundfile

from speech_telemetry.files import replace_text
from speech_trainer.audio.files import read_info
from speech_trainer.data.manifest import Manifest, Utterance
from speech_trainer.errors import DataError

SUFFIXES: Final = (".flac", ".mp3", ".ogg", ".opus", ".wav")
CACHE: Final = ".speechtrain-durations.json"
_READERS: Final = 8  # threads: a header on a network volume is a wait, not work

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class AudioFile:
    """One recording. `path` below the folder, with '/'; `seconds` 0: its header can't be read."""

    path: str
    seconds: float
    size: int  # bytes; with the time of change it tells whether the header must be read again
    changed_ns: int


@dataclasses.dataclass(frozen=True)
class Listing:
    """A folder as it was once. `files` by name, whatever the file system's order; what was passed over is counted."""

    folder: str
    files: tuple[AudioFile, ...]
    hidden: int = 0  # files and folders whose name begins with a dot
    other: int = 0  # files that are no audio by their name

    def manifest(self) -> Manifest:
        """The recordings as lines of a manifest that lies in the folder; line = place in the order, from 1."""
        lines = (
            Utterance(file.path, file.seconds, line=line)
            for line, file in enumerate(self.files, start=1)
        )
        return Manifest(Path(self.folder) / CACHE, tuple(lines))

    @property
    def unreadable(self) -> list[str]:
        """Files without a header that can be read."""
        return [file.path for file in self.files if not file.seconds]


def list_folder(folder: Path, field: str = "folder", *, keep: bool = True) -> Listing:
    """Every audio file in `folder` and below. `keep`: write durations beside the files, where that is allowed.

    `field` is what messages call it. Raises: DataError when the folder is missing, can't be read or holds no audio.
    """
    try:
        names, hidden, other = _walk(folder)
    except OSError as error:
        raise DataError(
            f"{field}: {error.filename!r} can't be read ({error.strerror}); name a folder of audio that exists and "
            "that this user may read"
        ) from error
    if not names:
        raise DataError(
            f"{field}: {str(folder)!r} holds no audio file ({other} other, {hidden} hidden); name a folder with "
            f"{', '.join(SUFFIXES)} files in it or below"
        )
    known = _read(folder / CACHE)
    before = {file.path: file for file in known.files} if known else {}
    with ThreadPoolExecutor(_READERS, thread_name_prefix="headers") as pool:
        files = tuple(pool.map(lambda name: _look(folder, name, before.get(name)), names))
    found = Listing(str(folder), files, hidden, other)
    if keep and (known is None or known.files != files):
        _keep_beside(folder, found)
    if found.unreadable:
        shown = ", ".join(found.unreadable[:3])
        logger.warning("%d of %d files can't be read: %s", len(found.unreadable), len(files), shown)
    return found


def listed_once(folder: Path, kept: Path, field: str = "folder") -> Listing:
    """What the run with the folder `kept` trains on: listed by its first attempt, read by all later ones.

    Raises: DataError as `list_folder`, or when `kept` can't be written.
    """
    path = kept / f"{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}.json"
    known = _read(path)
    if known is not None:
        return known
    found = list_folder(folder, field)
    try:
        kept.mkdir(parents=True, exist_ok=True)
        replace_text(path, _text(found))
    except OSError as error:
        raise DataError(
            f"checkpoint.uri: {path} can't be written ({error.strerror}); name a directory that this user may write to"
        ) from error
    return found


def _walk(folder: Path) -> tuple[list[str], int, int]:
    """Names of audio files, sorted; how many entries were hidden, how many something else."""
    names: list[str] = []
    counts = {"hidden": 0, "other": 0}
    for directory, entries in _directories(folder, counts):
        for name in entries:
            path = os.path.relpath(os.path.join(directory, name), folder).replace(os.sep, "/")
            if name.startswith("."):
                counts["hidden"] += name != CACHE
            elif name.lower().endswith(SUFFIXES) and _writable_name(path):
                names.append(path)
            else:
                counts["other"] += 1
    return sorted(names), counts["hidden"], counts["other"]


def _directories(folder: Path, counts: dict[str, int]) -> Iterator[tuple[str, list[str]]]:
    """Each directory once, links followed: data sets are often linked together, now and then in a circle."""

    def fail(error: OSError) -> None:
        raise error

    seen: set[tuple[int, int]] = set()
    for directory, below, names in os.walk(folder, followlinks=True, onerror=fail):
        found = os.stat(directory)
        if (found.st_dev, found.st_ino) in seen:
            below.clear()
            continue
        seen.add((found.st_dev, found.st_ino))
        counts["hidden"] += sum(name.startswith(".") for name in below)
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield directory, names


def _writable_name(name: str) -> bool:
    """A name that is no text can't be written into a manifest or a log."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _look(folder: Path, name: str, known: AudioFile | None) -> AudioFile:
    path = folder / name
    try:
        found = path.stat()
        if known and (known.size, known.changed_ns) == (found.st_size, found.st_mtime_ns):
            return known
        seconds = round(read_info(path).seconds, 4)
        return AudioFile(name, seconds, found.st_size, found.st_mtime_ns)
    except (OSError, soundfile.LibsndfileError, RuntimeError, ZeroDivisionError):
        return AudioFile(name, 0.0, 0, 0)


def _keep_beside(folder: Path, listing: Listing) -> None:
    try:
        replace_text(folder / CACHE, _text(listing))
    except OSError:
        logger.debug("%s can't be written; headers are read again by the next run", folder / CACHE)


def _text(listing: Listing) -> str:
    files = [dataclasses.astuple(file) for file in listing.files]
    return json.dumps(vars(listing) | {"files": files}, ensure_ascii=False)


def _read(path: Path) -> Listing | None:
    """What `_text` wrote; None where there is none, or it was written by something else."""
    try:
        record: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Listing(**{**record, "files": tuple(_files(record["files"]))})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _files(rows: Iterable[Any]) -> Iterator[AudioFile]:
    for path, seconds, size, changed_ns in rows:
        yield AudioFile(str(path), float(seconds), int(size), int(changed_ns))
