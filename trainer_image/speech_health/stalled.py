"""Rule Stalled: a rank gave no sign of life for longer than its rhythm allows.

Limits by phase: start-up `startupSeconds`; training max(`stepMultiplier` × learned gap, `floorSeconds`);
evaluation, checkpoint and other pauses the same on their own longest, with a wider floor, which is also that of a
script heard through stdout alone. A script that neither registered nor ever showed a step is judged by its start-up
alone: silent past `startupSeconds` and not computing. One that prints or computes may train all the same, and is
left to TelemetryMissing. Ranks that ended are no longer waited for; those they left behind are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from speech_contract import thresholds
from speech_contract.findings import RankRow
from speech_contract.phases import STARTUP, Phase
from speech_contract.rules import Rule
from speech_health.detector import Attempt, Detector
from speech_health.pace import RankPace

PAUSE_FLOORS = 5  # a checkpoint on a slow volume varies more than a step does


class Stalled(Detector[thresholds.Stall, None]):
    """Names the laggard (lowest step, then oldest stamp), its phase and the limit."""

    rule = Rule.STALLED

    def __init__(self, limits: thresholds.Stall, attempt: Attempt) -> None:
        super().__init__(limits, attempt)
        self._ended: dict[int, float] = {}  # rank → when its end was seen

    def tick(self, now: float, ranks: Sequence[RankRow]) -> None:
        """Compare each living rank's silence with its limit."""
        living = [row for row in ranks if row.exit_code is None]
        self._note_ends(now, ranks)
        if self._silent_start(now, living) or self._left_behind(now, living):
            return
        overdue = [row for row in living if self._overdue(now, row)]
        if overdue:
            self._convict(now, living, overdue)
        elif self.active:
            self._heal("the ranks move again")

    def _note_ends(self, now: float, ranks: Sequence[RankRow]) -> None:
        for row in ranks:
            if row.exit_code is not None:
                self._ended.setdefault(row.rank, now)

    def _silent_start(self, now: float, living: list[RankRow]) -> bool:
        """No rank registered or showed a step; none prints, none computes, for longer than a start may take."""
        if self._pace.sampled or not living or any(row.registered for row in living):
            return False
        if self._pace.last_work is None:
            return False  # it can't be told whether they compute
        printed = [
            pace.last_line for pace in self._pace.ranks.values() if pace.last_line is not None
        ]
        life = max([self._pace.started, self._pace.last_work, *printed])
        limit = float(self._limits.startup_seconds)
        if now - life <= limit:
            return False
        self._raise(
            f"no step yet, and for {now - life:.0f} s neither a line nor work, limit {limit:.0f} s (startupSeconds)",
            None,
            living[0].rank,
        )
        return True

    def _left_behind(self, now: float, living: list[RankRow]) -> bool:
        """Every rank that was heard has ended, well or not; others neither end nor speak."""
        judged = [row for row in living if self._judged(row) is not None]
        gone = [self._pace.ranks[r] for r in self._ended if r in self._pace.ranks]
        heard = [pace for pace in gone if pace.life is not None]
        if judged or not living or not heard:
            return False
        since = max(self._ended.values())
        gap = max(pace.learned_gap for pace in heard)
        floor = float(PAUSE_FLOORS * self._limits.floor_seconds)
        limit = max(self._limits.step_multiplier * gap, floor)
        silent = min(min(now - since, self._silence(now, row)) for row in living)
        if silent <= limit:
            return False
        first = living[0]
        done = ", ".join(str(rank) for rank in sorted(self._ended))
        self._raise(
            f"rank {first.rank} neither ends nor shows a step for {silent:.0f} s, limit {limit:.0f} s; ended: rank "
            f"{done}; rank {first.rank} lags: step {'none yet' if first.step is None else first.step}",
            first.step,
            first.rank,
        )
        return True

    def _silence(self, now: float, row: RankRow) -> float:
        """Seconds since the row's newest sign: of a remote script, the last line that was read there."""
        line = self._pace.ranks[row.rank].last_line if row.rank in self._pace.ranks else None
        return min(
            now - line if line is not None else math.inf,
            row.phase_age if row.step is not None else math.inf,
        )

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
        self._raise(evidence, step, laggard.rank)

    def _raise(self, evidence: str, step: int | None, rank: int) -> None:
        self._exceed(evidence, self._limits.on_exceeded, step=step, rank=rank, want_stacks=True)

    def _step(self, row: RankRow) -> int | None:
        pace = self._pace.ranks.get(row.rank)
        return row.step if row.step is not None or pace is None else pace.step

    def _lag(self, now: float, row: RankRow) -> tuple[int, float]:
        pace = self._pace.ranks.get(row.rank)
        step = self._step(row)
        life = pace.life if pace is not None and pace.life is not None else now - row.phase_age
        return (-1 if step is None else step, life)
