"""A checkpoint while it is being written: a folder aside, then one rename, then COMMIT. Used by `engine.checkpoints`.

    checkpoints/.writing-step-N.aM/     tensors by whoever has them, the document by rank 0
    checkpoints/step-N.aM/              the same, renamed; it counts from the moment that COMMIT is there

A crash at any moment leaves a folder without COMMIT, which the next attempt clears away.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError

from speech_contract import paths
from speech_trainer.engine.files import Files, explain, read_json
from speech_trainer.errors import CheckpointError

DOCUMENT: Final = "state.json"
TEMPORARY: Final = ".writing-"


@dataclasses.dataclass(frozen=True)
class Draft:
    """Where it is written, where it will lie, and whether it bears the mark from its first moment."""

    folder: Path
    final: Path
    quarantined: bool


class Drafts:
    """Every step of the way; errors of the disk become CheckpointError, told to users."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def begin(self, final: Path, *, quarantined: bool) -> Draft:
        """Rank 0: make room. Raises CheckpointError."""
        draft = Draft(final.with_name(f"{TEMPORARY}{final.name}"), final, quarantined)
        with self._explained(draft, 0):
            self._files.remove_tree(draft.folder)
            draft.folder.mkdir(parents=True)
        return draft

    def write(self, draft: Draft, write: Callable[[Path, Files], object], needed: int) -> None:
        """Any rank: let `write` put its files into the folder. `needed`: bytes. Raises CheckpointError."""
        with self._explained(draft, needed):
            write(draft.folder, self._files)

    def commit(self, draft: Draft, document: Mapping[str, Any]) -> None:
        """Rank 0, once every file is there. Raises CheckpointError; then nothing is left behind."""
        try:
            with self._explained(draft, 0):
                self._commit(draft, document)
        except CheckpointError:
            self.drop(draft)
            raise

    def drop(self, draft: Draft) -> None:
        """Rank 0: a part of it could not be written."""
        self._files.remove_tree(draft.folder)
        self._remove_uncommitted(draft.final)

    def _commit(self, draft: Draft, document: Mapping[str, Any]) -> None:
        folder, final = draft.folder, draft.final
        self._files.write_new(folder / DOCUMENT, json.dumps(document))
        digests = {path.name: self._files.digest(path) for path in sorted(folder.iterdir())}
        if draft.quarantined:
            self._files.write_new(folder / paths.QUARANTINED, "")
        if (final / paths.QUARANTINED).exists():  # from before a roll-back of this attempt
            self._files.remove_tree(final)
        self._remove_uncommitted(final)
        self._files.rename(folder, final)
        self._files.write_new(final / paths.COMMIT, json.dumps({"sha256": digests}))

    def _remove_uncommitted(self, final: Path) -> None:
        if read_json(final / paths.COMMIT) is None:
            self._files.remove_tree(final)

    @contextlib.contextmanager
    def _explained(self, draft: Draft, needed: int) -> Iterator[None]:
        try:
            yield
        except (OSError, SafetensorError) as error:
            free = self._files.free_bytes(draft.final.parent)
            raise CheckpointError(explain(error, draft.final, needed, free)) from error
