"""Rules TelemetryMissing and TelemetryStale."""

from __future__ import annotations

from collections.abc import Callable

from speech_contract import thresholds
from speech_contract.progress import Rule
from speech_health.detector import Detector
from speech_health.pace import Pace


class TelemetryMissing(Detector):
    """See DESIGN section 6."""

    rule = Rule.TELEMETRY_MISSING

    def __init__(
        self,
        limits: thresholds.Telemetry,
        mode: thresholds.HealthMode,
        wall: Callable[[], float],
        pace: Pace,
    ) -> None:
        super().__init__(mode, wall)
        self._limits = limits
        self._pace = pace


class TelemetryStale(Detector):
    """See DESIGN section 6."""

    rule = Rule.TELEMETRY_STALE

    def __init__(
        self,
        limits: thresholds.Telemetry,
        mode: thresholds.HealthMode,
        wall: Callable[[], float],
        pace: Pace,
    ) -> None:
        super().__init__(mode, wall)
        self._limits = limits
        self._pace = pace
