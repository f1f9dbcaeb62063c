"""`speechtrain why JOB`: what happened, from the job's state and its run directory alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from rich.text import Text

from speech_cli import local
from speech_cli.commands.options import json_option, namespace_option, plain_option
from speech_cli.console import emit, make_console, say
from speech_cli.rendering import verdict, why
from speech_cli.rendering.cause import cause_of
from speech_cli.rendering.view import Document, view_of, whole
from speech_cli.run_directory import RunDirectory, by_reason
from speech_contract.events import Event

TAIL_LINES = 5


@click.command()
@click.argument("job")
@namespace_option
@json_option
@plain_option
def command(job: str, namespace: str, output: str | None, plain: bool) -> None:
    """Say what happened to JOB: cause, first bad step, rank, sample, evidence, next step."""
    document = local.find(namespace, job)
    told = local.outcomes(namespace, job)
    folder = RunDirectory(local.run_dir(document, namespace))
    rank = cause_of(document, told).rank or 0
    answer = why.explain(document, told, evidence(document, folder, rank))
    if output:
        emit(answer, output)
        return
    say(make_console(plain=plain), (_line(name, text) for name, text in why.lines(answer)))


def evidence(document: Document, folder: RunDirectory, rank: int) -> why.Evidence:
    """Gather what the run directory holds about the newest attempt."""
    attempt = view_of(document).attempt or 1
    bad = folder.bad_samples()
    log = folder.rank_log(attempt, rank)
    result = folder.result()
    return why.Evidence(
        quarantine=str(folder.quarantine) if bad else "",
        bad_samples=by_reason(bad),
        first_bad_sample=f"{bad[0].sample} ({bad[0].detail or bad[0].reason})" if bad else "",
        bad_step=_first_bad_step(folder.events(Event.UPDATE_SKIPPED.value), attempt),
        log=str(log) if log.exists() else "",
        log_tail=tuple(folder.tail(attempt, rank, TAIL_LINES)),
        scores=tuple(verdict.score_lines(result)) if result else (),
        faults=tuple(folder.faults),
    )


def _first_bad_step(events: list[Mapping[str, Any]], attempt: int) -> why.BadStep | None:
    """The first gated step of this attempt; events that name no attempt count as of this one."""
    for event in events:
        step = whole(event.get("step"))
        if step is not None and whole(event.get("attempt")) in (None, attempt):
            return why.BadStep(
                step,
                whole(event.get("bad_rank")),
                str(event.get("component") or ""),
                str(event.get("module") or ""),
            )
    return None


def _line(name: str, text: str) -> Text:
    line = (
        Text.assemble((f"{name:<10}", "dim"), text) if name != "job" else Text(text, style="bold")
    )
    return line
