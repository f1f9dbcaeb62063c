"""Nodes that no longer answer: when a pod is lost with its node, and what is said of one that may be. Pure.

Kubernetes waits 300 s (the pods' tolerations) before it takes pods off a node that its kubelet says nothing of. An
attempt ends earlier only when two witnesses agree: the node is not Ready, and nothing is heard of the pod by those who
should hear it. A kubelet that is restarted or upgraded beside a job that trains costs nothing but an Event.

`failure` asks which pods are lost, `stuck` what to do about their records; `node_watch` is a policy of its own.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Final

from speech_contract.phases import Phase
from speech_contract.reasons import ON_ITS_WAY, Condition, Reason
from speech_operator import status as st
from speech_operator.ending import NODE_LOST, TAKEN, Ending
from speech_operator.plan import Draft
from speech_operator.snapshot import NodeRecord, Observed, PodPhase, PodRecord
from speech_operator.timestamps import to_text

NOT_READY_SECONDS: Final = 30.0  # beyond the 50 s after which Kubernetes calls a silent node so
SILENT_SECONDS: Final = 30.0  # longer than a poll of `/progress` is left open


def lost_pods(seen: Observed, now: float) -> list[PodRecord]:
    """Pods of the current attempt that are lost, with the reason that the cluster has not given yet."""
    lost = [pod for pod in seen.current_pods if lost_in(seen, pod, now) == 0]
    return [p if p.reason in TAKEN else dataclasses.replace(p, reason=NODE_LOST) for p in lost]


def lost_in(seen: Observed, pod: PodRecord, now: float) -> float | None:
    """Seconds until the pod counts as lost; 0: it does; None: something speaks against it."""
    down, quiet = down_for(seen.nodes.get(pod.node), now), _quiet_for(seen, pod)
    if pod.ended or down is None or quiet is None:
        return None
    return max(0.0, NOT_READY_SECONDS - down, SILENT_SECONDS - quiet)


def down_for(node: NodeRecord | None, now: float) -> float | None:
    """Seconds since a node is not Ready; None: it is, or nothing is known of it."""
    if node is None:
        return None
    if node.gone:
        return math.inf
    return None if node.not_ready_since is None else max(0.0, now - node.not_ready_since)


def state_of(node: NodeRecord) -> str:
    """What is known of a node, in words that stay the same while it stays so."""
    if node.gone:
        return f"node {node.name} is gone from the cluster"
    if node.not_ready_since is None:
        return f"node {node.name} is {'cordoned' if node.cordoned else 'Ready'}"
    tainted = " and is tainted out-of-service" if node.out_of_service else ""
    return f"node {node.name} has been NotReady since {to_text(node.not_ready_since)}{tainted}"


def with_node(ending: Ending, seen: Observed) -> Ending:
    """The ending, with what is known of the node that an interruption came from."""
    node = seen.nodes.get(ending.node)
    if node is None or not ending.interrupted:
        return ending
    if ending.cause == NODE_LOST:
        message = f"{state_of(node)}; its pod {ending.pod} tells nothing"
    elif node.cordoned or down_for(node, 0.0) is not None:
        message = f"{ending.message}; {state_of(node)}"
    else:
        return ending
    return dataclasses.replace(ending, message=message)


def node_watch(seen: Observed, draft: Draft, now: float) -> Draft:
    """Name a node that is not Ready for a while under pods that are not lost; take it back when it is over."""
    status = draft.status
    if st.open_attempt(status) is None or not st.gang_was_whole(status):
        return draft
    progress = seen.current_progress
    if progress is not None and progress.running and not st.is_true(status, Condition.RUNNING):
        return draft  # this very pass says so, and its write is followed by another
    left = [(pod, _told_in(seen, pod, now)) for pod in seen.current_pods]
    waits = [seconds for _, seconds in left if seconds]
    draft = draft.requeued(min(waits)) if waits else draft
    down = [pod for pod, seconds in left if seconds == 0]
    if down:
        return _told(seen, draft, down[0], now)
    if not st.has_reason(status, Condition.RUNNING, Reason.NODE_NOT_READY):
        return draft
    if not st.is_true(status, Condition.RUNNING):
        return draft.to(status=st.with_whole_gang(status, seen.spec.num_nodes, now))
    trains = st.with_condition(
        status, Condition.RUNNING, True, Reason.TRAINING_STARTED,
        f"attempt {status.attempt} trains", now,
    )  # fmt: skip
    return draft.to(status=trains)


def _told_in(seen: Observed, pod: PodRecord, now: float) -> float | None:
    down = down_for(seen.nodes.get(pod.node), now)
    return None if pod.ended or down is None else max(0.0, NOT_READY_SECONDS - down)


def _told(seen: Observed, draft: Draft, pod: PodRecord, now: float) -> Draft:
    """Nothing that keeps a pod from starting is overwritten: it says more."""
    quiet = (*ON_ITS_WAY, Reason.TRAINING_STARTED, Reason.NODE_NOT_READY)
    if not st.has_reason(draft.status, Condition.RUNNING, *quiet):
        return draft
    trains = st.is_true(draft.status, Condition.RUNNING)
    message = f"{state_of(seen.nodes[pod.node])}; {_why_not(seen, pod)}"
    status = st.with_condition(
        draft.status, Condition.RUNNING, trains, Reason.NODE_NOT_READY, message, now
    )
    told = st.has_reason(seen.job.status, Condition.RUNNING, Reason.NODE_NOT_READY)
    draft = draft.to(status=status)
    return draft if told else draft.told(Reason.NODE_NOT_READY, message, warning=True)


def _why_not(seen: Observed, pod: PodRecord) -> str:
    if seen.spec.recipe.watched:
        return f"its pod {pod.name} is heard, or was a moment ago: attempt {pod.attempt} goes on"
    return (
        f"nobody can be asked whether its pod {pod.name} lives (custom.launcher: None), so it stays until its "
        "tolerations of node.kubernetes.io/unreachable and not-ready are over"
    )


def _quiet_for(seen: Observed, pod: PodRecord) -> float | None:
    """Seconds for which nothing was heard of a pod; None: its supervisor speaks, or it has none."""
    if not seen.spec.recipe.watched:
        return None
    if pod.phase is PodPhase.PENDING:
        return math.inf
    master, silence = seen.master, seen.silent_seconds
    if master is None or master.phase is not PodPhase.RUNNING:
        return math.inf  # and so nobody trains
    if silence is None:
        return 0.0  # we have only begun to listen
    if pod.node_rank == 0 or seen.current_progress is None or silence >= SILENT_SECONDS:
        return silence
    if seen.current_progress.phase is Phase.RENDEZVOUS:
        return math.inf  # it has not come yet
    heard = seen.current_progress.unheard.get(str(pod.node_rank))
    return None if heard is None else heard + silence
