"""Where the export of a run lies, however the run is named: its job, its run directory, or the export itself.

Called by `commands.speak`.
"""

from __future__ import annotations

from pathlib import Path

from speech_cli import local
from speech_cli.errors import NoSuchJob, UserError
from speech_cli.rendering.view import uid_of, view_of
from speech_cli.run_directory import RunDirectory
from speech_contract import paths


def find_export(run: str, namespace: str | None) -> Path:
    """The folder with config.json and weights. Raises UserError."""
    folder = Path(run)
    return _of_folder(folder) if folder.is_dir() else _of_job(run, namespace)


def _of_folder(folder: Path) -> Path:
    if (folder / paths.EXPORT).is_dir():
        return folder / paths.EXPORT
    if (folder / paths.CHECKPOINTS).exists() or not (folder / paths.CONFIG).is_file():
        raise UserError(
            f"RUN: {str(folder)!r} holds no {paths.EXPORT}/; a run writes it when it ends: name its job, its run "
            f"directory (checkpoint.uri), or its {paths.EXPORT}/"
        )
    return folder


def _of_job(run: str, namespace: str | None) -> Path:
    place = namespace or local.DEFAULT_NAMESPACE
    try:
        document = local.find(place, run)
    except NoSuchJob as error:
        raise NoSuchJob(f"RUN: {run!r} is no folder, and no job: {error.message}") from error
    folder = RunDirectory(local.run_dir(document, place), uid_of(document))
    found = folder.places().get(paths.EXPORT)
    if found is None:
        raise UserError(
            f"RUN: {run!r} has no export in {folder.root}; a run writes it when it ends, and this one is "
            f"{view_of(document).state}"
        )
    return found
