"""`speechtrain run FILE`: one job on this machine, watched until its verdict; exits with the outcome's code."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from speech_cli import local, manifest, reporting
from speech_cli.commands.options import file_argument, json_option, plain_option, runtime_option
from speech_cli.console import emit, make_console, say
from speech_cli.errors import UserError
from speech_cli.local_place import LocalPlace
from speech_cli.rendering import verdict
from speech_cli.rendering.cause import cause_of
from speech_cli.rendering.view import Document, JobView, mapping, uid_of, view_of
from speech_cli.run_directory import RunDirectory
from speech_cli.watching import watcher_for
from speech_contract.reasons import State


@click.command()
@file_argument
@click.option("--new", is_flag=True, help="Start over beside what a job of this name left behind.")
@click.option("--volume", "volumes", multiple=True, metavar="NAME=DIR",
              help="Folder that stands for a volume of the manifest; may be repeated.")  # fmt: skip
@click.option(
    "-n", "--namespace", help="Namespace of the state; else the manifest's, else default."
)
@runtime_option
@json_option
@plain_option
def command(
    file: Path,
    new: bool,
    volumes: tuple[str, ...],
    namespace: str | None,
    runtime: Path | None,
    output: str | None,
    plain: bool,
) -> None:
    """Train the SpeechTrainingJob in FILE on this machine.

    Runs, adopts or resumes it, shows it live, and ends with its verdict. The exit code is the outcome's:
    0 Complete, 75 suspended after saving, others as in docs/exit-codes.md. Ctrl-C saves and suspends;
    a second one stops at once.
    """
    document = manifest.load(file, runtime)
    place = namespace or mapping(document, "metadata").get("namespace") or local.DEFAULT_NAMESPACE
    folders = volume_folders(volumes)
    watcher = watcher_for(make_console(plain=plain, stderr=bool(output)), plain=plain)
    with watcher:
        code = local.run(document, file, str(place), new, folders, watcher)
    finish(watcher.document or document, str(place), code, output, plain)


def finish(document: Document, namespace: str, code: int, output: str | None, plain: bool) -> None:
    """Print the verdict and leave with the outcome's code."""
    view = view_of(document)
    folder = RunDirectory(local.run_dir(document, namespace), uid_of(document))
    if view.finished:
        reporting.redraw(folder.root, LocalPlace(namespace), document)
    if output:
        result = folder.result()
        emit(
            {"exitCode": code, "result": result, "places": folder.places(), "job": document}, output
        )
    else:
        say(make_console(plain=plain), _last_words(document, view, folder, code, namespace))
    raise SystemExit(code)


def _last_words(
    document: Document, view: JobView, folder: RunDirectory, code: int, namespace: str
) -> Iterable[str]:
    flags = local.flags(namespace)
    if view.state == State.COMPLETE.value:
        yield from verdict.complete_lines(view, folder.result(), folder.places())
    elif view.state == State.FAILED.value:
        cause = cause_of(document, local.outcomes(namespace, view.name))
        yield from verdict.failed_lines(view, cause, code, folder.places(), flags)
    else:
        yield from verdict.ended_lines(view, code, f"speechtrain resume {view.name}{flags}")
    yield from folder.faults


def volume_folders(volumes: tuple[str, ...]) -> dict[str, Path]:
    """`NAME=DIR` pairs → mapping. Raises UserError for anything else."""
    folders: dict[str, Path] = {}
    for text in volumes:
        name, separator, folder = text.partition("=")
        if not (name and separator and folder):
            raise UserError(
                f"--volume: {text!r} is not NAME=DIR; write it as in --volume data=./data"
            )
        if name in folders:
            raise UserError(f"--volume: {name!r} is given twice; keep one")
        folders[name] = Path(folder).absolute()
    return folders
