"""`pictures.json` beside the samples of an evaluation: what a model looks like from inside, as numbers that are drawn.

Written by `engine.cadence` of what a recipe's evaluation hands over, or by any script; read by the report. Numbers and
not images: a page draws them in its own colours, light or dark, at any width. Small: what is over the limits is cut.
"""

from __future__ import annotations

import dataclasses
from typing import Final

from speech_contract.values import Value, frozen

FILE: Final = "pictures.json"
LIMIT_BYTES: Final = 1024 * 1024
PICTURES: Final = 8  # of each kind
LINES: Final = 8  # of a plot
POINTS: Final = 400  # of a line
ROWS, COLUMNS = 64, 128  # of a map


@frozen
class Line(Value):
    """Points in order of x."""

    label: str
    x: list[float]
    y: list[float]


@frozen
class Plot(Value):
    """Lines over something that is no step. `across`, `up`: what x and y count."""

    title: str
    across: str
    up: str
    lines: list[Line]
    note: str = ""


@frozen
class Map(Value):
    """A field of numbers from 0 on, drawn as depth of colour. `across`: what the columns are. `rows`: labels."""

    title: str
    across: str
    rows: list[str]
    values: list[list[float]]
    note: str = ""


@frozen
class Pictures(Value):
    """All of one evaluation."""

    plots: list[Plot] = dataclasses.field(default_factory=list)
    maps: list[Map] = dataclasses.field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.plots or self.maps)

    def fitted(self) -> Pictures:
        """Within the limits, each number with five digits."""
        plots = [
            dataclasses.replace(plot, lines=[_thinned(line) for line in plot.lines[:LINES]])
            for plot in self.plots[:PICTURES]
        ]
        maps = [
            dataclasses.replace(
                one,
                rows=one.rows[:ROWS],
                values=[_short(row[:COLUMNS]) for row in one.values[:ROWS]],
            )
            for one in self.maps[:PICTURES]
        ]
        return Pictures(plots, maps)


def _thinned(line: Line) -> Line:
    """Every n-th point, the last one always."""
    points = list(zip(line.x, line.y, strict=False))
    every = -(-len(points) // POINTS)
    kept = [*points[:-1:every], points[-1]] if every > 1 else points
    return Line(line.label, _short([x for x, _ in kept]), _short([y for _, y in kept]))


def _short(values: list[float]) -> list[float]:
    return [float(f"{value:.5g}") for value in values]
