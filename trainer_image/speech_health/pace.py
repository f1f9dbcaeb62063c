"""How often each rank reports, and when it last gave a sign of life. Shared by the time rules."""

from __future__ import annotations

from collections.abc import Sequence

from speech_contract.progress import RankRow
from speech_health.samples import StepSample


class Pace:
    """The rhythm of one attempt, in monotonic seconds."""

    def __init__(self, started: float) -> None:
        self.started = started
        self.sampled = False

    def feed(self, sample: StepSample) -> None:
        """Learn from a report."""
        self.sampled = True

    def tick(self, now: float, ranks: Sequence[RankRow]) -> None:
        """Learn from the phase stamps."""
