"""The tables of `dashboards.md`: each dashboard of the chart with its panels. Called by `generate.py`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import tables

FILES = Path(__file__).resolve().parent.parent / "charts" / "speechtrain" / "files"
HEADER = ("panel", "shows")


def dashboards() -> str:
    """A heading, a picture and a table for each, the fleet first: it is where one begins."""
    boards = [
        (path.stem, json.loads(path.read_text(encoding="utf-8"))) for path in sorted(_paths())
    ]
    return "\n\n".join(
        f"## {board['title']}\n\n![{board['title']}](dashboard-{name}.svg)\n\n"
        f"{tables.table(HEADER, _rows(board['panels']))}"
        for name, board in boards
    )


def _paths() -> Iterable[Path]:
    return (FILES / "dashboards").glob("*.json")


def _rows(panels: list[dict[str, str]]) -> Iterable[tuple[str, ...]]:
    return ((panel["title"], panel["description"].rstrip(".")) for panel in panels)
