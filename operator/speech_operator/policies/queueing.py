"""`schedulingPolicy.gang: Kueue`: no pod without quota. The job owns one Workload; its admission is the right to pods.

Kueue admits, evicts and preempts; what its own job controllers do with that is done here: pods come with the
admission and stop with time to save when it is taken away; the quota is given back once they are gone, and when
the job has ended. It is kept over restarts of the gang. Queued time does not count for the deadline.
"""

from __future__ import annotations

import dataclasses
from typing import Final

from speech_contract.reasons import Condition, Reason
from speech_contract.status import JobStatus
from speech_operator import status as st
from speech_operator.children import POD, WORKLOAD
from speech_operator.plan import Create, Delete, Draft, Fact, Mark
from speech_operator.policies.suspend import what_the_pods_said
from speech_operator.resources.workload import build_workload, digest_of
from speech_operator.snapshot import Observed, PodPhase, WorkloadRecord
from speech_operator.workloads import (
    NoSuchClass,
    leave_queue,
    missing_flavors,
    name_is_taken,
    own_workload,
    queue_of,
    queued,
)

LOOK_SECONDS: Final = 30.0  # at what may come without a word to us: a label, a priority class
# Evictions after which Kueue may admit at once; after others it waits for a time or for a person.
AT_ONCE: Final = frozenset({"Preempted", "NodeFailures"})


def queue_end(seen: Observed, draft: Draft, now: float) -> Draft:
    """Give the quota of a finished job back, once none of its pods runs."""
    if not st.finished(draft.status) or not queued(seen):
        return draft
    workload = own_workload(seen)
    if workload is None or workload.finished or workload.deleting:
        return draft
    if any(not pod.ended for pod in seen.own_pods):
        return draft
    reason = "Succeeded" if st.is_true(draft.status, Condition.COMPLETE) else "Failed"
    facts = (
        Fact("Finished", True, reason, draft.status.message or reason),
        Fact("QuotaReserved", False, "Finished", "the job has ended"),
        Fact("Admitted", False, "Finished", "the job has ended"),
    )
    return draft.marking(Mark(WORKLOAD, workload, facts, without=("admission",)))


def queueing(seen: Observed, draft: Draft, now: float) -> Draft:
    """Wait for the admission, take it, or give it back."""
    if not queued(seen):
        return _unqueued(seen, draft, now)
    workload = own_workload(seen)
    if workload is not None and workload.holds:
        return _admitted(seen, draft, workload, now)
    if seen.own_pods:
        return _stop(seen, draft, workload, now)
    return _wait(seen, draft, workload, now)


def _unqueued(seen: Observed, draft: Draft, now: float) -> Draft:
    """Of a job whose spec asked for a queue before it was accepted, and no longer does."""
    if st.is_true(draft.status, Condition.QUEUED):
        message = "no queue has to admit it"
        status = st.with_condition(
            draft.status, Condition.QUEUED, False, Reason.ADMITTED, message, now
        )
        draft = draft.to(status=status)
    return leave_queue(seen, draft)


# ------------------------------------------------------------------ admitted


def _admitted(seen: Observed, draft: Draft, workload: WorkloadRecord, now: float) -> Draft:
    missing = missing_flavors(seen, workload)
    whole = st.open_attempt(draft.status) is not None and st.gang_was_whole(draft.status)
    if missing and not whole:
        message = f"admitted, but ResourceFlavor {', '.join(missing)} is not there: on which nodes may pods run?"
        status = st.with_condition(
            draft.status, Condition.QUEUED, True, Reason.FLAVOR_MISSING, message, now
        )
        return draft.to(status=status, decided=True).requeued(LOOK_SECONDS)
    return _ready(seen, _taken(draft, workload, now), workload)


def _taken(draft: Draft, workload: WorkloadRecord, now: float) -> Draft:
    status, waited = draft.status, st.condition(draft.status, Condition.QUEUED)
    if st.has_reason(status, Condition.QUEUED, Reason.ADMITTED):
        return draft
    if waited is not None and st.is_true(status, Condition.QUEUED):
        status = st.moved_on(status, waited.last_transition_time, now)
    message = f"admitted by ClusterQueue {workload.cluster_queue}"
    status = st.with_condition(status, Condition.QUEUED, False, Reason.ADMITTED, message, now)
    return draft.to(status=status).told(Reason.ADMITTED, message)


def _ready(seen: Observed, draft: Draft, workload: WorkloadRecord) -> Draft:
    """Where Kueue waits for ready pods (waitForPodsReady) it evicts those of which nobody says that they are."""
    ready = [p for p in seen.current_pods if p.ready or p.phase is PodPhase.SUCCEEDED]
    if workload.pods_ready or len(ready) < seen.spec.num_nodes:
        return draft
    fact = Fact("PodsReady", True, "Started", "all pods are ready")
    return draft.marking(Mark(WORKLOAD, workload, (fact,)))


# ------------------------------------------------------------------ not admitted, pods are there


