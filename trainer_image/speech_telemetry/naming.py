"""How many names the numbers of one attempt may have. Used by `judge`, on all that it takes in.

Names come from scripts, and a script may name a loss after its batch or its recording. Each name is a series in
Prometheus, a column of the record and the memory of several rules, and none of them ends before the run does.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from speech_contract.losses import HEADLINES
from speech_contract.report import MAX_FORM, Report

MOST_NAMES: Final = 64  # of each field, as they come; a GAN with eight codebooks has some thirty
OTHER: Final = "other"  # stands for all names beyond

_Report = TypeVar("_Report", bound=Report)
# Values of the names beyond → that of OTHER; None: nothing to say.
_Rest = Callable[[list[Any]], Any]


def _not_finite(values: list[Any]) -> Any:
    return next((v for v in values if isinstance(v, float) and not math.isfinite(v)), None)


def _nothing(values: list[Any]) -> None:
    return None


# A NaN is never lost with its name, and samples that were skipped stay counted.
_FIELDS: Final[Mapping[str, _Rest]] = {
    "losses": _not_finite,
    "evaluation": _not_finite,
    "skipped": sum,
    "codebooks": _nothing,
    "active_from": _nothing,
}


class Names:
    """The names of one attempt so far. `full` is told of a field once, when a name of it is the first beyond."""

    def __init__(self, full: Callable[[str, str], None]) -> None:
        self._full = full
        self._known: dict[str, set[str]] = {field: set() for field in _FIELDS}
        self._first: dict[str, str] = {}  # field → the first name beyond

    def bounded(self, report: _Report) -> _Report:
        """The report itself while its names are few; else what lies beyond them under one name."""
        changes: dict[str, Any] = {}
        for field, rest in _FIELDS.items():
            values = getattr(report, field)
            if values and not self._knows(field, values):
                changes[field] = self._folded(field, values, rest)
        return dataclasses.replace(report, **changes) if changes else report

    @property
    def folded(self) -> tuple[str, ...]:
        """For people: each field that is full, and from which name on."""
        return tuple(
            f"{field} (from {name[:MAX_FORM]!r} on)" for field, name in self._first.items()
        )

    def _knows(self, field: str, values: Mapping[str, Any]) -> bool:
        """Whether each name has its place, or still gets one."""
        known = self._known[field]
        for name in values:
            if name not in known and (len(known) < MOST_NAMES or name in HEADLINES):
                known.add(name)
        return values.keys() <= known

    def _folded(self, field: str, values: Mapping[str, Any], rest: _Rest) -> dict[str, Any]:
        known = self._known[field]
        beyond = {name: value for name, value in values.items() if name not in known}
        if field not in self._first:
            self._first[field] = next(iter(beyond))
            self._full(field, self._first[field])
        kept = {name: value for name, value in values.items() if name in known}
        other = rest([*beyond.values()])
        return kept if other is None else {**kept, OTHER: other}
