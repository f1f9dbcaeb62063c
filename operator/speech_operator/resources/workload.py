"""The job's Workload in Kueue: how many pods of each replica type, and what each asks for. Called by `queueing`.

And the way back: what the admission says goes into the pods (`admitted`). The shape is that of Kueue's API
(https://kueue.sigs.k8s.io/docs/reference/kueue.v1beta2/).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from speech_contract import names
from speech_contract.status import JobStatus
from speech_operator.resources.config_map import build_run_config
from speech_operator.resources.metadata import child_metadata, pod_labels
from speech_operator.resources.pods import build_pod
from speech_operator.snapshot import FlavorRecord, Observed, WorkloadRecord
from speech_operator.workloads import priority_of, queue_of

# Of a pod's spec: what decides about quota and flavors.
COUNTS: Final = (
    "nodeSelector", "affinity", "tolerations", "priorityClassName", "runtimeClassName", "schedulerName",
)  # fmt: skip
OF_CONTAINER: Final = ("name", "image", "resources")


def build_workload(seen: Observed, status: JobStatus) -> dict[str, Any]:
    """The manifest; its annotation holds a digest of all it asks for. Raises NoSuchClass."""
    reference, value = priority_of(seen)
    spec: dict[str, Any] = {
        "queueName": queue_of(seen),
        "priority": value,
        "podSets": _pod_sets(seen, status),
    }
    if reference is not None:
        spec["priorityClassRef"] = reference
    metadata = child_metadata(seen.job, names.workload_name(seen.job.name), {})
    metadata["annotations"] = {names.ANNOTATION_DIGEST: _digest(spec)}
    return {
        "apiVersion": names.KUEUE_API_VERSION,
        "kind": "Workload",
        "metadata": metadata,
        "spec": spec,
    }


def digest_of(manifest: Mapping[str, Any]) -> str:
    """What `WorkloadRecord.digest` is compared with."""
    return str(manifest["metadata"]["annotations"][names.ANNOTATION_DIGEST])


def _digest(spec: Mapping[str, Any]) -> str:
    text = json.dumps(spec, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _pod_sets(seen: Observed, status: JobStatus) -> list[dict[str, Any]]:
    nodes = seen.spec.num_nodes
    counts = {names.REPLICA_MASTER: 1, names.REPLICA_WORKER: nodes - 1}
    return [
        {"name": kind, "count": count, "template": _template(seen, status, rank)}
        for rank, (kind, count) in enumerate(counts.items())
        if count
    ]


def _template(seen: Observed, status: JobStatus, rank: int) -> dict[str, Any]:
    pod = build_pod(seen, build_run_config(seen, status), rank)["spec"]
    spec = {key: pod[key] for key in COUNTS if pod.get(key)}
    for kind in ("initContainers", "containers"):
        if kind in pod:
            spec[kind] = [{key: c[key] for key in OF_CONTAINER} for c in pod[kind]]
    labels = {
        key: value for key, value in pod_labels(rank, 0).items() if key == names.LABEL_REPLICA_TYPE
    }
    return {"metadata": {"labels": labels}, "spec": {**spec, "restartPolicy": "Never"}}


def admitted(
    pod: dict[str, Any], workload: WorkloadRecord, flavors: tuple[FlavorRecord, ...]
) -> dict[str, Any]:
    """The pod, held to the nodes that the quota of its replica type is for; it is not changed in place.

    As Kueue does it for its own jobs: labels of the flavors become node selectors, tolerations are added, each once.
    """
    given = workload.assignments.get(pod["metadata"]["labels"][names.LABEL_REPLICA_TYPE])
    if given is None:
        return pod
    by_name = {flavor.name: flavor for flavor in flavors}
    used = [by_name[name] for name in given.flavors]
    metadata, spec = dict(pod["metadata"]), dict(pod["spec"])
    selector = dict(spec["nodeSelector"])
    for flavor in used:
        selector.update(flavor.node_labels)
    spec["nodeSelector"] = {**selector, **given.node_selector}
    tolerations = [t for flavor in used for t in flavor.tolerations] + list(given.tolerations)
    spec["tolerations"] = [*spec["tolerations"], *_new(tolerations, spec["tolerations"])]
    metadata["labels"] = {**given.labels, **metadata["labels"]}
    if given.annotations:
        metadata["annotations"] = {**given.annotations, **metadata.get("annotations", {})}
    return {**pod, "metadata": metadata, "spec": spec}


def _new(more: list[Mapping[str, Any]], there: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those that are not there yet, each once."""
    found: list[Mapping[str, Any]] = []
    for one in more:
        if one not in there and one not in found:
            found.append(one)
    return found
