"""All rules behind one door: samples and ticks in, findings, verdict and at most one decision out.

Used by the master's supervisor (live) and by replay. Pure: the caller brings both clocks.
"""

from __future__ import annotations

import dataclasses
import importlib
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from speech_contract.findings import (
    SEVERITY_ORDER,
    Action,
    Finding,
    FindingStatus,
    RankRow,
    Verdict,
    verdict_of,
)
from speech_contract.report import Match, Memory
from speech_contract.rules import Rule, Severity
from speech_contract.thresholds import HealthMode, Thresholds
from speech_health.detector import Attempt, Decision, Detector
from speech_health.pace import Pace
from speech_health.samples import Source, StepSample
from speech_health.stretch import stretch_of

__all__ = ["Decision", "Monitor", "detector_of"]


def detector_of(rule: Rule) -> type[Detector[Any, Any]] | None:
    """The class that judges by `rule`; None when the operator does. It is named by the rule's record."""
    module, _, name = rule.record.detector.partition(":")
    if not name:
        return None
    kind: type[Detector[Any, Any]] = getattr(
        importlib.import_module(f"speech_health.{module}"), name
    )
    assert kind.rule is rule, (kind, rule)
    return kind


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
        self._off = thresholds.mode is HealthMode.OFF
        self._pace = Pace(started)
        attempt = Attempt(thresholds.mode, wall, self._pace)
        self._detectors: tuple[Detector[Any, Any], ...] = tuple(
            kind(limits, attempt)
            for rule in Rule
            for kind in [detector_of(rule)]
            if kind is not None
            for limits in [getattr(thresholds, rule.record.section)]
            if limits not in ({}, ())  # where nothing was stated nothing is judged
        )
        self._non_finite: Any = next(d for d in self._detectors if d.rule is Rule.NON_FINITE)
        self._fed = [d for d in self._detectors if type(d).feed is not Detector.feed]
        asked = dict.fromkeys(field for d in self._fed for field in d.feeds_on)
        self._asked, self._carried = list(asked), operator.attrgetter(*asked)
        self._by_shape: dict[tuple[bool, ...], list[Detector[Any, Any]]] = {}
        self.revision = 0  # grows when a finding changed
        self.reporter_speaks = False  # of losses: what stdout repeats is passed over
        self._ended = False
        self._decision: Decision | None = None

    @property
    def decision(self) -> Decision | None:
        """What the supervisor must do now; None while nothing must be done. The first one stays."""
        return self._decision

    @property
    def findings(self) -> list[Finding]:
        """One per rule, active before healed, then by severity."""
        found = {d.finding.rule: d.finding for d in self._detectors if d.finding is not None}
        paging = {rule.value for rule, finding in found.items() if _pages(finding)}
        ends_for = self._decision.finding.rule if self._decision is not None else None
        # One cause pages once; what the attempt ends for is never left out.
        told = (
            f
            for rule, f in found.items()
            if rule is ends_for or paging.isdisjoint(rule.record.gives_way_to)
        )
        spoken = (_spoken(finding) for finding in told)
        return sorted(spoken, key=self._order)

    @property
    def verdict(self) -> Verdict:
        """The findings in one word. Unknown while judging is off or nothing was told: quiet is not healthy."""
        if self._off:
            return Verdict.UNKNOWN
        return verdict_of(self.findings, sampled=self._pace.told)

    @property
    def non_finite_steps(self) -> int:
        """Bad steps that rule NonFinite has counted so far, over all ranks."""
        counted: int = self._non_finite.bad_steps
        return counted

    def feed(self, sample: StepSample) -> None:
        """Take one report. Costs microseconds; call it for every datagram and every stdout sample."""
        self._pace.feed(sample)
        self._judge(sample, self._listeners(sample))

    def feed_batch(self, batch: Sequence[StepSample]) -> Iterator[StepSample]:
        """The same of reports in their order, in mode Notify; lazily, and yields each before it is judged by itself.

        Of a calm stretch those are left out which every rule passes over.
        """
        stretch = stretch_of(batch)
        if stretch is None:
            for sample in batch:
                yield sample
                self.feed(sample)
            return
        self._pace.pass_over(stretch)
        left = [d for d in self._listeners(stretch.first) if not d.pass_over(stretch)]
        for sample in batch if left else ():
            yield sample
            self._judge(sample, left)

    def _judge(self, sample: StepSample, detectors: Iterable[Detector[Any, Any]]) -> None:
        for detector in detectors:
            before = detector.finding
            detector.feed(sample)
            if detector.finding is not before:
                self.revision += 1
                if detector.decision is not None:
                    self._decide()

    def _listeners(self, sample: StepSample) -> Sequence[Detector[Any, Any]]:
        """Who feeds on a report in which some fields are missing: most reports carry few of them."""
        if self._done or self._superseded(sample):
            return ()
        shape = tuple([value is None for value in self._carried(sample)])
        known = self._by_shape.get(shape)
        if known is None:
            here = {field for field, missing in zip(self._asked, shape, strict=True) if not missing}
            known = [d for d in self._fed if not d.feeds_on or not here.isdisjoint(d.feeds_on)]
            self._by_shape[shape] = known
        return known

    def hear_line(self, now: float, rank: int) -> None:
        """A rank printed a line, whatever it says. `now` monotonic."""
        self._pace.hear_line(now, rank)

    def observe_work(self, now: float) -> None:
        """The local ranks were seen to compute. `now` monotonic."""
        self._pace.last_work = now

    def observe_memory(self, now: float, host: int, memory: Memory) -> None:
        """Take a reading of a host's memory. `now` monotonic, `host` its node rank; every few seconds."""
        if not self._done:
            for detector in self._detectors:
                detector.observe(now, host, memory)

    def observe_matches(self, host: int, matches: dict[str, Match]) -> None:
        """Take what the patterns found so far in the pod of node rank `host`."""
        if not self._done:
            for detector in self._detectors:
                detector.match(host, matches)
            self._decide()

    def tick(self, now: float, ranks: Sequence[RankRow]) -> None:
        """Judge what only time can tell. `now` monotonic; call it about once a second."""
        self._pace.tick(now, ranks)
        if self._done:
            return
        for detector in self._detectors:
            detector.tick(now, ranks)
        self._decide()

    def finish(self, now: float, exit_code: int) -> None:
        """All ranks ended with `exit_code`. Judges once more what a short run could not show before."""
        if self._off or self._decision is not None:
            return
        for detector in self._detectors:
            detector.finish(now, exit_code)
        self._decide()
        self._ended = True

    @property
    def _done(self) -> bool:
        return self._off or self._ended or self._decision is not None

    def _superseded(self, sample: StepSample) -> bool:
        """Stdout repeats, rounded, what a reporter that carries losses says exactly."""
        if sample.source is Source.STDOUT:
            return self.reporter_speaks
        if not self.reporter_speaks and (sample.losses is not None or sample.gated):
            self.reporter_speaks = True
            for detector in self._detectors:
                detector.forget_stdout()
        return False

    def _decide(self) -> None:
        for detector in self._detectors:
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
