"""Rules TelemetryMissing and TelemetryStale: we can't see, and say so. Warnings; the verdict reads Unknown."""

from __future__ import annotations

from collections.abc import Sequence

from speech_contract import thresholds
from speech_contract.findings import RankRow
from speech_contract.rules import Rule
from speech_health.detector import Detector
from speech_health.pace import STAMP_JITTER

NEAR = 0.5  # of the planned steps: a run that ends sooner with exit code 0 has not shown that it was meant to
LOUD = 1.0  # lines a second
NO_STEP = (
    "look whether the loader gave a batch at all (a filter, drop_last, an empty folder); where steps were made, call "
    "speech_telemetry.reporter from the script, or print a line such as 'step 12 loss=0.5', unbuffered"
)
ENDED_EARLY = "if it stops early on purpose, nothing; else look for the loop or data that ended before the plan"
GAPS = 3  # a rank that reports every 100 s is not stale after 120


class TelemetryMissing(Detector[thresholds.Telemetry, None]):
    """Not one sample within `missingSeconds` of the start, and no rank says that it is still starting."""

    rule = Rule.TELEMETRY_MISSING

    def tick(self, now: float, ranks: Sequence[RankRow]) -> None:
        """Fires once; heals with the first sample."""
        if self._pace.sampled:
            self._heal("reports arrive")
            return
        waited = now - self._pace.started
        if waited >= self._limits.missing_seconds and not self._pace.starting and not self.active:
            self._warn(
                f"no report and no readable line on stdout in {waited:.0f} s, threshold "
                f"{self._limits.missing_seconds} s{self._printed(waited)}",
                remedy=NO_STEP if self._loud(waited) else "",
            )

    def finish(self, now: float, exit_code: int) -> None:
        """Healthy is earned: by a step, by a loss or a norm, and by coming near to what was planned."""
        if exit_code != 0:
            return
        pace, waited = self._pace, now - self._pace.started
        planned = "" if pace.planned is None else f" (0 of {pace.planned} planned)"
        if pace.sampled and pace.trained == 0:
            self._warn(
                f"the run ended after {waited:.0f} s without one training step{planned}",
                remedy=NO_STEP,
            )
        elif not pace.told:
            what = (
                "loss or gradient norm"
                if pace.sampled
                else "training step: no report or readable line"
            )
            self._warn(
                f"the run ended after {waited:.0f} s without one {what}{self._printed(waited)}",
                remedy="" if pace.sampled else NO_STEP,
            )
        elif pace.planned is not None and pace.trained < NEAR * pace.planned:
            self._warn(
                f"the run ended with exit code 0 after {pace.trained} of {pace.planned} planned steps",
                step=pace.trained,
                remedy=ENDED_EARLY,
            )

    def _loud(self, waited: float) -> bool:
        return sum(rank.lines for rank in self._pace.ranks.values()) >= max(LOUD * waited, 1.0)

    def _printed(self, waited: float) -> str:
        """How much was printed instead."""
        lines = sum(rank.lines for rank in self._pace.ranks.values())
        if not lines:
            return ""
        return f"; {lines} line(s) were printed ({lines / max(waited, 1.0):.3g} a second), none of a training step"


class TelemetryStale(Detector[thresholds.Telemetry, None]):
    """A rank's phase stamp moves on in training, yet its samples stopped."""

    rule = Rule.TELEMETRY_STALE

    def tick(self, now: float, ranks: Sequence[RankRow]) -> None:
        """Silence counts from the last sample or from the return to training, whichever is later."""
        stale = [
            (silent, row)
            for row in ranks
            if row.registered and row.exit_code is None
            for silent in [self._silent(now, row)]
            if silent is not None
        ]
        if not stale:
            self._heal("every rank reports")
            return
        silent, row = max(stale, key=lambda pair: pair[0])
        self._warn(
            f"rank {row.rank} moves (phase {row.phase.value}, stamp {row.phase_age:.0f} s old) but sent "
            f"no sample for {silent:.0f} s, threshold {self._limits.stale_seconds} s",
            step=row.step,
            rank=row.rank,
        )

    def _silent(self, now: float, row: RankRow) -> float | None:
        """Seconds of silence when stale; None when not."""
        pace = self._pace.ranks.get(row.rank)
        if pace is None or pace.last_sample is None or pace.training_since is None:
            return None
        silent = now - max(pace.last_sample, pace.training_since)
        moves = pace.stamp is not None and pace.stamp > pace.last_sample + STAMP_JITTER
        limit = max(float(self._limits.stale_seconds), GAPS * pace.learned_gap)
        return silent if moves and silent >= limit else None
