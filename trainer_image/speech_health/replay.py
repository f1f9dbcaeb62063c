"""A finished run before the rules: what would have fired, at which step? Used by `speechtrain replay`.

Judged as in mode Notify: nothing ends the judging, and actions read as what would have been done. Rules of time
(stalls, silence) are left out: a log does not say when its lines were written.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from speech_contract.progress import SEVERITY_ORDER, Action, Finding, FindingStatus, Rule, Severity
from speech_contract.thresholds import HealthMode, Thresholds
from speech_health.monitor import Monitor
from speech_health.samples import StepSample


@dataclasses.dataclass(frozen=True)
class Fired:
    """One episode of one rule. `severity` is the worst it reached."""

    rule: Rule
    step: int | None
    status: FindingStatus
    severity: Severity
    evidence: str
    action: Action


@dataclasses.dataclass(frozen=True)
class Replayed:
    """What a log gave."""

    reports: int
    last_step: int | None
    findings: list[Fired]

    @property
    def critical(self) -> bool:
        """Some rule would have ended the run, or said that it must not go on."""
        return any(fired.severity is Severity.CRITICAL for fired in self.findings)


def replay(samples: Iterable[StepSample], thresholds: Thresholds | None = None) -> Replayed:
    """Feed a whole log. Each time a rule fires anew after it healed is an entry of its own."""
    limits = dataclasses.replace(thresholds or Thresholds(), mode=HealthMode.NOTIFY)
    reports, last, noted = 0, None, 0
    episodes: dict[tuple[Rule, float], Fired] = {}
    clock = [0.0]
    monitor = Monitor(limits, started=0.0, wall=lambda: clock[0])
    for sample in samples:
        reports, last = reports + 1, sample
        clock[0] = float(reports)  # tells episodes apart
        monitor.feed(sample)
        if monitor.revision != noted:
            noted = monitor.revision
            _note(episodes, monitor.findings)
    if last is not None:
        clock[0] += 1.0
        monitor.finish(last.now, 0)
        _note(episodes, monitor.findings)
    found = sorted(episodes.items(), key=lambda item: item[0][1])
    return Replayed(reports, last.step if last else None, [fired for _, fired in found])


def _note(episodes: dict[tuple[Rule, float], Fired], findings: list[Finding]) -> None:
    for finding in findings:
        key = (finding.rule, finding.since)
        before = episodes.get(key)
        if before is not None and before.evidence == finding.evidence:
            continue
        worse = before is not None and (
            SEVERITY_ORDER[before.severity] > SEVERITY_ORDER[finding.severity]
        )
        episodes[key] = Fired(
            rule=finding.rule,
            step=finding.step,
            status=finding.status,
            severity=before.severity if before is not None and worse else finding.severity,
            evidence=finding.evidence,
            action=before.action if before is not None and worse else finding.action,
        )