def _stop(seen: Observed, draft: Draft, workload: WorkloadRecord | None, now: float) -> Draft:
    """As `suspend`: they save, with all of their grace."""
    status = what_the_pods_said(seen, draft.status)
    if not st.has_reason(status, Condition.QUEUED, Reason.EVICTED):
        message = f"the place in the queue is lost: {_why(workload)}; the pods save and stop"
        status = st.with_condition(status, Condition.QUEUED, False, Reason.EVICTED, message, now)
        draft = draft.told(Reason.EVICTED, message, warning=True)
    grace = seen.spec.run_policy.termination_grace_period_seconds
    deletes = [Delete(POD, p.name, p.uid, grace) for p in seen.own_pods if not p.deleting]
    return draft.to(status=status, status_first=True, decided=True).deleting(*deletes)


def _why(workload: WorkloadRecord | None) -> str:
    if workload is None or workload.deleting:
        return "its Workload was deleted"
    if workload.evicted:
        return f"{workload.evicted}: {workload.words}"
    return workload.words or "its Workload is not admitted"


# ------------------------------------------------------------------ not admitted, no pods


def _wait(seen: Observed, draft: Draft, workload: WorkloadRecord | None, now: float) -> Draft:
    draft = draft.to(status=_without_pods(draft.status, now), decided=True)
    if not seen.platform.kueue:
        message = "this operator does not look at queues; set the chart's value kueue.enabled: true"
        return _waits(draft, Reason.QUEUE_MISSING, message, now)
    queue = queue_of(seen)
    if not queue:
        message = (
            "no queue is named; set runPolicy.schedulingPolicy.queue or the job's label kueue.x-k8s.io/queue-name "
            "to a LocalQueue of this namespace"
        )
        return leave_queue(seen, _waits(draft, Reason.QUEUE_MISSING, message, now))
    if name_is_taken(seen):
        message = "its Workload's name belongs to somebody else, or to a job of the same name that is being deleted"
        return _waits(draft, Reason.NAME_TAKEN, message, now).requeued(LOOK_SECONDS)
    try:
        manifest = build_workload(seen, draft.status)
    except NoSuchClass as error:
        return _waits(draft, Reason.QUEUE_MISSING, str(error), now).requeued(LOOK_SECONDS)
    if workload is None:
        # What the API server said of the last try counts until it takes one.
        if not st.has_reason(draft.status, Condition.QUEUED, Reason.QUEUE_REFUSED):
            draft = _waits(draft, Reason.QUEUED, f"asks for a place in queue {queue}", now)
        return draft.to(creates=(*draft.creates, Create(WORKLOAD, lambda: manifest)))
    message = workload.words or f"in queue {queue}; Kueue has not said anything yet"
    return _with_place(
        seen, _waits(draft, Reason.QUEUED, message, now), workload, digest_of(manifest)
    )


def _waits(draft: Draft, reason: Reason, message: str, now: float) -> Draft:
    """Told as an Event when the reason is another one; Kueue's sentence changes with every other job."""
    status = draft.status
    told = st.has_reason(status, Condition.QUEUED, reason)
    status = st.with_condition(status, Condition.QUEUED, True, reason, message, now)
    draft = draft.to(status=status)
    return draft if told else draft.told(reason, message, warning=reason is not Reason.QUEUED)


def _without_pods(status: JobStatus, now: float) -> JobStatus:
    """An attempt whose pods were stopped has ended; it costs no restart."""
    if st.open_attempt(status) is None:
        return status
    status = st.end_attempt(status, Reason.EVICTED, now)
    message = "stopped and saved; it goes on when the queue admits it again"
    for kind in (Condition.RUNNING, Condition.RESTARTING):
        status = st.with_condition(status, kind, False, Reason.EVICTED, message, now)
    return dataclasses.replace(status, startup=None)


def _with_place(seen: Observed, draft: Draft, workload: WorkloadRecord, wanted: str) -> Draft:
    """Give back what an evicted job holds; ask anew when what is asked for has changed."""
    if workload.deleting:
        return draft
    if workload.evicted and workload.reserved:
        return draft.marking(_given_back(workload))
    if workload.finished or (not workload.reserved and _outdated(seen, workload, wanted)):
        return leave_queue(seen, draft)
    return draft


def _outdated(seen: Observed, workload: WorkloadRecord, wanted: str) -> bool:
    """Before the first attempt the whole spec may change, later the queue's label alone."""
    return workload.queue != queue_of(seen) or (seen.accepted is None and workload.digest != wanted)


def _given_back(workload: WorkloadRecord) -> Mark:
    """The facts that Kueue's own job controllers state once the pods of an evicted job are gone."""
    reason, words = workload.evicted, workload.words
    facts = (
        Fact("Requeued", reason in AT_ONCE, reason, words),
        Fact("QuotaReserved", False, "Pending", words),
        Fact("Admitted", False, "NoReservation", "the pods are gone"),
        Fact("PodsReady", False, "WaitForStart", "the pods are gone"),
    )
    return Mark(WORKLOAD, workload, facts, without=("admission",))
