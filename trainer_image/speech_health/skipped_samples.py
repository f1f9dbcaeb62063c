"""Rule SkippedSamples."""

from __future__ import annotations

from collections.abc import Callable

from speech_contract import thresholds
from speech_contract.progress import Rule
from speech_health.detector import Detector


class SkippedSamples(Detector):
    """See DESIGN section 6."""

    rule = Rule.SKIPPED_SAMPLES

    def __init__(
        self, limits: thresholds.SkippedSamples, mode: thresholds.HealthMode, wall: Callable[[], float]
    ) -> None:
        super().__init__(mode, wall)
        self._limits = limits
