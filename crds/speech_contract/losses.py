"""Which of several losses stands for the run. Decided here for detectors, supervisor, engine and command line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

HEADLINES: Final = ("total", "loss")  # names that mean the whole; all others are components


def headline(names: Iterable[str]) -> str | None:
    """`total`, else `loss`, else the first; None without any. `names` may be a mapping of losses."""
    known = list(names)
    return next((name for name in (*HEADLINES, *known) if name in known), None)
