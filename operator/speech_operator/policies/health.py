"""Writes what the supervisors found: verdict, findings, condition Healthy, events. Never deletes a pod.

Restart and Stop are the supervisor's own actions; the operator sees them as exit codes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from speech_contract.findings import SEVERITY_ORDER, Finding, FindingStatus, Verdict
from speech_contract.progress import Rule, Severity
from speech_contract.reasons import Condition, Reason
from speech_contract.status import MAX_FINDINGS, JobFinding, JobHealth, JobStatus
from speech_contract.thresholds import HealthMode
from speech_operator import status as st
from speech_operator.accounts import accounts
from speech_operator.plan import Draft
from speech_operator.policies.starting import late
from speech_operator.snapshot import Observed
from speech_operator.timestamps import to_text

UNREACHABLE_SECONDS = 60.0  # without an answer from `/progress`
MAX_TEXT = 1024  # characters of evidence and remedy; answers can be hostile
EVIDENCE_OF_SILENCE = "the master's /progress gave no answer for {:.0f} s"


def health(seen: Observed, draft: Draft, now: float) -> Draft:
    """Take over verdict and findings of the current attempt, and say so when the verdict changes."""
    if _off(seen):
        return draft.to(status=_with_healthy(draft.status, None, Reason.HEALTH_OFF.value, "", now))
    slow, left = late(seen, now)
    draft = draft if left is None else draft.requeued(left)
    before = draft.status.health
    now_is = _fresh(seen, before, slow)
    if seen.silent_seconds is not None and seen.silent_seconds < UNREACHABLE_SECONDS:
        draft = draft.requeued(UNREACHABLE_SECONDS - seen.silent_seconds)
    status = dataclasses.replace(draft.status, health=now_is)
    draft = draft.to(status=_conditioned(status, now))
    return _announce(draft, before, now_is)


def new_attempt(status: JobStatus, now: float) -> JobStatus:
    """Forget the verdict of the attempt before; its findings stay readable until there are new ones."""
    healed = [dataclasses.replace(f, status=FindingStatus.HEALED) for f in status.health.findings]
    status = dataclasses.replace(status, health=JobHealth(Verdict.UNKNOWN, tuple(healed)))
    return _conditioned(status, now)


def _off(seen: Observed) -> bool:
    return seen.spec.health.mode is HealthMode.OFF


def _fresh(seen: Observed, before: JobHealth, slow: Finding | None) -> JobHealth:
    """The newest word of this attempt. `slow`: it should have started by now."""
    if st.open_attempt(seen.job.status) is None:
        return _started(before)
    told = next(iter(accounts(seen)), None)
    findings = list(told.findings) if told else []
    findings += [] if told or slow is None else [slow]
    verdict = _verdict(told.verdict) if told else Verdict.UNKNOWN
    if _silent(seen):
        findings.append(_silence())
        verdict = Verdict.CRITICAL if verdict is Verdict.CRITICAL else Verdict.UNKNOWN
    if told or findings:
        return JobHealth(verdict, _converted(findings, seen))
    return _started(before)


def _started(before: JobHealth) -> JobHealth:
    """Nobody says anything: what kept an attempt from starting is over."""
    healed = FindingStatus.HEALED
    found = (
        dataclasses.replace(f, status=healed) if f.rule is Rule.NOT_STARTING else f
        for f in before.findings
    )
    return dataclasses.replace(before, findings=tuple(found))


def _silent(seen: Observed) -> bool:
    """A master that should answer does not; of one that has ended nobody expects it."""
    if seen.silent_seconds is None or seen.silent_seconds < UNREACHABLE_SECONDS:
        return False
    return not (seen.master is not None and seen.master.ended and seen.master.outcome is not None)


def _verdict(text: str) -> Verdict:
    return Verdict(text) if text in {verdict.value for verdict in Verdict} else Verdict.UNKNOWN


def _silence() -> Finding:
    # The evidence names the limit, not the age: a text that changes each pass would be written each pass.
    return Finding(
        rule=Rule.TELEMETRY_UNREACHABLE,
        status=FindingStatus.ACTIVE,
        severity=Severity.WARNING,
        evidence=EVIDENCE_OF_SILENCE.format(UNREACHABLE_SECONDS),
        remedy=Rule.TELEMETRY_UNREACHABLE.record.remedy,
    )


def _converted(findings: Sequence[Finding], seen: Observed) -> tuple[JobFinding, ...]:
    return tuple(
        JobFinding(
            rule=f.rule,
            status=f.status,
            severity=f.severity,
            evidence=f.evidence[:MAX_TEXT],
            action=f.action,
            remedy=f.remedy[:MAX_TEXT],
            step=f.step,
            rank=f.rank,
            since=_since(f.since),
            node=_node_of(f.rank, seen),
        )
        for f in findings[:MAX_FINDINGS]
    )


def _node_of(rank: int | None, seen: Observed) -> str | None:
    """Where the rank's pod runs, as the cluster says: an answer may claim anything."""
    if rank is None or seen.run_config is None:
        return None
    node_rank = rank // seen.run_config.ranks_per_node
    return next((p.node for p in seen.current_pods if p.node_rank == node_rank and p.node), None)


def _since(epoch: float) -> str | None:
    """A time out of an answer that may hold anything."""
    return to_text(epoch) if 0 < epoch < 2**33 else None


def worst(findings: Sequence[JobFinding]) -> JobFinding | None:
    """The first active finding of the highest severity."""
    active = [f for f in findings if f.status is FindingStatus.ACTIVE]
    return max(active, key=_weight, default=None)


def _weight(finding: JobFinding) -> int:
    """A severity that a newer operator wrote counts as information."""
    return SEVERITY_ORDER.get(finding.severity, 0)


def _conditioned(status: JobStatus, now: float) -> JobStatus:
    verdict, first = status.health.verdict, worst(status.health.findings)
    value = {Verdict.UNKNOWN: None, Verdict.CRITICAL: False}.get(verdict, True)
    if first is not None:
        return _with_healthy(status, value, first.rule.value, first.evidence, now)
    quiet = value is not None
    reason = Reason.ALL_RULES_QUIET if quiet else Reason.NO_TELEMETRY
    message = (
        "no rule has anything to say" if quiet else "no loss or gradient norm of this attempt yet"
    )
    return _with_healthy(status, value, reason.value, message, now)


def _with_healthy(
    status: JobStatus, value: bool | None, reason: str, message: str, now: float
) -> JobStatus:
    return st.with_condition(status, Condition.HEALTHY, value, reason, message, now)


def _announce(draft: Draft, before: JobHealth, after: JobHealth) -> Draft:
    """One event for each finding that was not active before, worst first."""
    known = {(f.rule, f.rank) for f in before.findings if f.status is FindingStatus.ACTIVE}
    new = [
        f
        for f in after.findings
        if f.status is FindingStatus.ACTIVE and (f.rule, f.rank) not in known
    ]
    for finding in sorted(new, key=lambda f: -_weight(f)):
        warning = finding.severity is not Severity.INFO
        draft = draft.told(finding.rule.value, finding.evidence, warning=warning)
    return draft
