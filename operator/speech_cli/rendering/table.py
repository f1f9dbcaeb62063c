"""The list of jobs that `speechtrain status` prints: the same columns as `kubectl get stj`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from speech_cli.rendering import words
from speech_cli.rendering.view import JobView

COLUMNS = ("NAME", "STATE", "REASON", "NODES", "STEP", "LOSS", "HEALTH", "RESTARTS", "HEARD", "AGE")


def row(view: JobView, now: float) -> tuple[str, ...]:
    """One job in the order of COLUMNS. `now` in epoch seconds."""
    age = None if view.created is None else now - view.created
    return (
        view.name,
        view.state,
        view.reason or words.NOTHING,
        f"{view.ready}/{view.nodes}",
        words.steps(view.step, view.total_steps),
        words.number(view.loss),
        view.verdict,
        str(view.restarts),
        words.duration(None if view.heard is None else now - view.heard),
        words.duration(age),
    )


def table(views: Sequence[JobView], now: float, *, namespaces: bool = False) -> Table:
    """All jobs, without borders so that it can be cut with awk. `namespaces`: name each job's first."""
    first = ("NAMESPACE",) if namespaces else ()
    grid = Table(*first, *COLUMNS, box=None, pad_edge=False, header_style="bold")
    for view in views:
        cells = (*((view.namespace,) if namespaces else ()), *row(view, now))
        grid.add_row(*(Text(cell, style=words.style(cell)) for cell in cells))
    return grid
