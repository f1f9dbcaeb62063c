"""Why an attempt ended: one cause out of what all its pods say. Called by the `failure` policy. Pure.

Order: what the master's outcome names, since workers report a rank's death before they
exit; else the failed pod with a code other than 1; else the earliest. A pod that the cluster took away is
an interruption, and so is whatever its peers died of for want of it, unless a health rule had spoken.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

from speech_contract.causes import known
from speech_contract.outcome import (
    EXIT_ERROR,
    EXIT_INTERRUPTED,
    EXIT_KILLED,
    EXIT_RANK_DISAGREES,
    Cause,
    Next,
    Outcome,
    fingerprint,
    meaning_of,
)
from speech_contract.progress import Rule
from speech_contract.reasons import Reason
from speech_contract.values import Value, frozen
from speech_operator.snapshot import PodPhase, PodRecord

OOM_KILLED: Final = "OOMKilled"
POD_GONE: Final = "PodGone"
NODE_LOST: Final = "NodeLost"
DRAINED: Final = "Drained"
UNSCHEDULABLE: Final = "Unschedulable"
# Reasons by which Kubernetes says that it took the pod, not that the pod failed.
TAKEN: Final = frozenset(
    {
        "Evicted",
        "Preempted",
        "Preempting",
        NODE_LOST,
        "NodeShutdown",
        "NodeAffinity",
        "Shutdown",
        "Terminated",
        "PreemptionByScheduler",
        "DeletionByTaintManager",
        "DeletionByPodGC",
        "EvictionByEvictionAPI",
        "TerminationByKubelet",
        DRAINED,
        POD_GONE,
    }
)
OOM_REMEDY: Final = (
    "raise trainer.resourcesPerNode.limits.memory, or use fewer data workers or a smaller batch"
)


@frozen
class Ending(Value):
    """The cause of an attempt, with everything status says of it."""

    cause: str  # outcome.Cause, or the cluster's reason for an interruption
    message: str
    next: Next
    counted: bool
    remedy: str = ""
    fingerprint: str = ""
    pod: str = ""
    node: str = ""
    rank: int | None = None
    exit_code: int | None = None
    step: int | None = None
    resumed_from_step: int | None = None
    last_confirmed_step: int | None = None
    first_bad_step: int | None = None  # of a rule that the trainer itself does not know of
    non_finite_step: int | None = None  # the first, where rule NonFinite ended it
    log_tail: str = ""

    @property
    def interrupted(self) -> bool:
        """Whether nobody is to blame: free of any budget."""
        return self.next is Next.RESUME

    @property
    def reason(self) -> Reason:
        """The reason of the attempt's record in status."""
        return Reason.ATTEMPT_INTERRUPTED if self.interrupted else Reason.ATTEMPT_FAILED


def gone_pod(name: str, node_rank: int, attempt: int, owner_uid: str) -> PodRecord:
    """The record of a pod that vanished without a terminal state."""
    phase = PodPhase.GONE
    return PodRecord(name, "", node_rank, attempt, owner_uid, phase=phase, reason=POD_GONE)


def ending_of(ended: Sequence[PodRecord]) -> Ending:
    """The one cause of an attempt whose pods in `ended` failed or are gone (at least one)."""
    master = next((pod for pod in ended if pod.node_rank == 0), None)
    taken = next((pod for pod in ended if _taken(pod)), None)
    if taken is not None and not _judged(master):
        return _interruption(taken, master)
    culprit = _culprit(ended, master)
    return _interruption(culprit, master) if _taken(culprit) else _fault(culprit)


def _taken(pod: PodRecord) -> bool:
    """Whether the cluster or a person took the pod away: it was deleted while its attempt went on."""
    return pod.reason in TAKEN or (pod.deleting and not _judged(pod))


def _judged(pod: PodRecord | None) -> bool:
    """Whether the pod's outcome names a health rule; a stall is what peers of a lost pod see."""
    rule = pod.outcome.rule if pod and pod.outcome else ""
    return rule not in ("", Rule.STALLED.value)


def _culprit(ended: Sequence[PodRecord], master: PodRecord | None) -> PodRecord:
    if master is not None and master.outcome is not None and master.outcome.exit_code is not None:
        return master
    telling = [pod for pod in ended if _code(pod) != EXIT_ERROR]
    return min(telling or ended, key=lambda pod: (pod.finished_at or 0.0, pod.node_rank))


def _code(pod: PodRecord) -> int:
    """The exit code; a pod that says none was killed before it could."""
    if pod.exit_code is not None:
        return pod.exit_code
    told = pod.outcome.exit_code if pod.outcome else None
    return EXIT_KILLED if told is None else told


