"""A pod as the API server shows it → the small record that reconcile needs. Called by `informer` for every change.

Kubernetes names who took a pod in three places: `status.reason`, the condition DisruptionTarget, and the
container's own reason. The first two win: what a container dies of after an eviction is no news. There may be tens of
thousands of records: names that many of them have are kept once.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Mapping
from typing import Any, Final

from speech_contract import names
from speech_contract.outcome import decode
from speech_operator.child_kind import ChildRecord
from speech_operator.snapshot import PodPhase, PodRecord
from speech_operator.timestamps import to_epoch

Document = Mapping[str, Any]
DISRUPTION: Final = "DisruptionTarget"
ON_ITS_WAY: Final = frozenset({"", "ContainerCreating", "PodInitializing"})
SAME: Final = {"ErrImagePull": "ImagePullBackOff"}  # a kubelet says one after the other for hours
LONGEST_WORDS: Final = 600  # characters
# One pattern for all jobs: as many patterns as jobs are compiled over and over, since `re` keeps 512.
_WORKER: Final = re.compile(rf"(.+)-{names.REPLICA_WORKER}-(0|[1-9]\d*)")
_PHASES: Final = {phase.value: phase for phase in PodPhase if phase is not PodPhase.GONE}


def child_record(child: Document, job: str) -> ChildRecord:
    """The record of a child that either is there or is not."""
    metadata = child["metadata"]
    attempt = _whole((metadata.get("labels") or {}).get(names.LABEL_ATTEMPT))
    return ChildRecord(metadata["name"], metadata["uid"], owner_uid(child), attempt)


def record(pod: Document, job: str) -> PodRecord:
    """What reconcile needs to know."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    labels = metadata.get("labels") or {}
    ended = _terminated(status)
    told = str(ended.get("message") or "")
    outcome = decode(told) if told else None
    hindrance, words = _hindrance(status)
    return PodRecord(
        name=metadata["name"],
        uid=metadata["uid"],
        node_rank=node_rank(metadata["name"], job),
        attempt=_whole(labels.get(names.LABEL_ATTEMPT)),
        owner_uid=owner_uid(pod),
        phase=_phase(status, ended),
        ready=condition(status, "Ready").get("status") == "True",
        deleting="deletionTimestamp" in metadata,
        asked_at=_asked_at(metadata),
        gone_by=time_of(metadata.get("deletionTimestamp")),
        exit_code=ended.get("exitCode"),
        reason=_reason(status, ended),
        finished_at=time_of(ended.get("finishedAt")),
        outcome=outcome,
        message="" if outcome else told,
        node=sys.intern((pod.get("spec") or {}).get("nodeName") or ""),
        created_at=time_of(metadata.get("creationTimestamp")) or 0.0,
        unschedulable_since=_unschedulable_since(status),
        address=status.get("podIP") or "",
        hindrance=hindrance,
        words=words[:LONGEST_WORDS],
    )


def node_rank(pod_name: str, job: str) -> int:
    """The rank that a pod's name stands for; -1 for a name that is none of the job's."""
    if pod_name == names.pod_name(job, 0):
        return 0
    found = _WORKER.fullmatch(pod_name)
    return int(found[2]) + 1 if found and found[1] == job else -1


def owner_uid(child: Document) -> str:
    """The uid of the object that controls it; empty without one."""
    owners = child["metadata"].get("ownerReferences") or ()
    return sys.intern(next((str(owner["uid"]) for owner in owners if owner.get("controller")), ""))


def _terminated(status: Document) -> Document:
    """The end of the container that trains; of an init container when that one failed."""
    for container in status.get("containerStatuses") or ():
        if container.get("name") == names.CONTAINER:
            ended = (container.get("state") or {}).get("terminated")
            if ended:
                return dict(ended)
    for container in status.get("initContainerStatuses") or ():
        ended = (container.get("state") or {}).get("terminated") or {}
        if ended.get("exitCode"):
            return dict(ended)
    return {}


def _phase(status: Document, ended: Document) -> PodPhase:
    """The pod's phase; once the container that trains has ended, a side-car beside it does not count."""
    phase = _PHASES.get(status.get("phase", ""), PodPhase.PENDING)
    if status.get("phase") == "Unknown":  # the node does not answer: nothing has ended
        return PodPhase.RUNNING
    if phase is PodPhase.RUNNING and ended:
        return PodPhase.SUCCEEDED if ended.get("exitCode") == 0 else PodPhase.FAILED
    return phase


def _reason(status: Document, ended: Document) -> str:
    disruption = condition(status, DISRUPTION)
    taken = disruption.get("reason", "") if disruption.get("status") == "True" else ""
    return str(status.get("reason") or taken or ended.get("reason") or "")


def _asked_at(metadata: Document) -> float | None:
    """An API server writes down the end of the grace, and its length."""
    ends, grace = (
        time_of(metadata.get("deletionTimestamp")),
        metadata.get("deletionGracePeriodSeconds"),
    )
    return ends - grace if ends is not None and isinstance(grace, int) else None


def _unschedulable_since(status: Document) -> float | None:
    scheduled = condition(status, "PodScheduled")
    waits = scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
    return time_of(scheduled.get("lastTransitionTime")) if waits else None


def _hindrance(status: Document) -> tuple[str, str]:
    """What keeps a pod from starting: reason and sentence of the kubelet, else of the scheduler; empty: nothing."""
    if status.get("phase") not in (None, PodPhase.PENDING.value):
        return "", ""
    containers = (status.get(kind) or () for kind in ("initContainerStatuses", "containerStatuses"))
    for container in itertools.chain(*containers):
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason = str(waiting.get("reason") or "")
        if reason not in ON_ITS_WAY:
            return SAME.get(reason, reason), str(waiting.get("message") or "")
    scheduled = condition(status, "PodScheduled")
    if scheduled.get("status") == "False":
        return str(scheduled.get("reason") or ""), str(scheduled.get("message") or "")
    return "", ""


def condition(status: Document, kind: str) -> Document:
    """The condition of a status that has this type; empty without one."""
    found = (c for c in status.get("conditions") or () if c.get("type") == kind)
    return next(found, {})


def _whole(text: object) -> int:
    """A label that anybody may have written; 0 is no attempt."""
    return int(text) if isinstance(text, str) and text.isdecimal() else 0


def time_of(text: object) -> float | None:
    """Epoch seconds of an RFC 3339 text; None for anything else."""
    try:
        return to_epoch(text) if isinstance(text, str) else None
    except ValueError:
        return None
