"""How often each rank reports, and when it last gave a sign of life. Shared by the time rules.

Signs of life: a report with a new step, anything read off stdout, a phase stamp that moved. How long a pause takes
is learned from stamps and from reports: one that is shorter than a tick is seen by its reports alone.
"""

from __future__ import annotations

import collections
import dataclasses
import operator
from collections.abc import Sequence

from speech_contract.findings import RankRow
from speech_contract.phases import PAUSES, STARTUP, Phase
from speech_health.median import median
from speech_health.samples import Source, StepSample
from speech_health.stretch import Stretch

GAPS_KEPT = 128
GAPS_ENOUGH = 3  # below this many, a script's start-up stands in for its longest gap
STAMP_JITTER = 1.5  # seconds: a worker's stamps come second-hand, once a second


@dataclasses.dataclass(eq=False, repr=False)
class RankPace:
    """One rank. Times are monotonic seconds; None: not yet."""

    source: Source | None = None
    gated: bool = False
    step: int | None = None
    last_sample: float | None = None
    last_step: float | None = None  # when the newest step, or anything on stdout, was seen
    first_step_after: float = 0.0  # seconds from the start to the first sample
    gaps: collections.deque[float] = dataclasses.field(
        default_factory=lambda: collections.deque(maxlen=GAPS_KEPT)
    )
    paused: bool = False  # since `last_step` the rank was in a phase other than training
    stamp: float | None = None
    phase: Phase = Phase.STARTING
    stamped_step: int | None = None
    training_since: float | None = None  # None while in another phase
    still: float = 0.0  # how long the stamp stands still now, in a phase other than training
    longest_still: dict[Phase, float] = dataclasses.field(default_factory=dict)
    lines: int = 0  # printed
    last_line: float | None = None
    told: Phase = Phase.STARTING  # by its reports, since `told_at`
    told_at: float = 0.0

    def hear(self, sample: StepSample, started: float) -> None:
        """Take a report."""
        if self.last_sample is None:
            self.first_step_after = sample.now - started
        self.source, self.gated = sample.source, sample.gated
        self.last_sample = sample.now
        self._told(sample)
        if sample.source is Source.REPORTER and sample.step == self.step:
            return
        if self.last_step is not None and not self.paused:
            self.gaps.append(sample.now - self.last_step)
        self.step, self.last_step = sample.step, sample.now
        self.paused = sample.phase is not Phase.TRAINING

    def hear_on(self, stretch: Stretch) -> None:
        """Take the reports behind the second one; that one was heard, and its step was new."""
        nows = [report.now for report in stretch.reports[1:]]
        self.gaps.extend(map(operator.sub, nows[1:], nows))
        self.last_sample = self.last_step = stretch.last.now
        self.step = stretch.last.step

    def _told(self, sample: StepSample) -> None:
        if sample.phase is self.told:
            return
        if self.told in PAUSES:
            self._lasted(self.told, sample.now - self.told_at)
        self.told, self.told_at = sample.phase, sample.now

    def see(self, now: float, row: RankRow) -> None:
        """Take a phase stamp."""
        stamp = now - row.phase_age
        moved = (
            self.stamp is None
            or stamp > self.stamp + STAMP_JITTER
            or (row.phase, row.step) != (self.phase, self.stamped_step)
        )
        if moved:
            self._moved(stamp, row)
        if row.phase is Phase.TRAINING:
            self.training_since = now if self.training_since is None else self.training_since
            return
        self.training_since, self.paused = None, True
        self.still = now - (self.stamp if self.stamp is not None else now)

    def _moved(self, stamp: float, row: RankRow) -> None:
        if self.still > 0.0:
            self._lasted(self.phase, self.still)
        self.stamp, self.phase, self.stamped_step, self.still = stamp, row.phase, row.step, 0.0

    def _lasted(self, phase: Phase, seconds: float) -> None:
        self.longest_still[phase] = max(self.longest_still.get(phase, 0.0), seconds)

    @property
    def life(self) -> float | None:
        """The newest sign of life; None when there never was one."""
        return max((t for t in (self.stamp, self.last_step) if t is not None), default=None)

    @property
    def learned_gap(self) -> float:
        """Seconds between signs of life while training.

        Our engine names its pauses, so the median step counts; a stranger does not, so its longest gap
        does (and the time to its first sample while there are few gaps to go by).
        """
        if self.gated:
            return median(self.gaps) if self.gaps else 0.0
        longest = max(self.gaps, default=0.0)
        return longest if len(self.gaps) >= GAPS_ENOUGH else max(longest, self.first_step_after)


class Pace:
    """The rhythm of one attempt."""

    def __init__(self, started: float) -> None:
        self.started = started
        self.ranks: dict[int, RankPace] = {}
        self.sampled = False
        self.told = False  # a report was telling: steps alone prove nothing
        self.starting = False  # a registered rank is in a start-up phase
        self.last_work: float | None = None  # when the local ranks were last seen to compute
        self.trained = 0  # the highest step
        self.planned: int | None = None  # steps

    def feed(self, sample: StepSample) -> None:
        """Learn from a report."""
        self.sampled = True
        self.told = self.told or sample.telling
        self.trained = max(self.trained, sample.step)
        self.planned = sample.total_steps or self.planned
        pace = self.of(sample.rank)
        if sample.source is Source.STDOUT and pace.source is Source.REPORTER:
            return  # its own reporter is the better clock
        pace.hear(sample, self.started)

    def pass_over(self, stretch: Stretch) -> None:
        """Learn from reports that follow each other in one phase, training."""
        self.feed(stretch.first)
        self.feed(stretch.reports[1])
        self.trained = max(self.trained, stretch.last.step)
        pace = self.of(stretch.first.rank)
        if pace.source is stretch.first.source:
            pace.hear_on(stretch)

    def hear_line(self, now: float, rank: int) -> None:
        """A rank printed something, readable or not."""
        pace = self.of(rank)
        pace.lines, pace.last_line = pace.lines + 1, now

    def tick(self, now: float, ranks: Sequence[RankRow]) -> None:
        """Learn from the phase stamps of the ranks that registered and live."""
        self.starting = False
        for row in ranks:
            if row.registered and row.exit_code is None:
                self.starting |= row.phase in STARTUP
                self.of(row.rank).see(now, row)

    def of(self, rank: int) -> RankPace:
        """The rank's pace, created empty."""
        if rank not in self.ranks:
            self.ranks[rank] = RankPace()
        return self.ranks[rank]
