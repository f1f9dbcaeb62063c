"""Which of several losses stands for the run. Decided here for detectors, supervisor, engine and command line."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

HEADLINES: Final = ("total", "loss")  # names that mean the whole; all others are components


def headline(names: Collection[str]) -> str | None:
    """`total`, else `loss`, else the first; None without any. `names` may be a mapping of losses."""
    for name in HEADLINES:
        if name in names:
            return name
    return next(iter(names), None)
