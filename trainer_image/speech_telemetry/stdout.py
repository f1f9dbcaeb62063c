"""Reading a stranger: step samples out of what a training script prints. Called by the supervisor's log tee."""

from __future__ import annotations

from speech_health.samples import StepSample


class StdoutReader:
    """One rank's output, line by line."""

    def __init__(self, rank: int = 0) -> None:
        self._rank = rank

    def feed_line(self, line: str, now: float, time: float) -> StepSample | None:
        """`now` monotonic, `time` epoch seconds. None when the line tells nothing. Never raises.

        Split the stream at `\\n` *and* at `\\r`: a progress bar writes no newline until it ends.
        """
        return None
