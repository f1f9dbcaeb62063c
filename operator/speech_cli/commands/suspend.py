"""`speechtrain suspend JOB`: save, free the machine or the pods, keep the job resumable."""

from __future__ import annotations

import click

from speech_cli import place
from speech_cli.commands.options import job_argument, place_options
from speech_cli.console import make_console, say
from speech_cli.place import Where


@click.command()
@job_argument
@place_options
def command(job: str, where: Where) -> None:
    """Let JOB save and stop; `speechtrain resume` continues it."""
    found, document = place.find(where, job)
    say(make_console(), found.suspend(document))
