"""`runPolicy.suspend`: save first, free the devices, wait; resume from that checkpoint.

Stopping takes two steps that status tells apart: Suspending (pods have their grace to save) and Suspended
(all are gone). Suspended time does not count for the deadline: `startTime` moves forward by it.
"""

from __future__ import annotations

import dataclasses

from speech_contract.reasons import Condition, Reason
from speech_contract.status import JobStatus
from speech_operator import status as st
from speech_operator.children import POD
from speech_operator.ending import ending_of
from speech_operator.plan import Delete, Draft
from speech_operator.policies.success import succeeded
from speech_operator.snapshot import Observed, PodPhase
from speech_operator.workloads import leave_queue


def suspend(seen: Observed, draft: Draft, now: float) -> Draft:
    """Stop, stay stopped, or take up again."""
    if not seen.spec.run_policy.suspend:
        return _resume(draft, now)
    if succeeded(seen):
        return draft  # it was done before it could be stopped
    if seen.own_pods:
        return _stop(seen, draft, now)
    return leave_queue(seen, _stopped(draft, now))


def _resume(draft: Draft, now: float) -> Draft:
    suspended = st.is_true(draft.status, Condition.SUSPENDED)
    if not suspended and not st.has_reason(draft.status, Condition.SUSPENDED, Reason.SUSPENDING):
        return draft
    since = st.condition(draft.status, Condition.SUSPENDED)
    assert since is not None, "asked for above"
    status = draft.status
    if suspended:
        status = st.moved_on(status, since.last_transition_time, now)
    message = "resumed; training goes on from its last checkpoint"
    status = st.with_condition(status, Condition.SUSPENDED, False, Reason.RESUMED, message, now)
    return draft.to(status=status, status_first=True).told(Reason.RESUMED, message)


def _stop(seen: Observed, draft: Draft, now: float) -> Draft:
    status = what_the_pods_said(seen, draft.status)
    if not st.has_reason(status, Condition.SUSPENDED, Reason.SUSPENDING):
        message = "the pods save and stop"
        status = st.with_condition(
            status, Condition.SUSPENDED, False, Reason.SUSPENDING, message, now
        )
        draft = draft.told(Reason.SUSPENDING, message)
    grace = seen.spec.run_policy.termination_grace_period_seconds
    deletes = [Delete(POD, p.name, p.uid, grace) for p in seen.own_pods if not p.deleting]
    return draft.to(status=status, status_first=True, decided=True).deleting(*deletes)


def what_the_pods_said(seen: Observed, status: JobStatus) -> JobStatus:
    """Keep exit code and step of the attempt: they decide which checkpoint the next one takes."""
    ended = [pod for pod in seen.current_pods if pod.phase is PodPhase.FAILED]
    if not ended or st.open_attempt(status) is None:
        return status
    return st.note_attempt(status, ending_of(ended))


def _stopped(draft: Draft, now: float) -> Draft:
    if st.is_true(draft.status, Condition.SUSPENDED):
        return draft.to(decided=True)
    message = "saved and freed; set runPolicy.suspend: false to go on"
    if not draft.status.attempt:
        message = "suspended before it began; set runPolicy.suspend: false to start it"
    status = st.end_attempt(draft.status, Reason.SUSPENDED, now)
    status = st.with_condition(status, Condition.SUSPENDED, True, Reason.SUSPENDED, message, now)
    kinds = [Condition.RUNNING, Condition.RESTARTING]
    kinds += [Condition.QUEUED] if st.condition(status, Condition.QUEUED) else []
    for kind in kinds:
        status = st.with_condition(status, kind, False, Reason.SUSPENDED, message, now)
    status = dataclasses.replace(status, startup=None)
    return draft.to(status=status, decided=True).told(Reason.SUSPENDED, message)
