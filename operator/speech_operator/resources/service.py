"""The job's one headless Service: gives pods a name before they are ready, so no DNS init container is needed."""

from __future__ import annotations

from typing import Any

from speech_contract import names
from speech_operator.resources.metadata import child_metadata
from speech_operator.snapshot import Job


def build_service(job: Job) -> dict[str, Any]:
    """A Service named as the master pod; selects all pods of the job."""
    ports = (
        (names.MASTER_PORT_NAME, names.MASTER_PORT),
        (names.SUPERVISOR_PORT_NAME, names.SUPERVISOR_PORT),
    )
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": child_metadata(job, names.service_name(job.name), {}),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {names.LABEL_JOB_NAME: job.name},
            "ports": [{"name": name, "port": port} for name, port in ports],
        },
    }
