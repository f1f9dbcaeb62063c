"""`speechtrain top`: all jobs in one table that is drawn again and again, here or in a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from speech_cli import keys, place
from speech_cli.commands.options import (
    all_or_one,
    everywhere_option,
    json_option,
    place_options,
    plain_option,
)
from speech_cli.console import emit, make_console, say
from speech_cli.errors import ClusterProblem
from speech_cli.place import Place, Where
from speech_cli.rendering import board
from speech_cli.rendering.view import Document, view_of


@click.command()
@everywhere_option
@click.option("--once", is_flag=True, help="Print the table once; so it is where no terminal is.")
@click.option("--every", type=click.FloatRange(min=0.5), default=2.0, show_default=True,
              metavar="SECONDS", help="Time between two looks.")  # fmt: skip
@place_options
@json_option
@plain_option
def command(
    everywhere: bool, once: bool, every: float, where: Where, output: str | None, plain: bool
) -> None:
    """Show every job in a live table; q or Ctrl-C ends it.

    Running jobs first: step, learning rate (LR), loss, health, seconds of audio a second (AUDIO/S), time to go (ETA),
    the share of the time that trained (GOODPUT). A narrow terminal is spared the columns that matter least.
    """
    where = all_or_one(where, everywhere=everywhere)
    found, documents = place.list_place(where)
    console = make_console(plain=plain)
    if output:
        emit({"jobs": board.rows(map(view_of, documents), time.time())}, output)
    elif not documents:
        say(console, [place.none_there(found, where)])
    elif once or plain or not console.is_terminal or console.is_dumb_terminal:
        console.print(_picture(documents, everywhere, console.width))
    else:
        with keys.listening() as typed:
            follow(
                console,
                found,
                documents,
                everywhere=everywhere,
                pause=lambda: keys.pause(typed, every),
            )


def follow(
    console: Console,
    found: Place,
    documents: Sequence[Document],
    *,
    everywhere: bool,
    pause: Callable[[], None],
) -> None:
    """Draw the table in place until `pause` raises KeyboardInterrupt.

    An API server that does not answer is told below the last one.
    """
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as shown:
        picture = _picture(documents, everywhere, console.width)
        shown.update(picture, refresh=True)
        try:
            while True:
                pause()
                try:
                    seen = found.jobs(everywhere=everywhere)
                    picture = _picture(seen, everywhere, console.width)
                    shown.update(picture, refresh=True)
                except ClusterProblem as error:
                    shown.update(Group(picture, Text(error.message, style="yellow")), refresh=True)
        except KeyboardInterrupt:
            return  # to stop is how one ends it


def _picture(documents: Sequence[Document], everywhere: bool, width: int) -> RenderableType:
    rows = board.rows(map(view_of, documents), time.time())
    return board.table(rows, width, namespaces=everywhere)
