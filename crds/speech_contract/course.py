"""Thresholds of the rules about how a run comes along, whatever it trains. Members of `thresholds.Thresholds`."""

from __future__ import annotations

import dataclasses

from speech_contract.actions import OnExceeded, only
from speech_contract.checks import check_at_least, check_number
from speech_contract.codec import FORBID


@dataclasses.dataclass(frozen=True)
class Plateau:
    """The loss no longer falls, or never did. Told as information; a warning at the level of a blind guess."""

    __pydantic_config__ = FORBID
    for_reports: int = 200
    """Reports, and half of the run, over which the loss must be flat."""
    on_exceeded: OnExceeded = OnExceeded.WARN

    def __post_init__(self) -> None:
        check_at_least(self, 16, "for_reports")
        only(self, OnExceeded.WARN)


@dataclasses.dataclass(frozen=True)
class Slowdown:
    """Steps that take `factor` times as long as they used to, for `for_reports` reports."""

    __pydantic_config__ = FORBID
    factor: str = "3"
    """Times the usual time of a step that count as slow, as a string."""
    for_reports: int = 50
    """Newest reports of which nine in ten must be slow until it warns."""
    on_exceeded: OnExceeded = OnExceeded.WARN

    def __post_init__(self) -> None:
        check_number("factor", self.factor, above=1.0)
        check_at_least(self, 2, "for_reports")
        only(self, OnExceeded.WARN)
