"""Of a finished job: which pods go. `cleanPodPolicy` holds on every end."""

from __future__ import annotations

from speech_contract.api.spec import CleanPodPolicy
from speech_contract.reasons import Condition, Reason
from speech_operator import status as st
from speech_operator.children import CONFIG_MAP, POD
from speech_operator.plan import Delete, Draft
from speech_operator.snapshot import Observed, PodRecord

FAILURE_GRACE_SECONDS = 5  # peers of a failed rank are blocked in a collective and cannot save


def cleanup(seen: Observed, draft: Draft, now: float) -> Draft:
    """Delete what the policy names, and decide: nothing is started after the end."""
    if not st.finished(draft.status):
        return draft
    grace = _grace(seen, draft)
    pods = [pod for pod in seen.own_pods if not pod.deleting and _goes(pod, seen, draft)]
    deletes = [Delete(POD, pod.name, pod.uid, grace) for pod in pods]
    stale = [Delete(CONFIG_MAP, old.name, old.uid) for old in seen.stale_run_configs]
    return draft.to(decided=True).deleting(*deletes, *stale)


def _goes(pod: PodRecord, seen: Observed, draft: Draft) -> bool:
    policy = seen.spec.run_policy.clean_pod_policy
    if policy is CleanPodPolicy.ALL:
        return True
    # A deadline that let training go on would be none, whatever is to be kept for reading.
    overdue = st.has_reason(draft.status, Condition.FAILED, Reason.DEADLINE_EXCEEDED)
    return not pod.ended and (policy is CleanPodPolicy.RUNNING or overdue)


def _grace(seen: Observed, draft: Draft) -> int:
    """Time to save when the deadline passed; a failed gang has nothing worth waiting for."""
    if st.has_reason(draft.status, Condition.FAILED, Reason.DEADLINE_EXCEEDED):
        return seen.spec.run_policy.termination_grace_period_seconds
    return FAILURE_GRACE_SECONDS
