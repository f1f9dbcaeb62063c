"""`speechtrain resume JOB`: continue a suspended job from its last checkpoint; a local one is watched."""

from __future__ import annotations

import click

from speech_cli import local, place
from speech_cli.cluster_place import ClusterPlace
from speech_cli.commands.options import job_argument, json_option, place_options, plain_option
from speech_cli.commands.run import finish
from speech_cli.console import emit, make_console, say
from speech_cli.place import Where
from speech_cli.rendering.view import Document
from speech_cli.watching import watcher_for


@click.command()
@job_argument
@place_options
@json_option
@plain_option
def command(job: str, where: Where, output: str | None, plain: bool) -> None:
    """Continue JOB where it saved. On this machine it is shown live, as `run` does."""
    found, document = place.find(where, job)
    if isinstance(found, ClusterPlace):
        said = found.resume(document)
        if output:
            emit(found.find(job), output)
        else:
            say(make_console(plain=plain), said)
        return
    _here(document, found.namespace, job, output, plain)


def _here(document: Document, namespace: str, job: str, output: str | None, plain: bool) -> None:
    watcher = watcher_for(make_console(plain=plain, stderr=bool(output)), plain=plain)
    with watcher:
        code = local.resume(namespace, job, watcher)
    finish(watcher.document or document, namespace, code, output, plain)
