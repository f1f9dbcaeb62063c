"""The table of `speechtrain top`: one row a job, those that run first; knows no process and no terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Final

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from speech_cli.rendering import words
from speech_cli.rendering.view import JobView, real
from speech_contract.reasons import State

COLUMNS: Final = (
    "NAME", "STATE", "STEP", "LR", "LOSS", "HEALTH", "AUDIO/S", "ETA", "GOODPUT", "HEARD",
)  # fmt: skip
# Go first, in a narrow terminal.
LEAST: Final = ("LR", "AUDIO/S", "HEARD", "GOODPUT", "ETA", "LOSS", "STEP")
GAP: Final = 2  # between two columns
FIRST: Final = (State.RUNNING.value, State.RESTARTING.value, State.STARTING.value)


@dataclasses.dataclass(frozen=True)
class BoardRow:
    """One job, as `top -o json` prints it. Times in seconds; None = not known, or no longer of interest."""

    name: str
    namespace: str
    state: str
    step: int | None
    total_steps: int | None
    learning_rate: float | None
    loss: float | None
    health: str
    audio_seconds_per_second: float | None
    eta_seconds: float | None
    goodput: float | None
    heard_seconds_ago: float | None


def rows(views: Iterable[JobView], now: float) -> list[BoardRow]:
    """Running jobs first, ended ones last, then by name. `now` in epoch seconds."""
    ordered = sorted(views, key=lambda v: (v.finished, v.state not in FIRST, v.namespace, v.name))
    return [_row(view, now) for view in ordered]


def _row(view: JobView, now: float) -> BoardRow:
    """Speed and time to go are those of a job that goes."""
    goes = view.state == State.RUNNING.value
    return BoardRow(
        name=view.name,
        namespace=view.namespace,
        state=view.state,
        step=view.step,
        total_steps=view.total_steps,
        learning_rate=view.learning_rate,
        loss=view.loss,
        health=view.verdict,
        audio_seconds_per_second=view.audio_rate if goes else None,
        eta_seconds=view.eta if goes else None,
        goodput=real(view.goodput.ratio),
        heard_seconds_ago=None if view.heard is None else max(0.0, now - view.heard),
    )


def table(found: Sequence[BoardRow], width: int, *, namespaces: bool = False) -> Table:
    """Without borders, as the list of `status`. `namespaces`: name each job's first.

    Where `width` characters don't hold all columns the least important ones are left out: no word is cut but a name.
    """
    heads = (("NAMESPACE",) if namespaces else ()) + COLUMNS
    lines = [((row.namespace,) if namespaces else ()) + _cells(row) for row in found]
    shown = _fitting(heads, lines, width)
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for place in shown:
        grid.add_column(heads[place], no_wrap=True)
    for line in lines:
        grid.add_row(*(Text(line[n], style=words.style(line[n])) for n in shown))
    return grid


def _fitting(heads: Sequence[str], lines: Sequence[Sequence[str]], width: int) -> list[int]:
    """Places of the columns that fit, in order."""
    sizes = [max(map(cell_len, column)) + GAP for column in zip(heads, *lines, strict=True)]
    shown = list(range(len(heads)))
    for name in LEAST:
        if sum(sizes[place] for place in shown) - GAP <= width:
            break
        shown.remove(heads.index(name))
    return shown


def _cells(row: BoardRow) -> tuple[str, ...]:
    return (
        row.name,
        row.state,
        words.steps(row.step, row.total_steps),
        words.number(row.learning_rate),
        words.number(row.loss),
        row.health,
        words.number(row.audio_seconds_per_second, 3),
        words.duration(row.eta_seconds),
        words.number(row.goodput, 3),
        words.duration(row.heard_seconds_ago),
    )
