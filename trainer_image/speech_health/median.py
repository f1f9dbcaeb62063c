"""The median, as `statistics.median` takes it. That module costs a command line a tenth of its start: it loads
fractions, decimals and random numbers."""

from __future__ import annotations

from collections.abc import Iterable


def median(values: Iterable[float]) -> float:
    """The middle one, or the mean of the two in the middle. Raises IndexError where there is none."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
