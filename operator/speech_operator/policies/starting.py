"""What keeps the pods of an attempt from starting, in the words of scheduler or kubelet: condition and Event.

How long is too long says the rule NotStarting, which `health` asks here (`late`). Scheduler and kubelet try again by
themselves, ever more slowly; nothing of a job is ended for it but by its deadline, which counts from when all pods have
room. Half of a gang is `release`'s matter. What the API server refuses to take at all, for quota or Pod Security,
`refusals` writes into the same condition.
"""

from __future__ import annotations

from typing import Final

from speech_contract.findings import Finding, FindingStatus
from speech_contract.phases import Phase
from speech_contract.progress import Rule, Severity
from speech_contract.reasons import ON_ITS_WAY, Condition, Reason
from speech_contract.status import JobStatus
from speech_operator import status as st
from speech_operator.ending import UNSCHEDULABLE
from speech_operator.plan import Draft
from speech_operator.snapshot import Observed, PodPhase, PodRecord
from speech_operator.timestamps import to_epoch

SOON_SECONDS: Final = 10.0  # a scheduler often finds no node at first and one a moment later
LOOK_SECONDS: Final = 60.0  # between two looks at pods that wait: not all words come by a watch
KUBELET_SECONDS: Final = 120.0  # its complaints seldom go by themselves
NO_NODE: Final = frozenset({UNSCHEDULABLE, "SchedulerError", "SchedulingGated"})
REMEDIES: Final = {
    UNSCHEDULABLE: "free or add what the scheduler misses, or ask for less: resourcesPerNode, accelerator, "
    "nodeSelector and tolerations of the job",
    Reason.POD_REFUSED.value: "the sentence says what to change; it is tried again each minute",
    Reason.GANG_RELEASED.value: "free or add room for all pods together, or let a queue admit the job "
    "(runPolicy.schedulingPolicy.gang: Kueue); they are asked for again by themselves",
    "ImagePullBackOff": "correct trainer.image, push it, or name a pull secret of this namespace in "
    "pod.imagePullSecrets",
    "InvalidImageName": "correct trainer.image, in a new job under another name",
    "CreateContainerConfigError": "create the Secret or ConfigMap that it names, or correct trainer.env",
    "FailedMount": "create the claim, Secret or ConfigMap that it names, or see to its storage",
}


def starting(seen: Observed, draft: Draft, now: float) -> Draft:
    """Say what a pod waits for as soon as somebody says it; take it back when it is over."""
    status = draft.status
    waits = st.open_attempt(status) is not None and not st.is_true(status, Condition.RUNNING)
    if not waits or not st.gang_was_whole(status):
        return draft
    pending = [pod for pod in seen.current_pods if _pending(pod)]
    if pending:
        draft = draft.requeued(min((_doubt(pod, now) or LOOK_SECONDS) for pod in pending))
    hindered = [pod for pod in pending if pod.hindrance and not _doubt(pod, now)]
    if hindered:
        return _hindered(draft, hindered, now)
    if st.has_reason(status, Condition.RUNNING, *ON_ITS_WAY):
        return draft
    return draft.to(status=st.with_whole_gang(status, seen.spec.num_nodes, now))


def _pending(pod: PodRecord) -> bool:
    return pod.phase is PodPhase.PENDING and not pod.deleting


def _doubt(pod: PodRecord, now: float) -> float:
    """Seconds until a complaint of the scheduler counts."""
    since = pod.unschedulable_since
    return 0.0 if since is None else max(0.0, since + SOON_SECONDS - now)


def _hindered(draft: Draft, pods: list[PodRecord], now: float) -> Draft:
    """What a kubelet says first: it has a pod, and others may wait for that very one."""
    first = min(pods, key=lambda pod: (pod.hindrance in NO_NODE, pod.node_rank))
    others = sum(pod.hindrance == first.hindrance for pod in pods) - 1
    more = f" (and {others} more)" if others else ""
    message = f"pod {first.name}{more} has not started: {first.words or first.hindrance}"
    told = st.has_hindrance(draft.status, first.hindrance)
    status = st.with_condition(
        draft.status, Condition.RUNNING, False, first.hindrance, message, now
    )
    draft = draft.to(status=status)
    return draft if told else draft.told(first.hindrance, message, warning=True)


def late(seen: Observed, now: float) -> tuple[Finding | None, float | None]:
    """The finding of an attempt that should have started by now; else the seconds until it should have."""
    status = seen.job.status
    startup, running = status.startup, st.condition(status, Condition.RUNNING)
    if st.open_attempt(status) is None or startup is None or running is None:
        return None, None
    limit = _limit(seen, startup.phase, running.reason)
    if limit is None or st.is_true(status, Condition.RUNNING):
        return None, None
    left = to_epoch(startup.since) + limit - now
    return (_finding(status, startup.phase, limit), None) if left <= 0 else (None, left)


def _limit(seen: Observed, phase: Phase, reason: str) -> float | None:
    """Seconds that this phase may take; None: another rule sees to it."""
    budget = seen.spec.health.not_starting
    if phase is Phase.SCHEDULING:
        return float(budget.scheduling_seconds)
    if phase is not Phase.PULLING:
        return None
    quiet = reason in {told.value for told in ON_ITS_WAY}
    pulling = float(budget.pulling_seconds)
    return pulling if quiet else min(pulling, KUBELET_SECONDS)


def _finding(status: JobStatus, phase: Phase, limit: float) -> Finding:
    """The evidence names the limit, not the age: a text that changes each pass would be written each pass."""
    running = st.condition(status, Condition.RUNNING)
    assert running is not None, "asked for above"
    rule = Rule.NOT_STARTING
    return Finding(
        rule=rule,
        status=FindingStatus.ACTIVE,
        severity=Severity.WARNING,
        evidence=f"{phase.value} for more than {limit:.0f} s: {running.reason}: {running.message}",
        remedy=REMEDIES.get(running.reason, rule.record.remedy),
    )
