"""Lines that differ in their numbers alone: read by one pattern after the second of them. Called by `reader`.

A trainer prints the same line a hundred thousand times. The full grammar reads the first two; their common words
become a pattern, whose groups mean what they meant there. Anything else, a nan or a line in the lead of a bar, goes
to the grammar.
"""

from __future__ import annotations

import re
from typing import Final

from speech_telemetry.printed import formats, grammar
from speech_telemetry.printed.grammar import Said
from speech_telemetry.printed.names import Meaning, Role

KEPT: Final = 4  # patterns; a script has few kinds of lines with values
TRIES: Final = 64  # lines without a twin, after which nothing more is learned
_NUMBER: Final = r"([-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)"


class Shapes:
    """What one output's lines look like."""

    def __init__(self) -> None:
        self._patterns: list[tuple[re.Pattern[str], formats.Format, tuple[Meaning, ...]]] = []
        self._before: dict[tuple[str, ...], None] = {}
        self._tries = TRIES

    def read(self, line: str) -> Said | None:
        """What the line says; None when it has no known shape."""
        for pattern, form, meanings in self._patterns:
            found = pattern.fullmatch(line)
            if found is not None:
                return grammar.filled(form, meanings, found.groups())
        return None

    def learn(self, line: str, said: Said) -> None:
        """Keep the shape of a line that the grammar has read, when it came before."""
        if not self._tries or len(self._patterns) >= KEPT or not _simple(line, said):
            return
        cells = grammar.cells(line)
        if any(found.held_out or not _sure(found) for found, _, _ in cells):
            return
        words, at = [], 0
        for _, token, end in cells:
            words.append(line[at : end - len(token)])
            at = end
        words.append(line[at:])
        key = tuple(words)
        if key not in self._before:
            self._tries -= 1
            self._before[key] = None
            return
        pattern = re.compile(_NUMBER.join(map(re.escape, words)))
        if pattern.fullmatch(line):
            self._patterns.append((pattern, said.format, tuple(found for found, _, _ in cells)))


def _simple(line: str, said: Said) -> bool:
    """Nothing but names and numbers: no bar, list, rank, held-out value or step at a place of its own."""
    told = said.bar is None and not said.foreign and not said.held_out and not said.prose
    return said.values and told and said.rank is None and said.format.step is None and (
        said.format not in (formats.VITS, formats.BLOCK, formats.TABLE, formats.SENTENCE)
    ) and "\r" not in line  # fmt: skip


def _sure(found: Meaning) -> bool:
    """Means the same whatever the number is."""
    return found.role is Role.NONE or (found.assigned and found.role not in (Role.OF, Role.RANK))
