"""Columns → charts: what is drawn together, thinned so that no spike and no NaN is lost. Pure.

Called by `page`. A chart is a plain document that the page's script draws; `left` lines are those that a roll-back or
a later attempt went back on.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

from speech_contract.losses import headline
from speech_contract.scores import title as title_of
from speech_telemetry.extremes import thinned
from speech_telemetry.report.curves import Column, Curves, Mark, Scores

PIECES: Final = 500  # of a line's width: two points each
LEFT_PIECES: Final = 100
LEFT_LINES: Final = 20  # stretches of one number: the newest
BAD_STRETCHES: Final = 300  # of one line
LINES: Final = 16  # of a chart; of more components the first, and it is said
COUNTERS: Final = ("nonFiniteSteps", "skipped")  # so far
LOGARITHMIC: Final = ("Loss", "Gradient norm")  # where they reach far enough
LOG_FROM: Final = (
    100.0  # highest over lowest value from which a scale is logarithmic, until people switch it
)
_SHOWN_MARKS: Final = 400  # of a kind
_LOSS, _BOOK = "losses/", "codebooks/"


@dataclasses.dataclass(frozen=True)
class Chart:
    """`lines`: {label, x, y, left, level, stepped, bad: [[first step, last step, word, how many], …]}.

    `bad` = where the value was NaN or Inf; `level` = what a trivial answer scores; `stepped` = it counts.
    """

    title: str
    lines: list[dict[str, Any]]
    unit: str = ""
    log: bool = False
    note: str = ""


def charts(curves: Curves) -> Iterator[Chart]:
    """Every chart that has something to show, in reading order."""
    whole, parts = _losses(curves)
    books = [name for name in curves.columns if name.startswith(_BOOK)]
    groups: list[tuple[str, dict[str, str], str]] = [
        ("Loss", whole, ""),
        ("Loss by component", parts, ""),
        ("Gradient norm", {"gradientNorm": "gradient norm"}, ""),
        ("Learning rate", {"learningRate": "in the optimizer", "plannedRate": "planned"}, ""),
        ("Skips, of all attempts so far", {"nonFiniteSteps": "steps not finite", "skipped": "samples skipped"}, ""),
        ("Time of a step", {"stepSeconds": "mean", "slowestSeconds": "slowest since the last row"}, "s"),
        ("Waiting for data", {"wait": "share of the time"}, ""),
        ("Throughput, pauses included", {"rate/audio": "seconds of audio"}, "a second"),
        ("Throughput, pauses included", {"rate/samples": "samples", "rate/tokens": "tokens"}, "a second"),
        ("Codebooks: perplexity", {n: n.removeprefix(_BOOK) for n in books}, ""),
    ]  # fmt: skip
    for title, names, unit in groups:
        chart = _chart(curves, title, names, unit)
        if chart.lines:
            yield chart


def _losses(curves: Curves) -> tuple[dict[str, str], dict[str, str]]:
    """The whole loss, and its parts: drawn together the whole would flatten them."""
    names = [n.removeprefix(_LOSS) for n in curves.columns if n.startswith(_LOSS)]
    first = headline(names)
    whole = {f"{_LOSS}{name}": name for name in names if name == first}
    return whole, {f"{_LOSS}{name}": name for name in names if name != first}


def _chart(curves: Curves, title: str, names: dict[str, str], unit: str) -> Chart:
    known = {name: label for name, label in names.items() if name in curves.columns}
    shown = list(known)[:LINES]
    lines = [line for name in shown for line in _lines(curves, name, known[name])]
    more = len(known) - len(shown)
    note = f"{more} more are not drawn" if more else ""
    log = title.startswith(LOGARITHMIC) and _wide(lines)
    return Chart(title, lines, unit, log, note)


def _lines(curves: Curves, name: str, label: str) -> Iterator[dict[str, Any]]:
    """The line that was kept, and one for each stretch that was left."""
    column = curves.columns[name]
    if name in COUNTERS:
        yield _line(label, _counted(curves, column), PIECES) | {"stepped": True}
        return
    kept: list[tuple[float, float]] = []
    gone: list[list[tuple[float, float]]] = []
    current: list[tuple[float, float]] | None = None  # the stretch that goes on
    for row, value in zip(column.rows, column.values, strict=True):
        point = (curves.steps[row], value)
        if not curves.left[row]:
            kept.append(point)
            current = None
        elif current is not None and current[-1][0] <= point[0]:
            current.append(point)
        else:
            current = [point]
            gone.append(current)
    yield _line(label, kept, PIECES)
    for points in gone[-LEFT_LINES:]:
        yield _line(label, points, LEFT_PIECES) | {"left": True}


def _counted(curves: Curves, column: Column) -> list[tuple[float, float]]:
    """What was counted in all attempts so far, by the farthest step until then; it stands to the end of the run."""
    points = []
    farthest = before = earlier = 0.0
    for row, value in zip(column.rows, column.values, strict=True):
        farthest = max(farthest, float(curves.steps[row]))
        if value < before:  # an attempt counts from nothing
            earlier += before
        before = value
        points.append((farthest, earlier + value))
    return [*points, (float(max(curves.steps)), earlier + before)]


def _line(label: str, points: list[tuple[float, float]], pieces: int) -> dict[str, Any]:
    told = thinned(_once(points), pieces)
    return {
        "label": label,
        "x": [int(x) for x, _ in told],
        "y": [_short(y) for _, y in told],
        "bad": _bad(points),
    }


def _once(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """One value a step: the newest, but never a finite one for one that is not."""
    found: dict[float, float] = {}
    for x, y in points:
        if math.isfinite(found.get(x, 0.0)):
            found[x] = y
    return sorted(found.items())


def _bad(points: list[tuple[float, float]]) -> list[list[Any]]:
    """Stretches of NaN or Inf; of very many those that are close together are joined, and none is dropped."""
    found: list[list[Any]] = []
    stands = False
    for x, y in points:
        word = "" if math.isfinite(y) else ("NaN" if math.isnan(y) else "Inf")
        if stands and word == found[-1][2]:
            found[-1][1] = int(x)
            found[-1][3] += 1
        elif word:
            found.append([int(x), int(x), word, 1])
        stands = bool(word)
    return _near(found) if len(found) > BAD_STRETCHES else found


def _near(found: list[list[Any]]) -> list[list[Any]]:
    gap = (found[-1][1] - found[0][0]) / BAD_STRETCHES
    joined = [found[0]]
    for one in found[1:]:
        before = joined[-1]
        if one[0] - before[0] < gap:
            word = before[2] if one[2] == before[2] else "NaN or Inf"
            joined[-1] = [before[0], max(before[1], one[1]), word, before[3] + one[3]]
        else:
            joined.append(one)
    return joined


def _short(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None


def _wide(lines: Sequence[dict[str, Any]]) -> bool:
    values = [y for line in lines for y in line["y"] if y is not None]
    return bool(values) and min(values) > 0 and max(values) / min(values) >= LOG_FROM


def score_charts(found: Sequence[Scores], trivial: dict[str, dict[str, float]]) -> Iterator[Chart]:
    """One a score, of two evaluations and more, with what trivial answers score as level lines."""
    names = dict.fromkeys(name for one in found for name in one.scores)
    for name in list(names)[:LINES]:
        points = [(float(one.step), one.scores[name]) for one in found if name in one.scores]
        if len(points) < 2:
            continue
        lines = [_line("model", points, PIECES)]
        ends = [points[0][0], points[-1][0]]
        for answer, value in trivial.get(name, {}).items():
            level = _line(title_of(answer), [(x, value) for x in ends], PIECES)
            lines.append(level | {"level": True})
        yield Chart(title_of(name), lines)


def marks(found: Sequence[Mark]) -> list[dict[str, Any]]:
    """Lines across every chart: findings, roll-backs; the first of many of a kind."""
    shown: list[dict[str, Any]] = []
    for kind in ("finding", "roll-back"):
        own = [mark for mark in found if mark.kind == kind][:_SHOWN_MARKS]
        shown += [{"x": m.step, "kind": kind, "level": m.level, "text": m.text[:160]} for m in own]
    return shown
