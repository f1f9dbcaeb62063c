"""`speechtrain status [JOB]`: the list of jobs, or one job as it stands."""

from __future__ import annotations

import time

import click
from rich.text import Text

from speech_cli import local
from speech_cli.commands.options import form_option, namespace_option, plain_option
from speech_cli.console import emit, make_console, say
from speech_cli.rendering import live, verdict, words
from speech_cli.rendering.cause import cause_of
from speech_cli.rendering.table import table
from speech_cli.rendering.view import Document, JobView, view_of
from speech_cli.run_directory import RunDirectory
from speech_contract.reasons import State


@click.command()
@click.argument("job", required=False)
@namespace_option
@form_option
@plain_option
def command(job: str | None, namespace: str, output: str | None, plain: bool) -> None:
    """Show every job, or JOB in full."""
    if job is None:
        _all(namespace, output, plain)
        return
    document = local.find(namespace, job)
    if output:
        emit(document, output)
        return
    _one(document, view_of(document), namespace, plain)


def _all(namespace: str, output: str | None, plain: bool) -> None:
    documents = local.backend().list_jobs(local.state_root(), namespace)
    if output:
        emit({"items": documents}, output)
        return
    console = make_console(plain=plain)
    if not documents:
        say(console, [f"no jobs in namespace {namespace!r} below {local.state_root()}"])
        return
    console.print(table([view_of(document) for document in documents], time.time()))


def _one(document: Document, view: JobView, namespace: str, plain: bool) -> None:
    console = make_console(plain=plain)
    style = words.style(view.verdict)
    say(console, [Text(f"{view.name}: {live.stage(view)}, health {view.verdict}", style=style)])
    say(console, (f"{name:<17}{value}" for name, value in live.fact_rows(view)))
    say(console, (live.finding_line(finding) for finding in view.findings))
    folder = RunDirectory(local.run_dir(document, namespace))
    if view.state == State.COMPLETE.value:
        say(console, list(verdict.complete_lines(view, folder.result(), folder.places()))[1:])
    elif view.state == State.FAILED.value:
        cause = cause_of(document, local.outcomes(namespace, view.name))
        say(console, list(verdict.failed_lines(view, cause, cause.exit_code, {}))[1:])
