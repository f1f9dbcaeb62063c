"""Tables whose names stand once, in a heading, with a row of numbers below it for each report. Called by `reader`.

skorch and fastai's console print so: `epoch  train_loss  valid_loss  dur`, a rule of dashes, then rows.
"""

from __future__ import annotations

import re
from typing import Final

from speech_telemetry.printed import formats
from speech_telemetry.printed.grammar import Said, filled, take_held
from speech_telemetry.printed.names import Meaning, Role, meaning
from speech_telemetry.printed.numbers import NUMBER

MOST: Final = 32  # columns
_NAMES: Final = re.compile(r"\s*[A-Za-z_][\w./-]*(?:\s+[A-Za-z_][\w./-]*)+\s*")
_VALUE: Final = re.compile(rf"[-+]?{NUMBER}", re.IGNORECASE)


class Columns:
    """The table that stands open, if one does."""

    def __init__(self) -> None:
        self._meanings: tuple[Meaning, ...] = ()

    def __bool__(self) -> bool:
        return bool(self._meanings)

    def opens(self, line: str) -> bool:
        """Whether the line is a heading: names alone, of a counter first and of a training loss."""
        if not _NAMES.fullmatch(line):
            return False
        found = tuple(meaning(f"{name}: ") for name in line.split()[:MOST])
        counted = found[0].role in (Role.EPOCH, Role.STEP)
        if not counted or not any(_trained(one) for one in found):
            return False
        self._meanings = found
        return True

    def row(self, line: str) -> Said | None:
        """What a row says; None when the line is none."""
        cells = line.split()
        if not self._meanings or len(cells) < len(self._meanings):
            return None
        pairs = [
            (one, cell)
            for one, cell in zip(self._meanings, cells, strict=False)
            if one.role in (Role.EPOCH, Role.STEP) or _trained(one)
        ]
        if not all(_VALUE.fullmatch(cell) for _, cell in pairs):
            return None
        said = filled(formats.COLUMNS, (one for one, _ in pairs), (cell for _, cell in pairs))
        for one, cell in zip(self._meanings, cells, strict=False):
            if one.held_out:
                take_held(said, one, cell)
        return said


def _trained(found: Meaning) -> bool:
    """A number of training, of use."""
    return found.role in (Role.LOSS, Role.PART, Role.NORM, Role.RATE) and not found.held_out
