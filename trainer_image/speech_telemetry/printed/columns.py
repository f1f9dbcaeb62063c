"""Tables whose names stand once, in a heading, with a row of numbers below it for each report. Called by `reader`.

skorch and fastai's console print so: `epoch  train_loss  valid_loss  dur`, a rule of dashes, then rows; tableprint,
as WeSpeaker uses it, parts the cells by bars: `|     Epoch|     Batch|      Loss|`. The heading may stand far before.
"""

from __future__ import annotations

import itertools
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
_COUNT: Final = re.compile(r"\d+/\d+")
_WORD: Final = re.compile(r"\S+")
_BARS: Final = re.compile(r"[|│┃]")
_NAME: Final = re.compile(r"[A-Za-z_][\w ./-]*")
FEWEST: Final = 3  # cells that make a table of a line


class Columns:
    """The table that stands open, if one does."""

    def __init__(self) -> None:
        self._meanings: tuple[Meaning, ...] = ()
        self._starts: tuple[int, ...] = ()  # of names parted by blanks: where each begins

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
        self._starts = tuple(word.start() for word in _WORD.finditer(line)) if " " in line else ()
        return True

    def row(self, line: str) -> Said | None:
        """What a row says; None when the line is none."""
        cells = barred(line) or line.split()
        if self._meanings and len(cells) < len(self._meanings):
            cells = self._placed(line)
        if not self._meanings or len(cells) < len(self._meanings):
            return None
        pairs = [
            (one, cell)
            for one, cell in zip(self._meanings, cells, strict=False)
            if one.role in (Role.EPOCH, Role.STEP) or _trained(one)
        ]
        if not all(map(_holds, pairs)):
            return None
        told = [(one, cell.partition("/")[0]) for one, cell in pairs]
        said = filled(formats.COLUMNS, (one for one, _ in told), (cell for _, cell in told))
        for one, cell in zip(self._meanings, cells, strict=False):
            if one.held_out and _VALUE.fullmatch(cell):
                take_held(said, one, cell)
        return said

    def _placed(self, line: str) -> list[str]:
        """Cells below the first letters of their names, some of them empty, as Chainer's PrintReport aligns them."""
        starts = self._starts[: len(self._meanings)]
        if not starts or any(line[at - 1 : at].strip() for at in starts[1:]):
            return []
        cells = [line[a:b].strip() for a, b in itertools.pairwise((*starts, len(line)))]
        return cells if sum(map(bool, cells)) >= FEWEST else []


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


def _holds(pair: tuple[Meaning, str]) -> bool:
    """A value where one belongs; a counter may say of how many."""
    one, cell = pair
    counted = one.role in (Role.EPOCH, Role.STEP) and _COUNT.fullmatch(cell)
    return bool(counted or _VALUE.fullmatch(cell))


def _trained(found: Meaning) -> bool:
    """A number of training, of use."""
    return found.role in (Role.LOSS, Role.PART, Role.NORM, Role.RATE) and not found.held_out
