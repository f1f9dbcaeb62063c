"""The job is complete when rank 0 says done with exit code 0 and no critical finding is open.

A script that is asked to stop, by a drain, an eviction or a suspension, often ends with 0 too: that is no success. A
recipe of ours says 75 then, so that its 0 is always one.
"""

from __future__ import annotations

from speech_contract.findings import Finding, FindingStatus
from speech_contract.outcome import EXIT_DONE
from speech_contract.progress import Severity
from speech_contract.reasons import Reason
from speech_contract.status import Failure
from speech_contract.thresholds import HealthMode
from speech_operator import status as st
from speech_operator.plan import Draft
from speech_operator.snapshot import Observed, PodPhase, PodRecord


def success(seen: Observed, draft: Draft, now: float) -> Draft:
    """Complete the job, or fail one that ended well by its exit code alone."""
    master = seen.master
    if master is None or not _done(seen, master) or st.open_attempt(draft.status) is None:
        return draft
    finding = critical(seen, master)
    draft = draft.to(decided=True).requeued(0.0)  # the next pass cleans up
    if finding is not None:
        return _fail(draft, master, finding, now)
    told = master.outcome
    step = told.step if told else None
    message = "training is done" if step is None else f"training is done at step {step}"
    status = st.note_success(draft.status, step, told.resumed_from_step if told else None)
    status = st.end_attempt(status, Reason.TRAINING_SUCCEEDED, now)
    status = st.with_success(status, message, now)
    return draft.to(status=status).told(Reason.TRAINING_SUCCEEDED, message)


def succeeded(seen: Observed) -> bool:
    """Whether the job is done and may be called so."""
    master = seen.master
    return master is not None and _done(seen, master) and critical(seen, master) is None


def stopped_well(seen: Observed, pod: PodRecord) -> bool:
    """Whether it ended with 0 after it was asked to stop; where nobody can say which came first, it did."""
    if seen.spec.recipe.custom is None or not pod.deleting or not _ended_well(pod):
        return False
    return pod.asked_at is None or pod.finished_at is None or pod.finished_at >= pod.asked_at


def critical(seen: Observed, master: PodRecord) -> Finding | None:
    """The first critical finding that is still open; none counts where health does not act."""
    if seen.spec.health.mode is not HealthMode.ENFORCE or master.outcome is None:
        return None
    open_ones = (f for f in master.outcome.findings if f.status is FindingStatus.ACTIVE)
    return next((f for f in open_ones if f.severity is Severity.CRITICAL), None)


def _done(seen: Observed, master: PodRecord) -> bool:
    return _ended_well(master) and not stopped_well(seen, master)


def _ended_well(pod: PodRecord) -> bool:
    return pod.phase is PodPhase.SUCCEEDED and pod.exit_code in (None, EXIT_DONE)


def _fail(draft: Draft, master: PodRecord, finding: Finding, now: float) -> Draft:
    message = f"exit code 0, but {finding.rule.value} is open: {finding.evidence}"
    failure = Failure(
        reason=Reason.CRITICAL_FINDING.value,
        message=message,
        remedy=finding.remedy,
        pod=master.name,
        rank=finding.rank,
        node=master.node or None,
        exit_code=EXIT_DONE,
        log_tail=master.outcome.log_tail if master.outcome else None,
    )
    status = st.end_attempt(draft.status, Reason.CRITICAL_FINDING, now)
    status = st.with_failure(status, failure, now)
    return draft.to(status=status).told(Reason.CRITICAL_FINDING, message, warning=True)
