"""How held-out scores went: a row an evaluation, and since when each trivial answer is beaten. For `why`.

Read from the events of a run directory by `local_place`; what a roll-back or an older attempt went back on is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from speech_cli.rendering.verdict import score_number
from speech_contract.result import Result
from speech_contract.scores import title
from speech_contract.values import Value, frozen

ROWS_SHOWN = 8
COLUMNS_SHOWN = 6


@frozen
class Evaluated(Value):
    """One evaluation. A score that is no number is NaN."""

    step: int
    scores: dict[str, float]


def evaluations(events: Iterable[Mapping[str, Any]]) -> list[Evaluated]:
    """Those that count, oldest first, of events `evaluation_finished`: one of an earlier step takes later ones back."""
    kept: list[Evaluated] = []
    for event in events:
        step, scores = event.get("step"), event.get("scores")
        if not isinstance(step, int) or not isinstance(scores, Mapping):
            continue
        kept = [one for one in kept if one.step < step]
        kept.append(Evaluated(step, {str(name): _number(value) for name, value in scores.items()}))
    return kept


def course_lines(rows: Sequence[Evaluated], result: Result) -> Iterator[str]:
    """A table of two evaluations and more, and one line a trivial answer. `result`: directions and baselines."""
    if len(rows) < 2:
        return
    names = list(rows[-1].scores)[:COLUMNS_SHOWN]
    yield from _aligned([
        ["step", *map(title, names)],
        *([str(row.step), *_cells(row, names, result)] for row in _shown(rows, result)),
    ])  # fmt: skip
    yield from (milestone(name, own, rows, result) for name, own in result.baselines.items())


def milestone(
    name: str, own: Mapping[str, float], rows: Sequence[Evaluated], result: Result
) -> str:
    """`beats silence in snr and mel since step 60`: since when it stayed so, by all scores that the answer has."""
    since = None
    for row in rows:
        beaten = all(
            result.spec(score).beats(row.scores.get(score, math.nan), value)
            for score, value in own.items()
            if result.spec(score).better is not None
        )
        since = (row.step if since is None else since) if beaten else None
    told = " and ".join(title(score) for score in own)
    if since is None:
        return f"does not beat {title(name)} in {told} by step {rows[-1].step}"
    return f"beats {title(name)} in {told} since step {since}"


def _shown(rows: Sequence[Evaluated], result: Result) -> list[Evaluated]:
    """First, last and best, and some between, evenly."""
    last = len(rows) - 1
    wanted = {round(last * n / (ROWS_SHOWN - 2)) for n in range(ROWS_SHOWN - 1)}
    best = result.best.step if result.best else None
    return [row for n, row in enumerate(rows) if n in wanted or row.step == best]


def _cells(row: Evaluated, names: Sequence[str], result: Result) -> list[str]:
    return [score_number(row.scores.get(name, math.nan), result.spec(name).unit) for name in names]


def _aligned(table: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        yield "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))


def _number(value: Any) -> float:
    """JSON has no NaN: events say it as text."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
