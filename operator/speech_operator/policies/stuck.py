"""Pods that should have been gone by now: their node does not answer. Says so; nothing new starts beside them.

Such a pod may still write to the checkpoint volume. It is deleted by force only once nobody can doubt that it runs no
more: its Node object is gone, or a person tainted it out-of-service
(https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/#non-graceful-node-shutdown, KEP-2268).
Kubernetes' own pod garbage collector then does the same, within 20 s of the taint, but 40 to 80 s after a Node went:
it waits lest a node that has only just come is missing from its own watch. Here the pod was asked to stop, its grace is
over, and the API server itself was asked for the node (`cluster.nodes`), so a gang need not stand still for that long.
"""

from __future__ import annotations

from typing import Final

from speech_contract.reasons import Condition, Reason
from speech_operator import status as st
from speech_operator.children import POD
from speech_operator.plan import Delete, Draft
from speech_operator.policies.node_loss import NOT_READY_SECONDS, down_for, state_of
from speech_operator.snapshot import Observed, PodRecord

OVERDUE_SECONDS: Final = 60.0  # beyond its grace: a kubelet under load is late, too


def overdue_in(pod: PodRecord, now: float) -> float | None:
    """Seconds until a pod under deletion should have been gone for a minute; None: nobody waits for it."""
    if not pod.deleting or pod.gone_by is None:
        return None
    return pod.gone_by + OVERDUE_SECONDS - now


def stuck(seen: Observed, draft: Draft, now: float) -> Draft:
    """Name pod and node in the condition Running, with one Event; delete by force what is off for certain."""
    status = draft.status
    if st.finished(status) or st.is_true(status, Condition.RUNNING) or st.gang_is_released(status):
        return draft
    left = [(pod, _due_in(seen, pod, now)) for pod in seen.own_pods]
    waits = [seconds for _, seconds in left if seconds is not None and seconds > 0]
    draft = draft.requeued(min(waits)) if waits else draft
    overdue = [pod for pod, seconds in left if seconds is not None and seconds <= 0]
    off = [pod for pod in overdue if _is_off(seen, pod)]
    if off:
        return _abandoned(seen, draft, off, now)
    return _told(seen, draft, overdue, now) if overdue else draft


def _due_in(seen: Observed, pod: PodRecord, now: float) -> float | None:
    """As `overdue_in`; a node that is known to be down is not waited for beyond the grace."""
    due = overdue_in(pod, now)
    down = down_for(seen.nodes.get(pod.node), now)
    known = down is not None and down >= NOT_READY_SECONDS
    return due - OVERDUE_SECONDS if due is not None and known else due


def _is_off(seen: Observed, pod: PodRecord) -> bool:
    node = seen.nodes.get(pod.node)
    return node is not None and node.off


def _abandoned(seen: Observed, draft: Draft, pods: list[PodRecord], now: float) -> Draft:
    """Exactly these, by uid; when the last pod is gone, the next attempt opens."""
    first, more = _first(pods)
    message = f"{state_of(seen.nodes[first.node])}: its pod {first.name}{more} is deleted by force"
    draft = draft.deleting(*(Delete(POD, pod.name, pod.uid, 0) for pod in pods))
    return _said(draft, Reason.POD_ABANDONED, message, now)


def _told(seen: Observed, draft: Draft, pods: list[PodRecord], now: float) -> Draft:
    first, more = _first(pods)
    message = f"pod {first.name}{more} was to be gone {_since(first, now)}; {_answer(seen, first)}"
    return _said(draft, Reason.POD_STUCK, message, now)


def _since(pod: PodRecord, now: float) -> str:
    overdue = overdue_in(pod, now)
    return "more than a minute ago" if overdue is None or overdue <= 0 else "by now"


def _answer(seen: Observed, pod: PodRecord) -> str:
    """What is known of its node, and what to do."""
    node = seen.nodes.get(pod.node)
    if node is not None and node.not_ready_since is None:
        return (
            f"{state_of(node)}. Nothing starts beside it. Its kubelet is at it, or a finalizer keeps it: see "
            f"kubectl describe pod {pod.name}"
        )
    name = pod.node or "unknown"
    known = f"node {name} does not answer" if node is None else state_of(node)
    return (
        f"{known}. Nothing starts beside it. When the machine is off: kubectl delete node {name}, or taint it "
        "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"
    )


def _first(pods: list[PodRecord]) -> tuple[PodRecord, str]:
    first = min(pods, key=lambda pod: pod.node_rank)
    return first, f" (and {len(pods) - 1} more)" if len(pods) > 1 else ""


def _said(draft: Draft, reason: Reason, message: str, now: float) -> Draft:
    told = st.has_reason(draft.status, Condition.RUNNING, reason)
    status = st.with_condition(draft.status, Condition.RUNNING, False, reason, message, now)
    draft = draft.to(status=status)
    return draft if told else draft.told(reason, message, warning=True)
