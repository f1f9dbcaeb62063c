"""`speechtrain report RUN`: one HTML page of a run directory, of a job of this machine, or of a foreign log."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import click

from speech_cli import local, place, reporting
from speech_cli.commands.options import place_options
from speech_cli.errors import UserError
from speech_cli.local_place import LocalPlace
from speech_cli.place import Where
from speech_cli.rendering.view import Document, mapping, uid_of, view_of
from speech_contract import paths
from speech_telemetry.ownership import place_of
from speech_telemetry.report import event_file
from speech_telemetry.report.folder import read, series_files
from speech_telemetry.report.story import Story
from speech_telemetry.report.writing import NotOursError, write

PLACES: Final = ("logs", "attempts", "checkpoints")  # one of them lies in every run directory


@click.command()
@click.argument("run")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Where the page goes; else report.html of a run directory, NAME.report.html of a log.")  # fmt: skip
@click.option("--tensorboard", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Write the curves as a TensorBoard event file into DIR as well.")  # fmt: skip
@click.option("--directory", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR",
              help="Of a cluster's job: its run directory, where the job's volume is mounted here.")  # fmt: skip
@place_options
def command(
    run: str, out: Path | None, tensorboard: Path | None, directory: Path | None, where: Where
) -> None:
    """Write one HTML page about RUN, to be opened in a browser without a network.

    RUN is the name of a job of this machine, a run directory (checkpoint.uri), or a log: whatever `replay` reads.
    """
    story, target = _found(run, where) if directory is None else _job(run, where, directory)
    try:
        written = write(story, out or target, time.time())
    except NotOursError as error:
        raise UserError(f"--out: {error}") from error
    except OSError as error:
        raise UserError(
            f"--out: {out or target} cannot be written ({error.strerror}); name another file"
        ) from error
    click.echo(f"report: {written}")
    if tensorboard is not None:
        _export(story, tensorboard)


def _export(story: Story, directory: Path) -> None:
    """Raises UserError."""
    try:
        written = event_file.write(story.curves, directory)
    except OSError as error:
        raise UserError(
            f"--tensorboard: {directory} cannot be written ({error.strerror}); name another folder"
        ) from error
    click.echo(f"tensorboard: {written}")


def _found(run: str, where: Where) -> tuple[Story, Path]:
    """What RUN means, and where its page goes: a bare name is a job of this machine first. Raises UserError."""
    path, bare = Path(run), Path(run).name == run
    if bare and local.state_dir(where.namespace or local.DEFAULT_NAMESPACE, run).is_dir():
        return _job(run, where)
    if _is_run(path):
        return read(path), path / paths.REPORT
    if path.exists():
        return reporting.of_log(path), Path(f"{path.resolve().name}.report.html")
    return _job(run, where)


def _is_run(path: Path) -> bool:
    """A run directory of ours; one without a step still has what the run was to be."""
    return bool(series_files(path)) or (
        (path / paths.CONFIG).is_file() and any((path / name).is_dir() for name in PLACES)
    )


def _job(name: str, where: Where, directory: Path | None = None) -> tuple[Story, Path]:
    """A job as `status` and `why` tell it, and where its page goes. Raises UserError."""
    found, document = place.find(where, name)
    if isinstance(found, LocalPlace):
        if directory is not None:
            raise UserError(f"--directory: {name} is a job of this machine; leave the option out")
        directory = local.run_dir(document, found.namespace)
    elif directory is None:
        raise UserError(_on_its_volume(document))
    folder = place_of(directory, uid_of(document))
    if not folder.is_dir():
        raise UserError(
            f"{folder}: is not there; {name} has written nothing yet, see: speechtrain why {name}{found.flags}"
        )
    return reporting.of_run(folder, found, document), folder / paths.REPORT


def _on_its_volume(document: Document) -> str:
    """Where the report of a cluster's job lies: the trainer has written it already."""
    metadata = mapping(document, "metadata")
    name, namespace = metadata.get("name"), metadata.get("namespace")
    lies = Path(view_of(document).run_directory) / paths.REPORT
    return (
        f"{name}: its report is {lies} on the job's volume; while it trains, `kubectl exec -n {namespace} "
        f"{name}-master-0 -c pytorch -- cat {lies} > {paths.REPORT}` fetches it; where the volume is mounted, use "
        f"`speechtrain report {name} -n {namespace} --directory DIRECTORY`"
    )
