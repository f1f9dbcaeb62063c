"""`speechtrain convert FILE`: PyTorchJobs of kubeflow.org/v1 as SpeechTrainingJobs with the custom recipe."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from speech_cli import manifest
from speech_cli.commands.options import file_argument
from speech_cli.console import emit
from speech_cli.errors import UserError
from speech_cli.extras import lazily

if TYPE_CHECKING:
    from speech_cli.conversion.notes import Note


@click.command()
@file_argument
@click.option("--checkpoint", default="", metavar="PATH",
              help="Run directory on a volume of the job; else a folder on its first claim.")  # fmt: skip
@click.option("--name", default="", metavar="NAME",
              help="Name of the new job, where the old one has generateName or none.")  # fmt: skip
@click.option(
    "-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True,
    help="Form of the new manifest.",
)  # fmt: skip
def command(file: Path, checkpoint: str, name: str, output: str) -> None:
    """Turn the PyTorchJobs in FILE into SpeechTrainingJobs on standard output.

    Standard error tells as comments what was kept, renamed, changed, added and dropped, and why. A job that would
    not be the same without a field we cannot give is refused with exit code 64; nothing is printed then.
    """
    conversion = lazily("speech_cli.conversion.job", "cli")
    jobs: list[dict[str, Any]] = []
    table: list[str] = []
    found = _jobs(file, conversion.KIND)
    if name and len(found) > 1:
        raise UserError(
            f"--name: {name!r} for {len(found)} jobs in {file}; give each its own metadata.name"
        )
    for document in found:
        called = _called(document)
        try:
            done = conversion.convert(document, checkpoint, name)
        except UserError as error:
            lines = error.message.splitlines()
            raise UserError("\n".join(f"{file}: {called}: {line}" for line in lines)) from error
        jobs.append(done.job)
        table += [f"# {file}: {conversion.KIND} {called}", *_rows(done.notes)]
    for line in table:
        click.echo(line, err=True)
    _print(jobs, output)


def _jobs(file: Path, kind: str) -> list[dict[str, Any]]:
    found = manifest.documents(file)
    jobs = [one for one in found if isinstance(one, dict) and one.get("kind") == kind]
    if not jobs:
        kinds = ", ".join(sorted({_kind(one) for one in found})) or "nothing"
        raise UserError(f"{file}: holds no {kind} but {kinds}; convert takes nothing else")
    for other in found:
        if other not in jobs:
            click.echo(f"# {file}: {_kind(other)} left out; apply it as it is", err=True)
    return jobs


def _called(document: dict[str, Any]) -> str:
    metadata = document.get("metadata")
    given = metadata if isinstance(metadata, dict) else {}
    return str(given.get("name") or given.get("generateName") or "a job without a name")


def _kind(document: Any) -> str:
    return str(document.get("kind", "?")) if isinstance(document, dict) else "no object"


def _rows(notes: Iterable[Note]) -> list[str]:
    return [f"# {note.fate.value:<8} {note.field}  {note.text}".rstrip() for note in notes]


def _print(jobs: list[dict[str, Any]], output: str) -> None:
    if output == "yaml" and len(jobs) > 1:
        click.echo(yaml.safe_dump_all(jobs, sort_keys=False, allow_unicode=True), nl=False)
    elif len(jobs) > 1:
        emit({"apiVersion": "v1", "kind": "List", "items": jobs}, output)
    else:
        emit(jobs[0], output)
