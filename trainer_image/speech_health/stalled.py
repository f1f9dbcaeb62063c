"""Rule Stalled."""

from __future__ import annotations

from collections.abc import Callable

from speech_contract import thresholds
from speech_contract.progress import Rule
from speech_health.detector import Detector
from speech_health.pace import Pace


class Stalled(Detector):
    """See DESIGN section 6."""

    rule = Rule.STALLED

    def __init__(
        self,
        limits: thresholds.Stall,
        mode: thresholds.HealthMode,
        wall: Callable[[], float],
        pace: Pace,
    ) -> None:
        super().__init__(mode, wall)
        self._limits = limits
        self._pace = pace
