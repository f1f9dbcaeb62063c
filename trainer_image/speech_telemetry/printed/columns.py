"""Tables whose names stand once, in a heading, with a row of numbers below it for each report. Called by `reader`.

skorch and fastai's console print so: `epoch  train_loss  valid_loss  dur`, a rule of dashes, then rows; tableprint,
as WeSpeaker uses it, parts the cells by bars: `|     Epoch|     Batch|      Loss|`. The heading may stand far before.
"""

from __future__ import annotations

import re
from typing import Final

from speech_telemetry.printed import formats
from speech_telemetry.printed.grammar import filled, take_held
from speech_telemetry.printed.names import Meaning, Role, meaning
from speech_telemetry.printed.numbers import NUMBER
from speech_telemetry.printed.said import Said

MOST: Final = 32  # columns
_NAMES: Final = re.compile(r"\s*[A-Za-z_][\w./-]*(?:\s+[A-Za-z_][\w./-]*)+\s*")
_VALUE: Final = re.compile(rf"[-+]?{NUMBER}", re.IGNORECASE)
_BARS: Final = re.compile(r"[|│┃]")
_NAME: Final = re.compile(r"[A-Za-z_][\w ./-]*")
FEWEST: Final = 3  # cells between bars that are a table's, and not a line's parts


class Columns:
    """The table that stands open, if one does."""

    def __init__(self) -> None:
        self._meanings: tuple[Meaning, ...] = ()

    def __bool__(self) -> bool:
        return bool(self._meanings)

    def opens(self, line: str) -> bool:
        """Whether the line is a heading: names alone, of a counter first and of a training loss."""
        names = barred(line)
        if not names:
            names = line.split() if _NAMES.fullmatch(line) else []
        if not names or not all(map(_NAME.fullmatch, names)):
            return False
        found = tuple(meaning(f"{name}: ") for name in names[:MOST])
        counted = found[0].role in (Role.EPOCH, Role.STEP)
        if not counted or not any(_trained(one) for one in found):
            return False
        self._meanings = found
        return True

    def row(self, line: str) -> Said | None:
        """What a row says; None when the line is none."""
        cells = barred(line) or line.split()
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


def barred(line: str) -> list[str]:
    """Cells between bars, of a line that ends with one; what a logger writes before the first is none of them."""
    if line[-1:] not in ("|", "│", "┃"):
        return []
    cells = [cell.strip() for cell in _BARS.split(line)[1:-1]]
    return cells if len(cells) >= FEWEST and all(cells) else []


def nameless(line: str) -> bool:
    """A row of numbers and no names: only its heading could say what they are."""
    cells = barred(line.rstrip()) or line.split()
    return len(cells) >= FEWEST and sum(bool(_VALUE.fullmatch(cell)) for cell in cells) >= FEWEST


def _trained(found: Meaning) -> bool:
    """A number of training, of use."""
    return found.role in (Role.LOSS, Role.PART, Role.NORM, Role.RATE) and not found.held_out
