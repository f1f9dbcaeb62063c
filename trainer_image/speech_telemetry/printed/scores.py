"""Which held-out losses of a line are an evaluation's, told once. Called by `reader`; pure.

An evaluation is told at its end, not batch by batch, and once for each place of training. A bar goes on showing the
scores of the last evaluation: there the same text is old news, except that a score which stays nan is one again at
the end of every epoch's bar.
"""

from __future__ import annotations

import math
from typing import Any

from speech_telemetry.printed.counters import Counter
from speech_telemetry.printed.said import Said


class Scores:
    """One output's evaluations."""

    def __init__(self) -> None:
        self._shown = ""  # of the newest
        self._place: tuple[Any, ...] = ()  # where it was told

    def fresh(self, said: Said, counter: Counter) -> dict[str, float]:
        """The line's scores if they are a new evaluation's, else none."""
        scores = said.held
        if not scores or said.batch:
            return {}
        shown = repr(scores)
        place = (counter.epoch, None if said.bar is not None else (counter.reports, said.step))
        if place == self._place or (shown == self._shown and not _again(said)):
            return {}
        self._shown, self._place = shown, place
        return scores


def _again(said: Said) -> bool:
    """The same text may be the next evaluation."""
    if said.bar is None:
        return True
    return said.step == said.total and not all(map(math.isfinite, said.held.values()))
