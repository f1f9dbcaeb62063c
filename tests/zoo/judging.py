"""Judging curves and silences of the zoo: what fired, when, and what it cost.

Used by the tests and by make accept-health.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from curves import Curve
from silences import LATE, STOPS, Attempt, seconds

from speech_contract.findings import Finding
from speech_contract.progress import Rule, Severity
from speech_contract.thresholds import HealthMode, Thresholds
from speech_health.monitor import Monitor

ALARMS = (Severity.WARNING, Severity.CRITICAL)


@dataclasses.dataclass(frozen=True)
class Judged:
    """One curve with the reports at which each rule first raised a warning or worse, from 0."""

    curve: Curve
    first: dict[Rule, int]
    findings: list[Finding]
    course: list[str]  # a line whenever a finding came, rose or healed, and what stood at the end
    seconds: float  # in the detectors

    @property
    def reports(self) -> int | None:
        """Reports from the plant to the alarm of its rule, the planted one included; None: missed."""
        at = self.first.get(self.curve.rule) if self.curve.rule else None
        late = at is None or at - self.curve.planted + 1 > self.curve.within
        return None if at is None or late else at - self.curve.planted + 1

    @property
    def steps(self) -> int | None:
        """The same in steps."""
        reports = self.reports
        if reports is None:
            return None
        samples, planted = self.curve.samples, self.curve.planted
        return samples[planted + reports - 1].step - samples[planted].step + 1

    @property
    def missed(self) -> bool:
        """A fault that its rule did not name in time."""
        return self.curve.rule is not None and self.reports is None

    @property
    def early(self) -> list[Rule]:
        """Rules that cried before anything was wrong; on a healthy curve: at all."""
        healthy = self.curve.rule is None
        return [rule for rule, at in self.first.items() if healthy or at < self.curve.planted]


class Course:
    """What is said of one run, as it comes."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._last: set[tuple[Any, ...]] = set()

    def note(self, findings: list[Finding], when: str) -> None:
        """A line for each finding that is not as it was."""
        state = {(f.rule, f.severity, f.status, f.action): f for f in findings}
        self.lines += [f"{when}: {words(f)}" for key, f in state.items() if key not in self._last]
        self._last = set(state)

    def end(self, findings: list[Finding]) -> None:
        """What stands at last, with the numbers of the end."""
        self.lines += [f"at the end: {words(f)}" for f in findings]


def words(finding: Finding) -> str:
    """Who says it, how loud, whether it is over, what would be done, where, and why."""
    f = finding
    what = f"{f.rule.value} {f.severity.value} {f.status.value} {f.action.value}"
    return f"{what}, step {f.step}, rank {f.rank}: {f.evidence}"


def judge(curve: Curve) -> Judged:
    """Feed a curve to all rules under default thresholds. Notify: nothing ends the judging."""
    monitor = Monitor(Thresholds(mode=HealthMode.NOTIFY), started=0.0, wall=lambda: 0.0)
    first: dict[Rule, int] = {}
    course = Course()
    spent = 0.0
    for index, sample in enumerate(curve.samples):
        began = time.process_time()
        monitor.feed(sample)
        spent += time.process_time() - began
        _note(monitor, first, index)
        course.note(monitor.findings, f"report {index}")
    if curve.rule is None:
        monitor.finish(curve.samples[-1].now, 0)
        _note(monitor, first, len(curve.samples))
    course.end(monitor.findings)
    return Judged(curve, first, monitor.findings, course.lines, spent)


@dataclasses.dataclass(frozen=True)
class Heard:
    """One attempt of the silences: when each rule first raised a warning or worse, in its seconds."""

    kind: str
    attempt: Attempt
    first: dict[Rule, float]
    course: list[str]  # as of a curve

    @property
    def late(self) -> float | None:
        """Seconds by which the stop was named after its limit; below 0: before. None: never."""
        at, stopped = self.first.get(Rule.STALLED), self.attempt.stopped
        return None if at is None or stopped is None else at - stopped - self.attempt.limit

    @property
    def missed(self) -> bool:
        """A stop that was named too late, or not at all."""
        return self.kind in STOPS and (self.late is None or self.late > LATE)

    @property
    def early(self) -> list[Rule]:
        """Rules that cried while all was well."""
        stopped = self.attempt.stopped
        return [rule for rule, at in self.first.items() if stopped is None or at <= stopped]


def listen(kind: str, attempt: Attempt) -> Heard:
    """Let all rules hear an attempt under default thresholds; mode Notify, as `judge`."""
    monitor = Monitor(Thresholds(mode=HealthMode.NOTIFY), started=0.0, wall=lambda: 0.0)
    first: dict[Rule, float] = {}
    course = Course()
    for second in seconds(attempt):
        for sample in second.samples:
            monitor.feed(sample)
        monitor.tick(second.now, second.rows)
        _note(monitor, first, second.now)
        course.note(monitor.findings, f"second {second.now:g}")
    course.end(monitor.findings)
    return Heard(kind, attempt, first, course.lines)


def _note(monitor: Monitor, first: dict[Rule, Any], now: float) -> None:
    """Keep when each rule first raised a warning or worse."""
    for finding in monitor.findings:
        if finding.severity in ALARMS:
            first.setdefault(finding.rule, now)
