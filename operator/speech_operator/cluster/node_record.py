"""A node as the API server shows it → the small record that reconcile needs. Called by `informer` for every change."""

from __future__ import annotations

from typing import Final

from speech_operator.child_kind import Document
from speech_operator.cluster.pod_record import condition, time_of
from speech_operator.snapshot import NodeRecord

OUT_OF_SERVICE: Final = "node.kubernetes.io/out-of-service"


def node(document: Document, job: str) -> NodeRecord:
    """Of some 20 KiB less than one is kept; a heartbeat alone makes no other record. `job` is empty: it is of none."""
    metadata, spec = document["metadata"], document.get("spec") or {}
    ready = condition(document.get("status") or {}, "Ready")
    said = ready.get("status", "True")  # a node that has just come says nothing yet
    return NodeRecord(
        name=metadata["name"],
        uid=metadata["uid"],
        not_ready_since=None if said == "True" else time_of(ready.get("lastTransitionTime")),
        out_of_service=any(t.get("key") == OUT_OF_SERVICE for t in spec.get("taints") or ()),
        cordoned=bool(spec.get("unschedulable")),
    )