def _interruption(pod: PodRecord, master: PodRecord | None) -> Ending:
    cause = pod.reason if pod.reason in TAKEN else DRAINED
    message = f"pod {pod.name} was taken away ({cause})"
    teller = master if master is not None and master.outcome is not None else pod
    ending = Ending(cause, message, Next.RESUME, False, pod=pod.name, node=pod.node)
    return _with_facts(ending, teller, pod.exit_code)


def _fault(pod: PodRecord) -> Ending:
    code = _code(pod)
    meaning = meaning_of(code)
    rule = pod.outcome.rule if pod.outcome else ""
    cause, remedy = meaning.cause.value, meaning.remedy
    if code == EXIT_KILLED and pod.reason == OOM_KILLED:
        cause, remedy, rule = Cause.OUT_OF_MEMORY.value, OOM_REMEDY, Cause.OUT_OF_MEMORY.value
    told = known(_first_line(pod)) if code == EXIT_ERROR else None
    ending = Ending(
        cause=cause,
        message=_message(pod, meaning.meaning),
        next=meaning.next,
        counted=meaning.counted and code != EXIT_INTERRUPTED,
        remedy=remedy if told is None else f"{told.name}: {told.remedy}",
        fingerprint=fingerprint(code, rule, _first_line(pod)),
        pod=pod.name,
        node=pod.node,
    )
    return _with_facts(ending, pod, code)


def _with_facts(ending: Ending, pod: PodRecord, code: int | None) -> Ending:
    outcome = pod.outcome
    if outcome is None:
        return dataclasses.replace(ending, exit_code=code, log_tail=pod.message)
    return dataclasses.replace(
        ending,
        exit_code=code,
        rank=outcome.rank,
        step=outcome.step,
        resumed_from_step=outcome.resumed_from_step,
        last_confirmed_step=outcome.last_confirmed_step,
        first_bad_step=_first_bad_step(outcome),
        non_finite_step=_non_finite_step(outcome),
        log_tail=outcome.log_tail,
    )


def _first_bad_step(outcome: Outcome) -> int | None:
    """Where the fault began that the supervisor ended the attempt for; of NonFinite the trainer's marks tell."""
    if outcome.rule in ("", Rule.NON_FINITE.value):
        return None
    return next((f.step for f in outcome.findings if f.rule.value == outcome.rule), None)


def _non_finite_step(outcome: Outcome) -> int | None:
    bad = outcome.first_bad if outcome.rule == Rule.NON_FINITE.value else None
    return bad.step if bad else None


def with_master_facts(ending: Ending, master: PodRecord | None) -> Ending:
    """What a worker does not know of the attempt; the master's record holds it also while it runs."""
    told = master.outcome if master is not None else None
    if told is None:
        return ending
    missing = {
        name: getattr(told, name)
        for name in ("step", "resumed_from_step", "last_confirmed_step")
        if getattr(ending, name) is None
    }
    return dataclasses.replace(ending, **missing)


def with_place(ending: Ending, pods: Sequence[PodRecord], ranks_per_node: int) -> Ending:
    """Pod and node of the rank that the cause names: the master tells of ranks that run elsewhere.

    Ranks that disagree without a suspect accuse no node, least of all the master's, which told of it.
    """
    if ending.interrupted:
        return ending
    if ending.rank is None:
        nobody = ending.exit_code == EXIT_RANK_DISAGREES
        return dataclasses.replace(ending, node="") if nobody else ending
    place = next((p for p in pods if p.node_rank == ending.rank // ranks_per_node), None)
    return dataclasses.replace(ending, pod=place.name, node=place.node) if place else ending


def _first_line(pod: PodRecord) -> str:
    """The first error line; the output of a pod without an outcome is no stable cause."""
    lines = pod.outcome.message.strip().splitlines() if pod.outcome else []
    return lines[0] if lines else ""


def _message(pod: PodRecord, meaning: str) -> str:
    """One sentence: where, what, and the first bad step with its component and module, when the outcome knows."""
    outcome = pod.outcome
    told = _first_line(pod) or meaning
    bad = outcome.first_bad if outcome and outcome.rule == Rule.NON_FINITE.value else None
    named = [
        f"{name} {value}"
        for name, value in (
            ("step", outcome.step if outcome else None),
            ("first bad step", bad.step if bad else None),
            ("component", bad.component if bad else ""),
            ("module", bad.module if bad else ""),
        )
        if value not in (None, "")
    ]
    where = f" ({', '.join(named)})" if named else ""
    return f"{told}{where}"
