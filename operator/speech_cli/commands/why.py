"""`speechtrain why JOB`: what happened, from the job's state and what it left behind, here or in a cluster.

With --replay-batch the first non-finite step is trained once more, and what went bad first is named.
"""

from __future__ import annotations

from pathlib import Path

import click
from rich.text import Text

from speech_cli import local, place, replaying
from speech_cli.commands.options import (
    json_option,
    optional_job_argument,
    place_options,
    plain_option,
)
from speech_cli.console import emit, make_console, say
from speech_cli.local_place import LocalPlace
from speech_cli.place import Where
from speech_cli.rendering import replayed, why


@click.command()
@optional_job_argument
@click.option("--replay-batch", is_flag=True,
              help="Train once more on the batch of the first non-finite step; name what went bad first.")  # fmt: skip
@click.option("--run-dir", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Replay this run directory (checkpoint.uri), where it is mounted; needs no JOB.")  # fmt: skip
@click.option("--attempt", type=click.IntRange(min=1),
              help="Replay this attempt; else the newest that can be.")  # fmt: skip
@place_options
@json_option
@plain_option
def command(
    job: str | None,
    replay_batch: bool,
    run_dir: Path | None,
    attempt: int | None,
    where: Where,
    output: str | None,
    plain: bool,
) -> None:
    """Say what happened to JOB: cause, first bad step, rank, sample, evidence, next step."""
    if replay_batch:
        _replay(job, run_dir, attempt, where, output, plain)
        return
    if job is None or run_dir is not None or attempt is not None:
        raise click.UsageError("give JOB; --run-dir and --attempt belong to --replay-batch")
    found, document = place.find(where, job)
    answer = place.explained(found, document)
    if output:
        emit(answer, output)
        return
    say(make_console(plain=plain), (_line(name, text) for name, text in why.lines(answer)))


def _replay(
    job: str | None,
    run_dir: Path | None,
    attempt: int | None,
    where: Where,
    output: str | None,
    plain: bool,
) -> None:
    given: dict[str, str] = {}
    if run_dir is None:
        if job is None:
            raise click.UsageError("--replay-batch: give JOB or --run-dir PATH")
        found, document = place.find(where, job)
        if not isinstance(found, LocalPlace):
            raise click.UsageError(replaying.where_mounted(document))
        run_dir = local.run_dir(document, found.namespace)
        given = replaying.environment_of(document)
    answer = replaying.replay(run_dir, attempt, given)
    if output:
        emit(answer, output)
        return
    console = make_console(plain=plain)
    say(console, (_line(name, text) for name, text in replayed.lines(answer)))
    if answer["places"]:
        console.print(replayed.table(answer))


def _line(name: str, text: str) -> Text:
    line = (
        Text.assemble((f"{name:<10}", "dim"), text) if name != "job" else Text(text, style="bold")
    )
    return line
