"""`speechtrain why JOB`: what happened, from the job's state and what it left behind, here or in a cluster."""

from __future__ import annotations

import click
from rich.text import Text

from speech_cli import place
from speech_cli.commands.options import json_option, place_options, plain_option
from speech_cli.console import emit, make_console, say
from speech_cli.place import Where
from speech_cli.rendering import why
from speech_cli.rendering.cause import cause_of


@click.command()
@click.argument("job")
@place_options
@json_option
@plain_option
def command(job: str, where: Where, output: str | None, plain: bool) -> None:
    """Say what happened to JOB: cause, first bad step, rank, sample, evidence, next step."""
    found, document = place.find(where, job)
    told = found.outcomes(document)
    answer = why.explain(document, told, found.evidence(document, cause_of(document, told)))
    if output:
        emit(answer, output)
        return
    say(make_console(plain=plain), (_line(name, text) for name, text in why.lines(answer)))


def _line(name: str, text: str) -> Text:
    line = (
        Text.assemble((f"{name:<10}", "dim"), text) if name != "job" else Text(text, style="bold")
    )
    return line
