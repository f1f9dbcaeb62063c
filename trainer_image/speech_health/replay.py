"""A finished run before the rules: what would have fired, at which step? Used by `speechtrain replay`.

Judged as in mode Notify: nothing ends the judging, and actions read as what would have been done. Rules of time
(stalls, silence) are left out: a log does not say when its lines were written.
"""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import Final

from speech_contract.findings import SEVERITY_ORDER, Action, Finding, FindingStatus
from speech_contract.rules import Rule, Severity
from speech_contract.thresholds import HealthMode, Thresholds
from speech_contract.values import Value, frozen
from speech_health.monitor import Monitor
from speech_health.samples import StepSample
from speech_health.stretch import batches

EPISODES: Final = 10  # of one rule, that are told one by one


@frozen
class Fired(Value):
    """One episode of one rule. `severity` is the worst it reached."""

    rule: Rule
    step: int | None
    status: FindingStatus
    severity: Severity
    evidence: str
    action: Action


@frozen
class Replayed(Value):
    """What a log gave."""

    reports: int
    last_step: int | None
    findings: list[Fired]
    runs: int  # of the file

    @property
    def critical(self) -> bool:
        """Some rule would have ended the run, or said that it must not go on."""
        return any(fired.severity is Severity.CRITICAL for fired in self.findings)


def replay(samples: Iterable[StepSample], thresholds: Thresholds | None = None) -> Replayed:
    """Feed a whole log. Each time a rule fires anew after it healed is an entry of its own."""
    limits = dataclasses.replace(thresholds or Thresholds(), mode=HealthMode.NOTIFY)
    runs = [_Run(limits, 0)]
    last = None
    for batch in batches(samples):
        if batch[0].opens and runs[-1].reports:
            runs[-1].end()
            runs.append(_Run(limits, len(runs)))
        runs[-1].take(batch)
        last = batch[-1]
    runs[-1].end()
    found = [fired for run in runs for fired in run.found]
    reports = sum(run.reports for run in runs)
    return Replayed(reports, last.step if last else None, _told(found), len(runs))


class _Run:
    """One run of a file, before rules that know nothing of the others."""

    def __init__(self, limits: Thresholds, place: int) -> None:
        self._telling = 0
        self._silent = 0
        self.found: list[Fired] = []
        self._place = place
        self._clock = 0.0
        self._noted = 0
        self._last: StepSample | None = None
        self._episodes: dict[tuple[Rule, float], Fired] = {}
        self._monitor: Monitor | None = Monitor(limits, started=0.0, wall=lambda: self._clock)

    @property
    def reports(self) -> int:
        """Those that say something of training; where none does, those that tell of a step."""
        return self._telling or self._silent

    def take(self, batch: Sequence[StepSample]) -> None:
        """Judge reports."""
        assert self._monitor is not None
        telling = sum(s.losses is not None or s.telling for s in batch)
        self._telling += telling
        if telling < len(batch):
            # A step on a line of its own, or an evaluation alone, which is none.
            self._silent += sum(s.evaluation is None and not s.telling for s in batch)
        self._last = batch[-1]
        end = self._clock + len(batch)
        for _ in self._monitor.feed_batch(batch):
            self._note(self._monitor)
            self._clock += 1.0  # tells episodes apart
        self._note(self._monitor)
        self._clock = end

    def _note(self, monitor: Monitor) -> None:
        if monitor.revision != self._noted:
            self._noted = monitor.revision
            _note(self._episodes, monitor.findings)

    def end(self) -> None:
        """The rules have their last word; what they held is let go."""
        if self._monitor is None or self._last is None:
            return
        self._monitor.finish(self._last.now, 0)
        _note(self._episodes, self._monitor.findings)
        self._monitor = None
        found = sorted(self._episodes.items(), key=lambda item: item[0][1])
        self.found = [self._said(fired) for _, fired in found]

    def _said(self, fired: Fired) -> Fired:
        evidence = fired.evidence
        if fired.rule is Rule.TELEMETRY_MISSING:  # its seconds are lines here
            evidence = re.sub(r"after \d+ s ", f"after {self.reports} report(s) ", evidence)
        if self._place:
            evidence = f"in run {self._place + 1} of this file: {evidence}"
        return dataclasses.replace(fired, evidence=evidence)


def _told(found: list[Fired]) -> list[Fired]:
    """The first episodes of each rule, then how many more there were: a page of them says no more."""
    told: list[Fired] = []
    seen: collections.Counter[Rule] = collections.Counter(fired.rule for fired in found)
    shown: collections.Counter[Rule] = collections.Counter()
    for fired in found:
        shown[fired.rule] += 1
        more = seen[fired.rule] - EPISODES
        if shown[fired.rule] < EPISODES or more <= 0:
            told.append(fired)
        elif shown[fired.rule] == EPISODES:
            worst = max(
                (other for other in found if other.rule is fired.rule),
                key=lambda other: SEVERITY_ORDER[other.severity],
            )
            evidence = f"{fired.evidence}; and {more} more episode(s)"
            told.append(
                dataclasses.replace(
                    fired, evidence=evidence, severity=worst.severity, action=worst.action
                )
            )
    return told


def _note(episodes: dict[tuple[Rule, float], Fired], findings: list[Finding]) -> None:
    for finding in findings:
        key = (finding.rule, finding.since)
        before = episodes.get(key)
        if before is not None and before.evidence == finding.evidence:
            continue
        worst: Fired | Finding = finding
        if before is not None and SEVERITY_ORDER[before.severity] > SEVERITY_ORDER[worst.severity]:
            worst = before
        episodes[key] = Fired(
            rule=finding.rule,
            step=finding.step,
            status=finding.status,
            severity=worst.severity,
            evidence=finding.evidence,
            action=worst.action,
        )
