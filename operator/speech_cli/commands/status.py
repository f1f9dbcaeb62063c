"""`speechtrain status [JOB]`: the list of jobs, or one job as it stands, here or in a cluster."""

from __future__ import annotations

import time

import click
from rich.text import Text

from speech_cli import place
from speech_cli.commands.options import (
    all_or_one,
    everywhere_option,
    form_option,
    optional_job_argument,
    place_options,
    plain_option,
)
from speech_cli.console import emit, make_console, say
from speech_cli.place import Place, Where
from speech_cli.rendering import live, words
from speech_cli.rendering.table import table
from speech_cli.rendering.view import Document, view_of


@click.command()
@optional_job_argument
@everywhere_option
@place_options
@form_option
@plain_option
def command(
    job: str | None, everywhere: bool, where: Where, output: str | None, plain: bool
) -> None:
    """Show every job, or JOB in full.

    Jobs of this machine come first; where it has none, those of the kube context are shown.
    """
    if everywhere and job is not None:
        raise click.UsageError("-A lists every namespace: give no JOB beside it")
    if job is None:
        _all(all_or_one(where, everywhere=everywhere), output, plain)
        return
    found, document = place.find(where, job)
    if output:
        emit(document, output)
        return
    _one(found, document, plain)


def _all(where: Where, output: str | None, plain: bool) -> None:
    found, documents = place.list_place(where)
    if output:
        emit({"items": documents}, output)
        return
    console = make_console(plain=plain)
    if not documents:
        say(console, [place.none_there(found, where)])
        return
    console.print(
        table(
            [view_of(document) for document in documents],
            time.time(),
            namespaces=where.everywhere,
        )
    )
    if place.hides_a_cluster(where, found):
        say(
            make_console(plain=plain, stderr=True),
            ["these run here; --cluster shows the cluster's"],
        )


def _one(found: Place, document: Document, plain: bool) -> None:
    console = make_console(plain=plain)
    view = view_of(document)
    style = words.style(view.verdict)
    now = time.time()
    headline = f"{view.name}: {live.stage(view)}, health {view.verdict}{live.as_of(view, now)}"
    say(console, [Text(headline, style=style)])
    say(console, (f"{name:<17}{value}" for name, value in live.fact_rows(view)))
    say(console, (live.finding_line(finding) for finding in view.findings))
    say(console, found.closing(document, view))
