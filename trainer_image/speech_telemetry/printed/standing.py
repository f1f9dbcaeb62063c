"""Which part stands for the whole loss where a script prints none. Called by `reader`, report by report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from speech_contract.losses import HEADLINES
from speech_health import columns

LOOKED_AT: Final = 20  # reports without a whole loss, after which there will be none


class StandIn:
    """One output's. Empty until it is known, and for good once a whole loss was printed."""

    def __init__(self) -> None:
        self._left = LOOKED_AT
        self._names: dict[str, None] = {}
        self._name = ""

    def of(self, losses: Mapping[str, float] | None) -> str:
        """The part's name; empty while reports are few, or where none has a level of its own."""
        if losses is None or self._left < 0:
            return self._name
        if any(name in losses for name in HEADLINES):
            self._left, self._name = -1, ""
            return ""
        self._names.update(dict.fromkeys(losses))
        self._left -= 1
        if self._left < 0:
            self._name = columns.stand_in(filter(columns.has_level, self._names))
        return self._name
