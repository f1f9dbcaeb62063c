"""Lines that differ in their numbers alone: read by one pattern after the second of them. Called by `reader`.

A trainer prints the same line a hundred thousand times. The full grammar reads the first two; their common words
become a pattern, whose groups mean what they meant there. Anything else, a nan or a line in the lead of a bar, goes
to the grammar.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from speech_telemetry.printed import formats, grammar
from speech_telemetry.printed.formats import Format
from speech_telemetry.printed.names import Meaning, Role
from speech_telemetry.printed.numbers import count_of
from speech_telemetry.printed.said import Said

KEPT: Final = 4  # patterns; a script has few kinds of lines with values
TRIES: Final = 64  # lines without a twin, after which nothing more is learned
LOOKS: Final = 512  # lines that are looked at: what has no shape by then costs twice for nothing
# Not by names and numbers alone.
_READ_APART: Final = (
    formats.VITS,
    formats.BLOCK,
    formats.TABLE,
    formats.COLUMNS,
    formats.FASTAI,
    formats.WESEP,
    formats.SENTENCE,
    formats.ENDED,
)
_NUMBER: Final = r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
_Read = Callable[[str], Any]
# Role → field of Said, and how its text is read; at most one of a line each.
_FIELDS: Final[dict[Role, tuple[str, _Read]]] = {
    Role.LOSS: ("loss", str),
    Role.AVERAGE: ("loss", str),
    Role.NORM: ("norm", float),
    Role.RATE: ("rate", float),
    Role.STEP: ("step", count_of),
    Role.EPOCH: ("epoch", float),
}


class _Shape:
    """One kind of line."""

    def __init__(self, words: Sequence[str], form: Format, meanings: Sequence[Meaning]) -> None:
        """`words`: one more than there are meanings, each before, between or behind numbers."""
        self._form = form
        self._meanings = [found for found in meanings if found.role is not Role.NONE]
        groups = [_NUMBER if found.role is Role.NONE else f"({_NUMBER})" for found in meanings]
        text = [re.escape(words[0])]
        for group, word in zip(groups, words[1:], strict=True):
            text += [group, re.escape(word)]
        self._pattern = re.compile("".join(text))
        self._slots = _slots(self._meanings)
        self._settled = _settled(form, self._meanings)

    def read(self, line: str) -> Said | None:
        """What the line says; None when it has another shape."""
        found = self._pattern.fullmatch(line)
        if found is None:
            return None
        if not self._slots:
            return grammar.filled(self._form, self._meanings, found.groups())
        parts: dict[str, float] = {}
        fields: dict[str, Any] = {
            **self._settled,
            "parts": parts,
            "bad": {},
            "terms": {},
            "held": {},
        }
        for (part, name, read), token in zip(self._slots, found.groups()):  # noqa: B905 - costs
            (parts if part else fields)[name] = read(token)
        if fields.get("step", 0) is None or fields.get("rate") == 0.0:  # `step: 1.5` is no counter
            return grammar.filled(self._form, self._meanings, found.groups())
        said = object.__new__(Said)
        vars(said).update(fields)  # at a third of the constructor's cost
        return said


def _slots(meanings: Sequence[Meaning]) -> list[tuple[bool, str, _Read]]:
    """Where each number goes: a component or not, its name, how it is read. Empty where that hangs on the numbers."""
    slots = []
    for found in meanings:
        part = found.role is Role.PART
        if not part and found.role not in _FIELDS:
            return []
        slots.append((True, found.name, float) if part else (False, *_FIELDS[found.role]))
    apart = {(part, name) for part, name, _ in slots}
    parts = sum(part for part, _, _ in slots)
    lone = parts == 1 and (False, "loss") not in apart  # at 0 it is left out
    if len(apart) < len(slots) or lone or parts > grammar.MOST_PARTS:
        return []
    return slots


def _settled(form: Format, meanings: Sequence[Meaning]) -> dict[str, Any]:
    """What such a line says whatever its numbers are."""
    whole = [found for found in meanings if found.role in (Role.LOSS, Role.AVERAGE)][:1]
    return {
        "format": form,
        "keys": tuple(found.name for found in meanings),
        "average": any(found.role is Role.AVERAGE for found in whole),
        "stepwise": any(found.name.endswith("_step") for found in whole),
    }


class Shapes:
    """What one output's lines look like."""

    def __init__(self) -> None:
        self._shapes: list[_Shape] = []
        self._before: dict[tuple[str, ...], None] = {}
        self._tries, self._looks = TRIES, LOOKS

    def read(self, line: str) -> Said | None:
        """What the line says; None when it has no known shape."""
        for shape in self._shapes:
            said = shape.read(line)
            if said is not None:
                return said
        return None

    def learn(self, line: str, said: Said) -> None:
        """Keep the shape of a line that the grammar has read, when it came before."""
        if not (self._tries and self._looks) or len(self._shapes) >= KEPT:
            return
        if not _simple(line, said):
            return
        self._looks -= 1
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
        shape = _Shape(words, said.format, [found for found, _, _ in cells])
        if shape.read(line) is not None:
            self._shapes.append(shape)


def _simple(line: str, said: Said) -> bool:
    """Nothing but names and numbers: no bar, list, rank, held-out value or step at a place of its own."""
    told = said.bar is None and not said.foreign and not said.held_out and not said.prose
    return said.values and told and said.rank is None and said.format.step is None and (
        said.format not in _READ_APART
    ) and "\r" not in line  # fmt: skip


def _sure(found: Meaning) -> bool:
    """Means the same whatever the number is."""
    return found.role is Role.NONE or (found.assigned and found.role not in (Role.OF, Role.RANK))
