"""The job's one headless Service: gives its master a name before it is ready, so no DNS init container is needed."""

from __future__ import annotations

from typing import Any

from speech_contract import names
from speech_operator.resources.metadata import MASTER, child_metadata
from speech_operator.snapshot import Job


def build_service(job: Job) -> dict[str, Any]:
    """A Service named as the master pod.

    It selects the master alone: that is where ranks and supervisors meet, and each tells the others its address there.
    A list of all pods is written anew for each of them that starts, by two controllers, and sent to every node. Where
    no launcher of ours starts the ranks (`custom.launcher: None`), what does may need every pod's name: all are listed.
    """
    whom = MASTER if job.spec is None or job.spec.recipe.watched else {}
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
            "selector": {names.LABEL_JOB_NAME: job.name, **whom},
            "ports": [{"name": name, "port": port} for name, port in ports],
        },
    }
