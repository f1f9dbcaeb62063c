"""Any failed pod ends the attempt. Here its cause is found; what follows is the `restart` policy's matter.

A pod that is missing although the whole gang was once seen was taken away: an interruption. So was one under deletion
whose node does not answer, and which therefore never ends; and one that is lost with its node (`node_loss`).
"""

from __future__ import annotations

from speech_contract import names
from speech_operator import status as st
from speech_operator.ending import ending_of, gone_pod, with_master_facts, with_place
from speech_operator.plan import Draft
from speech_operator.policies.node_loss import lost_in, lost_pods, with_node
from speech_operator.policies.stuck import overdue_in
from speech_operator.policies.success import stopped_well
from speech_operator.snapshot import Observed, PodPhase, PodRecord

SETTLE_SECONDS = (
    10.0  # for the master to hear of a worker's end and say so; then the worker's word counts
)


def failure(seen: Observed, draft: Draft, now: float) -> Draft:
    """Name the cause of the open attempt's end, once the master has spoken or was given the time to."""
    if st.open_attempt(draft.status) is None or st.gang_is_released(draft.status):
        return draft  # what ends while it is given back has failed at nothing
    ended = [pod for pod in seen.current_pods if pod.phase is PodPhase.FAILED]
    ended += [pod for pod in (seen.master,) if pod is not None and stopped_well(seen, pod)]
    ended += missing_pods(seen, draft)
    lost = lost_pods(seen, now)
    names_lost = {pod.name for pod in lost}
    going = [pod for pod in seen.current_pods if pod.deleting and not pod.ended]
    if not ended and not lost:
        waits = [*(overdue_in(pod, now) for pod in going), *_losses(seen, now)]
        left = min((seconds for seconds in waits if seconds is not None), default=None)
        if left is None or left > 0:
            return draft if left is None else draft.requeued(left)
    # Whatever the others die of, it is for want of these.
    ended += [*lost, *(pod for pod in going if pod.name not in names_lost)]
    waiting = _wait_for_master(ended, seen, now)
    if waiting > 0:
        return draft.requeued(waiting)
    ending = with_master_facts(ending_of(ended), seen.master)
    if seen.run_config is not None:
        ending = with_place(ending, seen.current_pods, seen.run_config.ranks_per_node)
    ending = with_node(ending, seen)
    return draft.to(status=st.note_attempt(draft.status, ending), ending=ending)


def _losses(seen: Observed, now: float) -> list[float | None]:
    return [lost_in(seen, pod, now) for pod in seen.current_pods]


def missing_pods(seen: Observed, draft: Draft) -> list[PodRecord]:
    """Records of the pods that vanished without a terminal state."""
    if not st.gang_was_whole(draft.status):
        return []
    there = {pod.node_rank for pod in seen.current_pods}
    job, attempt = seen.job, draft.status.attempt
    return [
        gone_pod(names.pod_name(job.name, rank), rank, attempt, job.uid)
        for rank in range(seen.spec.num_nodes)
        if rank not in there
    ]


def _wait_for_master(ended: list[PodRecord], seen: Observed, now: float) -> float:
    """Seconds to wait yet; 0 when the master has ended too, or nobody can say since when to wait."""
    master = seen.master
    if master is None or master.ended:
        return 0.0
    times = [pod.finished_at for pod in ended if pod.finished_at is not None]
    return max(0.0, min(times) + SETTLE_SECONDS - now) if times else 0.0
