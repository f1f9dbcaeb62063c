"""Shares with their bounds, and spreads, as the acceptance of the rules states them. Used by accept_health.py."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


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


def spread(values: Sequence[int]) -> dict[str, float] | None:
    """Median and worst."""
    return {"median": statistics.median(values), "worst": max(values)} if values else None
