"""`speechtrain logs JOB`: what a rank printed, from the run directory; on a cluster what its pod did."""

from __future__ import annotations

import click

from speech_cli import place
from speech_cli.commands.options import job_argument, place_options
from speech_cli.log_request import LogRequest
from speech_cli.place import Where


@click.command()
@job_argument
@place_options
@click.option("--rank", type=click.IntRange(min=0), help="Global rank; else 0.")
@click.option("--node-rank", type=click.IntRange(min=0), help="Pod: 0 is the master, 1 worker 0.")
@click.option("--attempt", type=click.IntRange(min=1), help="Attempt; else the newest.")
@click.option(
    "--tail", default=50, show_default=True, type=click.IntRange(min=0), help="How many lines."
)
@click.option("-f", "--follow", is_flag=True, help="Go on until it ends, or Ctrl-C.")
def command(
    job: str,
    where: Where,
    rank: int | None,
    node_rank: int | None,
    attempt: int | None,
    tail: int,
    follow: bool,
) -> None:
    """Print the last lines of a rank of JOB.

    A pod prints what all of its ranks print; on a cluster --rank chooses the pod that has the rank.
    """
    if rank is not None and node_rank is not None:
        raise click.UsageError("--rank and --node-rank are both given; give one of them")
    found, document = place.find(where, job)
    silent = True
    try:
        for chunk in found.log(document, LogRequest(rank, node_rank, attempt, tail, follow)):
            click.echo(chunk, nl=False)
            silent = silent and not chunk
    except KeyboardInterrupt:
        if not follow:
            raise  # to stop is how one ends -f; anything else was cut short
    if silent:  # an API server says as much of a pod that has no node yet
        click.echo(f"nothing is printed yet; see: speechtrain why {job}{found.flags}", err=True)
