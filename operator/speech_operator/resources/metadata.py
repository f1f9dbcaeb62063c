"""Metadata that all children share: labels, and the owner that garbage collection and reconcile go by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from speech_contract import names
from speech_operator.snapshot import Job

MASTER: Final[Mapping[str, str]] = {names.LABEL_JOB_ROLE: "master"}  # of node rank 0 alone


def child_metadata(job: Job, name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """`metadata` of a child of the job."""
    owner = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": job.name,
        "uid": job.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "name": name,
        "namespace": job.namespace,
        "labels": {names.LABEL_JOB_NAME: job.name, **labels},
        "ownerReferences": [owner],
    }


def pod_labels(node_rank: int, attempt: int) -> dict[str, str]:
    """Labels of a pod beside the job's name."""
    kind, index = names.replica(node_rank)
    labels = {
        names.LABEL_REPLICA_TYPE: kind,
        names.LABEL_REPLICA_INDEX: str(index),
        names.LABEL_ATTEMPT: str(attempt),
    }
    return {**labels, **MASTER} if node_rank == 0 else labels
