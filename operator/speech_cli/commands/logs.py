"""`speechtrain logs JOB`: the last lines that a rank printed, from the run directory."""

from __future__ import annotations

import click

from speech_cli import local
from speech_cli.commands.options import namespace_option
from speech_cli.errors import UserError
from speech_cli.rendering.view import view_of
from speech_cli.run_directory import RunDirectory


@click.command()
@click.argument("job")
@namespace_option
@click.option("--rank", default=0, show_default=True, help="Global rank.")
@click.option("--attempt", type=int, help="Attempt; else the newest.")
@click.option("--tail", default=50, show_default=True, help="How many lines.")
def command(job: str, namespace: str, rank: int, attempt: int | None, tail: int) -> None:
    """Print the last lines of a rank of JOB."""
    document = local.find(namespace, job)
    folder = RunDirectory(local.run_dir(document, namespace))
    number = attempt or view_of(document).attempt or 1
    path = folder.rank_log(number, rank)
    if not path.exists():
        raise UserError(f"{path}: is not there; check --attempt and --rank")
    for line in folder.tail(number, rank, tail):
        click.echo(line)
