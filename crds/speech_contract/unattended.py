"""A status that nobody keeps up to date: what its readers make of it. Called by the command line and by local runs.

Who reads "Running, Healthy" of a job that nobody watches is deceived, so the reader says what it knows instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from speech_contract import codec
from speech_contract.findings import FindingStatus, Verdict
from speech_contract.progress import Rule, Severity
from speech_contract.reasons import AT_REST, State
from speech_contract.status import JobFinding, show_status

NOBODY: Final = "no speechtrain drives this job any more"  # how evidence begins, on one machine


def rests(document: Mapping[str, Any]) -> bool:
    """Whether nothing will change until somebody says so: such a status does not age."""
    return show_status(document.get("status")).state in AT_REST


def unattended(
    document: Mapping[str, Any], evidence: str, remedy: str, *, gone: bool = False
) -> dict[str, Any]:
    """The job as its reader should see it: health Unknown with a finding that says why.

    `gone`: nothing of it runs any more, so its state is not known either.
    """
    status = dict(document.get("status") or {})
    health = show_status(status).health
    finding = JobFinding(
        Rule.TELEMETRY_UNREACHABLE,
        FindingStatus.ACTIVE,
        Severity.WARNING,
        evidence=evidence,
        remedy=remedy,
    )
    others = tuple(f for f in health.findings if f.rule is not finding.rule)
    critical = health.verdict is Verdict.CRITICAL
    status["health"] = {
        "verdict": (Verdict.CRITICAL if critical else Verdict.UNKNOWN).value,
        "findings": [codec.to_document(f) for f in (finding, *others)],
    }
    if gone:
        status["state"] = State.UNKNOWN.value
    return {**document, "status": status}
