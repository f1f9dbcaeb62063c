"""`speechtrain suspend JOB`: save, free the machine, keep the job resumable."""

from __future__ import annotations

import click

from speech_cli import local
from speech_cli.commands.options import namespace_option
from speech_cli.console import make_console, say


@click.command()
@click.argument("job")
@namespace_option
def command(job: str, namespace: str) -> None:
    """Let JOB save and stop; `speechtrain resume` continues it."""
    local.find(namespace, job)
    local.suspend(namespace, job)
    say(
        make_console(),
        [f"{job}: suspended", f"continue with: speechtrain resume {job}"],
    )
