"""`speechtrain resume JOB`: continue a suspended job from its last checkpoint, and watch it."""

from __future__ import annotations

import click

from speech_cli import local
from speech_cli.commands.options import json_option, namespace_option, plain_option
from speech_cli.commands.run import finish
from speech_cli.console import make_console
from speech_cli.watching import watcher_for


@click.command()
@click.argument("job")
@namespace_option
@json_option
@plain_option
def command(job: str, namespace: str, output: str | None, plain: bool) -> None:
    """Continue JOB where it saved; shows it live as `run` does."""
    document = local.find(namespace, job)
    watcher = watcher_for(make_console(plain=plain, stderr=bool(output)), plain=plain)
    with watcher:
        code = local.resume(namespace, job, watcher)
    finish(
        watcher.document or document, namespace, code, f"speechtrain resume {job}", output, plain
    )
