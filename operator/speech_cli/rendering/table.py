"""The list of jobs that `speechtrain status` prints: the same columns as `kubectl get stj`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from speech_cli.rendering import words
from speech_cli.rendering.view import JobView

COLUMNS = ("NAME", "STATE", "NODES", "STEP", "LOSS", "HEALTH", "RESTARTS", "AGE")


def row(view: JobView, now: float) -> tuple[str, ...]:
    """One job in the order of COLUMNS. `now` in epoch seconds."""
    age = None if view.created is None else now - view.created
    return (
        view.name,
        view.state,
        f"{view.ready}/{view.nodes}",
        words.steps(view.step, view.total_steps),
        words.number(view.loss),
        view.verdict,
        str(view.restarts),
        words.duration(age),
    )


def table(views: Sequence[JobView], now: float) -> Table:
    """All jobs, without borders so that it can be cut with awk."""
    grid = Table(*COLUMNS, box=None, pad_edge=False, header_style="bold")
    for view in views:
        cells = row(view, now)
        grid.add_row(*(Text(cell, style=words.style(cell)) for cell in cells))
    return grid
