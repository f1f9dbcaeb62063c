"""`speechtrain wait JOB`: for scripts: until a condition is true or a step is reached, here or in a cluster."""

from __future__ import annotations

import re
import time
from typing import Any, Final

import click

from speech_cli import place, waiting
from speech_cli.commands.options import job_argument, json_option, place_options
from speech_cli.console import emit, make_console, say
from speech_cli.errors import UserError
from speech_cli.place import Where
from speech_cli.rendering import words
from speech_cli.rendering.view import view_of
from speech_cli.waiting import Goal, Prospect, Standing

DURATION: Final = re.compile(r"(?=\d)(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?")
UNITS: Final = (3600, 60, 1)


def _goal(ctx: click.Context, param: click.Parameter, value: str) -> Goal:
    """`condition=NAME` or `step=N`. Raises BadParameter."""
    try:
        return waiting.goal(value)
    except UserError as error:
        raise click.BadParameter(error.message, ctx, param) from error


def _seconds(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """`90`, `90s`, `10m`, `1h30m`. Raises BadParameter."""
    if value is None:
        return None
    found = DURATION.fullmatch(value)
    if found is None:
        raise click.BadParameter(
            f"{value!r} is no time; write it as in 90s, 10m or 1h30m", ctx, param
        )
    parts = zip(found.groups(), UNITS, strict=True)
    return float(sum(int(part or 0) * unit for part, unit in parts))


@click.command()
@job_argument
@click.option("--for", "wanted", callback=_goal, default="condition=Complete", show_default=True,
              metavar=waiting.FORMS.replace(" or ", "|"), help="What to wait for.")  # fmt: skip
@click.option(
    "--timeout", callback=_seconds, metavar="TIME", help="As in 90s, 10m, 1h30m; else no limit."
)
@place_options
@json_option
def command(
    job: str, wanted: Goal, timeout: float | None, where: Where, output: str | None
) -> None:
    """Wait until JOB is where you want it.

    Exits with 0 once it is, with 3 as soon as it cannot come any more (another end, a refused manifest, a deleted
    job) and says why, with 124 when the time is over; 1, 2 and 64 as every command.
    """
    found, document = place.find(where, job)
    began = time.monotonic()
    aside = make_console(stderr=True)
    standing = waiting.until(found, document, wanted, timeout, lambda said: say(aside, [said]))
    seconds = time.monotonic() - began
    code = standing.prospect.value
    if output:
        emit(_answer(standing, wanted, seconds), output)
    else:
        asked = code and not standing.gone
        hint = f"; see: speechtrain why {job}{found.flags}" if asked else ""
        text = f"{job}: {_said(standing, wanted, seconds)}{hint}"
        say(aside if code else make_console(), [text])
    raise SystemExit(code)


def _said(standing: Standing, wanted: Goal, seconds: float) -> str:
    if standing.prospect is Prospect.CAME:
        return f"{wanted} after {words.duration(seconds)}: {standing.why}"
    if standing.prospect is Prospect.LOST:
        return f"{wanted} cannot come any more: {standing.why}"
    return f"{wanted} has not come within {words.duration(seconds)}: {standing.why}"


def _answer(standing: Standing, wanted: Goal, seconds: float) -> dict[str, Any]:
    view = view_of(standing.document)
    return {
        "exitCode": standing.prospect.value, "job": view.name, "namespace": view.namespace,
        "for": str(wanted), "came": standing.prospect is Prospect.CAME, "why": standing.why,
        "state": view.state, "step": view.step, "seconds": seconds,
    }  # fmt: skip
