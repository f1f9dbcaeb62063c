"""What policies ask about the place of a job in Kueue's queue. Called by `queueing`, `suspend` and `resources`. Pure.

The Workload has no finalizer of ours: a deleted job leaves nothing behind that only a living operator could remove.
"""

from __future__ import annotations

from speech_contract import names
from speech_contract.api.spec import Gang
from speech_operator.children import FLAVOR, PRIORITY, QUEUE_PRIORITY, WORKLOAD
from speech_operator.plan import Delete, Draft
from speech_operator.snapshot import Observed, PriorityRecord, WorkloadRecord


def queued(seen: Observed) -> bool:
    """Whether a queue has to admit the job. One machine has none."""
    asked = seen.spec.run_policy.scheduling_policy.gang is Gang.KUEUE
    return asked and not seen.platform.local


def queue_of(seen: Observed) -> str:
    """The LocalQueue: the spec's, else the label's; empty: nobody named one."""
    return seen.spec.run_policy.scheduling_policy.queue or seen.job.queue


def own_workload(seen: Observed) -> WorkloadRecord | None:
    """The job's own."""
    name, uid = names.workload_name(seen.job.name), seen.job.uid
    found = (w for w in seen.of(WORKLOAD) if w.name == name and w.owner_uid == uid)
    return next(found, None)


def name_is_taken(seen: Observed) -> bool:
    """Whether a Workload with our name is somebody else's, or of a namesake that is being deleted."""
    name = names.workload_name(seen.job.name)
    return any(w.name == name and w.owner_uid != seen.job.uid for w in seen.of(WORKLOAD))


def leave_queue(seen: Observed, draft: Draft) -> Draft:
    """Give the place up, and all quota with it."""
    workload = own_workload(seen)
    if workload is None or workload.deleting:
        return draft
    return draft.deleting(Delete(WORKLOAD, workload.name, workload.uid))


def missing_flavors(seen: Observed, workload: WorkloadRecord) -> list[str]:
    """Flavors of the admission that are not there: pods without their node labels would land anywhere."""
    there = {flavor.name for flavor in seen.of(FLAVOR)}
    wanted = {name for given in workload.assignments.values() for name in given.flavors}
    return sorted(wanted - there)


class NoSuchClass(LookupError):
    """A priority class that the job names and that is not there."""


def priority_of(seen: Observed) -> tuple[dict[str, str] | None, int]:
    """Reference and value for the Workload. Raises NoSuchClass."""
    named = seen.job.queue_priority
    if named:
        value = _class(seen.of(QUEUE_PRIORITY), named, "WorkloadPriorityClass").value
        return _reference(names.KUEUE_GROUP, "WorkloadPriorityClass", named), value
    named = seen.spec.pod.priority_class_name
    if named:
        value = _class(seen.of(PRIORITY), named, "PriorityClass").value
        return _reference("scheduling.k8s.io", "PriorityClass", named), value
    default = next((one for one in seen.of(PRIORITY) if one.default), None)
    if default is None:
        return None, 0
    return _reference("scheduling.k8s.io", "PriorityClass", default.name), default.value


def _class(classes: tuple[PriorityRecord, ...], name: str, kind: str) -> PriorityRecord:
    found = next((one for one in classes if one.name == name), None)
    if found is None:
        raise NoSuchClass(f"{kind} {name} is not there; create it, or name another one")
    return found


def _reference(group: str, kind: str, name: str) -> dict[str, str]:
    return {"group": group, "kind": kind, "name": name}
