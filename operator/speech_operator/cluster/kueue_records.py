"""Kueue's objects as the API server shows them → the small records that reconcile needs. Called by `children`.

Of conditions only those count that say True; why a Workload waits is told by the first that says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from speech_contract import names
from speech_operator.child_kind import Document
from speech_operator.cluster.pod_record import child_record
from speech_operator.snapshot import Assignment, FlavorRecord, PriorityRecord, WorkloadRecord

LONGEST_WORDS: Final = 700  # characters
INACTIVE: Final = "the Workload is inactive; set its spec.active to true to queue it again"


def workload(document: Document, job: str) -> WorkloadRecord:
    """A Workload; see https://kueue.sigs.k8s.io/docs/concepts/workload/ for what its conditions mean."""
    made = child_record(document, job)
    metadata, spec, status = document["metadata"], document["spec"], document.get("status") or {}
    told = {c["type"]: c for c in status.get("conditions") or ()}
    true = {kind for kind, c in told.items() if c.get("status") == "True"}
    evicted = told.get("Evicted", {}) if "Evicted" in true else {}
    admission = status.get("admission") or {}
    return WorkloadRecord(
        name=made.name,
        uid=made.uid,
        owner_uid=made.owner_uid,
        deleting="deletionTimestamp" in metadata,
        queue=str(spec.get("queueName") or ""),
        digest=str((metadata.get("annotations") or {}).get(names.ANNOTATION_DIGEST, "")),
        reserved="QuotaReserved" in true,
        admitted="Admitted" in true,
        evicted=str(evicted.get("reason") or ""),
        finished="Finished" in true,
        pods_ready="PodsReady" in true,
        cluster_queue=str(admission.get("clusterQueue") or ""),
        words=_words(spec, status, told, evicted)[:LONGEST_WORDS],
        assignments=_assignments(admission, status),
    )


def flavor(document: Document, job: str) -> FlavorRecord:
    """A ResourceFlavor."""
    made, spec = child_record(document, job), document.get("spec") or {}
    tolerations = tuple(spec.get("tolerations") or ())
    return FlavorRecord(made.name, made.uid, dict(spec.get("nodeLabels") or {}), tolerations)


def priority(document: Document, job: str) -> PriorityRecord:
    """A PriorityClass or a WorkloadPriorityClass."""
    made, value = child_record(document, job), int(document.get("value") or 0)
    return PriorityRecord(made.name, made.uid, value, bool(document.get("globalDefault")))


def _words(
    spec: Document, status: Document, told: Mapping[str, Document], evicted: Document
) -> str:
    if spec.get("active") is False:
        return INACTIVE
    waits = [told.get("QuotaReserved", {}), told.get("Admitted", {})]
    refused = [c for c in (evicted, *waits) if c.get("message") and (c is evicted or _false(c))]
    said = str(refused[0]["message"]) if refused else ""
    checks = [f"{c['name']}: {c['message']}" for c in _pending_checks(status) if c.get("message")]
    again = (status.get("requeueState") or {}).get("requeueAt")
    return "; ".join(filter(None, [said, *checks, again and f"queued again at {again}"]))


def _false(condition: Document) -> bool:
    return condition.get("status") == "False"


def _pending_checks(status: Document) -> Iterable[Document]:
    return (c for c in status.get("admissionChecks") or () if c.get("state") != "Ready")


def _assignments(admission: Document, status: Document) -> dict[str, Assignment]:
    updates: dict[str, list[Document]] = {}
    for check in status.get("admissionChecks") or ():
        for update in check.get("podSetUpdates") or ():
            updates.setdefault(update["name"], []).append(update)
    return {
        given["name"]: _assignment(given, updates.get(given["name"], []))
        for given in admission.get("podSetAssignments") or ()
    }


def _assignment(given: Document, updates: list[Document]) -> Assignment:
    """Each flavor once, in the order of its resources' names: a map has none of its own."""
    flavors = dict.fromkeys(name for _, name in sorted((given.get("flavors") or {}).items()))
    added: dict[str, Any] = {"nodeSelector": {}, "labels": {}, "annotations": {}}
    tolerations: list[Mapping[str, Any]] = []
    for update in updates:
        for field, values in added.items():
            values.update(update.get(field) or {})
        tolerations += update.get("tolerations") or ()
    return Assignment(
        tuple(flavors),
        added["nodeSelector"],
        tuple(tolerations),
        added["labels"],
        added["annotations"],
    )
