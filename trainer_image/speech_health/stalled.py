"""Rule Stalled: a rank gave no sign of life for longer than its rhythm allows.

Limits by phase: start-up `startupSeconds`; training max(`stepMultiplier` × learned gap, `floorSeconds`);
evaluation, checkpoint and other pauses the same on their own longest, with a wider floor, which is also that of a
script heard through stdout alone. A script that neither registered nor ever showed a step is not judged:
TelemetryMissing speaks of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from speech_contract import thresholds
from speech_contract.phases import STARTUP, Phase
from speech_contract.progress import RankRow
from speech_contract.rules import Rule
from speech_health.detector import Detector
from speech_health.pace import RankPace

PAUSE_FLOORS = 5  # a checkpoint on a slow volume varies more than a step does


class Stalled(Detector[thresholds.Stall, None]):
    """Names the laggard (lowest step, then oldest stamp), its phase and the limit."""

    rule = Rule.STALLED

    def tick(self, now: float, ranks: Sequence[RankRow]) -> None:
        """Compare each living rank's silence with its limit."""
        living = [row for row in ranks if row.exit_code is None]
        overdue = [row for row in living if self._overdue(now, row)]
        if overdue:
            self._convict(now, living, overdue)
        elif self.active:
            self._heal("the ranks move again")

    def _judged(self, row: RankRow) -> RankPace | None:
        pace = self._pace.ranks.get(row.rank)
        if pace is None or pace.life is None:
            return None
        return pace if row.registered or pace.last_sample is not None else None

    def _overdue(self, now: float, row: RankRow) -> bool:
        pace = self._judged(row)
        if pace is None or pace.life is None:
            return False
        return now - pace.life > self._limit(row, pace)[0]

    def _limit(self, row: RankRow, pace: RankPace) -> tuple[float, str]:
        """Seconds, and how they came about."""
        times, floor = self._limits.step_multiplier, float(self._limits.floor_seconds)
        startup = float(self._limits.startup_seconds)
        if row.registered and row.phase in STARTUP and pace.last_sample is None:
            return startup, "startupSeconds"
        if row.registered and row.phase is not Phase.TRAINING:
            longest = pace.longest_still.get(row.phase)
            if longest is None:
                return max(startup, floor), f"startupSeconds, for the first {row.phase.value}"
            return (
                max(times * longest, PAUSE_FLOORS * floor),
                f"{times} × {longest:.3g} s, the longest {row.phase.value} so far, floor "
                f"{PAUSE_FLOORS * floor:g} s",
            )
        gap = pace.learned_gap
        if not row.registered:
            floor *= PAUSE_FLOORS  # it does not name its pauses: any silence may be an evaluation
        return max(times * gap, floor), f"{times} × {gap:.3g} s, floor {floor:g} s"

    def _convict(self, now: float, living: list[RankRow], overdue: list[RankRow]) -> None:
        starting = all(row.phase in STARTUP for row in overdue)
        suspects = [row for row in living if starting or self._judged(row) is not None]
        laggard = min(suspects, key=lambda row: self._lag(now, row))
        first = laggard if laggard in overdue else overdue[0]
        pace = self._pace.ranks[first.rank]
        silent = now - (pace.life if pace.life is not None else now)
        limit, why = self._limit(first, pace)
        step = self._step(laggard)
        evidence = (
            f"no step for {silent:.0f} s, limit {limit:.0f} s ({why}); rank {laggard.rank} lags: step "
            f"{'none yet' if step is None else step}, phase {laggard.phase.value}"
        )
        self._exceed(
            evidence,
            self._limits.on_exceeded,
            step=step,
            rank=laggard.rank,
            want_stacks=True,
        )

    def _step(self, row: RankRow) -> int | None:
        pace = self._pace.ranks.get(row.rank)
        return row.step if row.step is not None or pace is None else pace.step

    def _lag(self, now: float, row: RankRow) -> tuple[int, float]:
        pace = self._pace.ranks.get(row.rank)
        step = self._step(row)
        life = pace.life if pace is not None and pace.life is not None else now - row.phase_age
        return (-1 if step is None else step, life)
