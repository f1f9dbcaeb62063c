"""What a job names as data, a manifest or a folder of audio, as one list of utterances.

Called by recipes for a run, and by `data validate`, `prepare` and `encode` for a path that somebody types.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from speech_contract.run_config import DataSet
from speech_trainer.data.folder import Listing, list_folder, listed_once
from speech_trainer.data.manifest import Manifest, Problem, read_manifest, scan_manifest
from speech_trainer.errors import DataError

Lead = Callable[[Callable[[], Listing]], Listing]  # on rank 0 while the others wait; all get it


@dataclass(frozen=True)
class Recordings:
    """Utterances, and the folder that they were found in, if it was one."""

    manifest: Manifest
    listing: Listing | None = None


def read_recordings(
    data_set: DataSet, place: str, kept: Path, lead: Lead, *, needs_text: bool = False
) -> Recordings:
    """The recordings of `data.<place>`. `kept`: where a run keeps its list of a folder. Raises: DataError."""
    if data_set.folder is None:
        assert data_set.manifest is not None, "exactly one is set"
        return Recordings(read_manifest(Path(data_set.manifest), needs_text=needs_text))
    field, folder = f"data.{place}.folder", Path(data_set.folder)
    if needs_text:
        raise DataError(
            f"{field}: {str(folder)!r} has no text, which this recipe needs; write data.{place}.manifest: "
            "a JSONL file with the text of each recording"
        )
    listing = lead(lambda: listed_once(folder, kept, field))
    return Recordings(listing.manifest(), listing)


def scan_recordings(path: Path, *, needs_text: bool) -> tuple[Recordings, list[Problem]]:
    """All that can be read of a manifest, or of a folder, and what is wrong with the other lines.

    Nothing is written. Raises: DataError.
    """
    if path.is_dir():
        if needs_text:
            raise DataError(
                f"manifest: {str(path)!r} is a folder, which holds no text; add --audio-only, or name a JSONL file"
            )
        listing = list_folder(path, keep=False)
        return Recordings(listing.manifest(), listing), []
    manifest, problems = scan_manifest(path, needs_text=needs_text)
    return Recordings(manifest), problems
