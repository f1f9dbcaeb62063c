"""All rules behind one door: samples and ticks in, findings, verdict and at most one decision out.

Used by the master's supervisor (live) and by replay. Pure: the caller brings both clocks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from speech_contract.progress import (
    SEVERITY_ORDER,
    Action,
    Finding,
    FindingStatus,
    RankRow,
    Rule,
    Severity,
    Verdict,
    verdict_of,
)
from speech_contract.thresholds import HealthMode, Thresholds
from speech_contract.wire import Memory
from speech_health.codebook_collapse import CodebookCollapse
from speech_health.constant_component import ConstantComponent
from speech_health.detector import Decision, Detector
from speech_health.goal_unreachable import GoalUnreachable
from speech_health.implausible import Implausible
from speech_health.memory_growth import MemoryGrowth
from speech_health.no_gradient import NoGradient
from speech_health.non_finite import NonFinite
from speech_health.not_updating import NotUpdating
from speech_health.pace import Pace
from speech_health.preflight import Preflight
from speech_health.rank_divergence import RankDivergence
from speech_health.samples import Source, StepSample
from speech_health.schedule_mismatch import ScheduleMismatch
from speech_health.skipped_samples import SkippedSamples
from speech_health.spike import GradientSpike, LossSpike
from speech_health.stalled import Stalled
from speech_health.telemetry import TelemetryMissing, TelemetryStale
from speech_health.zero_loss import ZeroLoss

__all__ = ["Decision", "Monitor"]

# One cause pages once: while the left rule is active, the right ones stay out of the list.
BEATS = {
    Rule.NON_FINITE: (
        Rule.ZERO_LOSS,
        Rule.NO_GRADIENT,
        Rule.CONSTANT_COMPONENT,
        Rule.LOSS_SPIKE,
        Rule.GRADIENT_SPIKE,
    ),
    Rule.LOSS_SPIKE: (Rule.GRADIENT_SPIKE,),
    Rule.STALLED: (Rule.TELEMETRY_STALE, Rule.TELEMETRY_MISSING),
    Rule.ZERO_LOSS: (Rule.NOT_UPDATING,),
    Rule.NO_GRADIENT: (Rule.NOT_UPDATING,),
}

WOULD = {
    Action.WOULD_ROLL_BACK: "would have rolled back to the last confirmed checkpoint",
    Action.WOULD_RESTART: "would have restarted from a checkpoint",
    Action.WOULD_STOP: "would have stopped the run",
}


class Monitor:
    """Judges one attempt. After a decision nothing is judged any more: the attempt is being ended.

    Nor is it after `finish`: what a worker still had to say then must not soften the last word.
    """

    def __init__(
        self, thresholds: Thresholds, *, started: float, wall: Callable[[], float]
    ) -> None:
        """`started`: monotonic seconds at which the ranks were launched; `wall`: epoch seconds now."""
        mode = thresholds.mode
        self._off = mode is HealthMode.OFF
        pace = Pace(started)
        self._pace = pace
        self._value_rules: tuple[Detector[Any], ...] = (
            NonFinite(thresholds.non_finite, mode, wall),
            ZeroLoss(thresholds.zero_loss, mode, wall),
            NoGradient(thresholds.no_gradient, mode, wall),
            SkippedSamples(thresholds.skipped_samples, mode, wall),
            ConstantComponent(thresholds.constant_component, mode, wall),
            LossSpike(thresholds.loss_spike, mode, wall),
            GradientSpike(thresholds.gradient_spike, mode, wall),
            NotUpdating(thresholds.not_updating, mode, wall),
            ScheduleMismatch(thresholds.schedule_mismatch, mode, wall),
            CodebookCollapse(thresholds.codebook_collapse, mode, wall),
            Implausible(thresholds.implausible, mode, wall),
            GoalUnreachable(thresholds.goal_unreachable, mode, wall),
            RankDivergence(thresholds.rank_divergence, mode, wall),
            Preflight(mode, wall),
        )
        self._time_rules: tuple[Detector[Any], ...] = (
            Stalled(thresholds.stall, mode, wall, pace),
            TelemetryMissing(thresholds.telemetry, mode, wall, pace),
            TelemetryStale(thresholds.telemetry, mode, wall, pace),
        )
        self._memory = MemoryGrowth(thresholds.memory_growth, mode, wall, pace)
        self._reporter_speaks = False
        self._ended = False
        self._decision: Decision | None = None

    @property
    def decision(self) -> Decision | None:
        """What the supervisor must do now; None while nothing must be done. The first one stays."""
        return self._decision

    @property
    def findings(self) -> list[Finding]:
        """One per rule, active before healed, then by severity."""
        found = {d.finding.rule: d.finding for d in self._detectors() if d.finding is not None}
        beaten = {
            loser
            for winner, losers in BEATS.items()
            if winner in found and _pages(found[winner])
            for loser in losers
        }
        spoken = (_spoken(f) for rule, f in found.items() if rule not in beaten)
        return sorted(spoken, key=self._order)

    @property
    def verdict(self) -> Verdict:
        """The findings in one word. Unknown while judging is off or nothing was told: quiet is not healthy."""
        if self._off:
            return Verdict.UNKNOWN
        return verdict_of(self.findings, sampled=self._pace.told)

    def feed(self, sample: StepSample) -> None:
        """Take one report. Costs microseconds; call it for every datagram and every stdout sample."""
        self._pace.feed(sample)
        if self._done or self._superseded(sample):
            return
        for detector in self._detectors():
            detector.feed(sample)
        self._decide()

    def hear_line(self, now: float, rank: int) -> None:
        """A rank printed a line, whatever it says. `now` monotonic."""
        self._pace.hear_line(now, rank)

    def observe_work(self, now: float) -> None:
        """The local ranks were seen to compute. `now` monotonic."""
        self._pace.last_work = now

    def observe_memory(self, now: float, host: int, memory: Memory) -> None:
        """Take a reading of a host's memory. `now` monotonic, `host` its node rank; every few seconds."""
        if not self._done:
            self._memory.observe(now, host, memory)

    def tick(self, now: float, ranks: Sequence[RankRow]) -> None:
        """Judge what only time can tell. `now` monotonic; call it about once a second."""
        self._pace.tick(now, ranks)
        if self._done:
            return
        for detector in self._detectors():
            detector.tick(now, ranks)
        self._decide()

    def finish(self, now: float, exit_code: int) -> None:
        """All ranks ended with `exit_code`. Judges once more what a short run could not show before."""
        if self._off or self._decision is not None:
            return
        for detector in self._detectors():
            detector.finish(now, exit_code)
        self._decide()
        self._ended = True

    @property
    def _done(self) -> bool:
        return self._off or self._ended or self._decision is not None

    def _detectors(self) -> tuple[Detector[Any], ...]:
        return (*self._value_rules, *self._time_rules, self._memory)

    def _superseded(self, sample: StepSample) -> bool:
        """Stdout repeats, rounded, what a reporter that carries losses says exactly."""
        if sample.source is Source.STDOUT:
            return self._reporter_speaks
        if not self._reporter_speaks and (sample.losses is not None or sample.gated):
            self._reporter_speaks = True
            for detector in self._detectors():
                detector.forget_stdout()
        return False

    def _decide(self) -> None:
        for detector in self._detectors():
            if detector.decision is not None:
                self._decision = detector.decision
                return

    def _order(self, finding: Finding) -> tuple[bool, bool, int, float]:
        decided = self._decision is not None and self._decision.finding.rule is finding.rule
        healed = finding.status is FindingStatus.HEALED
        return (not decided, healed, -SEVERITY_ORDER[finding.severity], finding.since)


def _spoken(finding: Finding) -> Finding:
    """In mode Notify the evidence says what was not done: every reader of it tells the same."""
    would = WOULD.get(finding.action)
    if would is None:
        return finding
    return dataclasses.replace(finding, evidence=f"{finding.evidence}; mode Notify: {would}")


def _pages(finding: Finding) -> bool:
    return finding.status is FindingStatus.ACTIVE and finding.severity is not Severity.INFO
