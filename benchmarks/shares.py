"""Shares with their bounds, and spreads, as the acceptance of the rules states them. Used by accept_health.py."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from record import Row


def bound(failures: int, number: int) -> float:
    """Upper 95 % bound of a share (Clopper and Pearson, one-sided), by bisection."""
    low, high = failures / number, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _at_most(failures, number, middle) > 0.05:
            low = middle
        else:
            high = middle
    return high


def _at_most(failures: int, number: int, share: float) -> float:
    """P(X <= failures) of a binomial."""
    total = term = (1.0 - share) ** number
    for k in range(failures):
        term *= (number - k) / (k + 1) * share / max(1.0 - share, 1e-300)
        total += term
    return total


def score(missed: int, faults: int, false_alarms: int, number: int) -> dict[str, float]:
    """What was missed of the faults and cried over all, as results hold it, each with its bound."""
    return {
        "missed": missed,
        "missBound": round(bound(missed, faults), 4),
        "falseAlarms": false_alarms,
        "falseAlarmBound": round(bound(false_alarms, number), 4),
    }


def score_rows(
    names: tuple[str, str], result: Mapping[str, Any], faults: int, number: int
) -> list[Row]:
    """Both shares of a `score` in words; neither may be above 0."""
    told = (("missed", "missBound", faults), ("falseAlarms", "falseAlarmBound", number))
    return [
        Row(name, f"{result[key]} of {of} (95 % bound {result[limit]:.2%})", "0", result[key] == 0)
        for name, (key, limit, of) in zip(names, told, strict=True)
    ]


def spread(values: Sequence[int]) -> dict[str, float] | None:
    """Median and worst."""
    return {"median": statistics.median(values), "worst": max(values)} if values else None
