"""Gathers the snapshot that a reconcile pass decides on. Called by `controller`."""

from __future__ import annotations

from speech_contract.progress import Progress
from speech_operator.cluster.base import Cluster, JobKey
from speech_operator.job_document import SpecMemory, read_job
from speech_operator.snapshot import Job, Observed


async def observe(
    cluster: Cluster,
    key: JobKey,
    progress: Progress | None,
    silent_seconds: float | None,
    memory: SpecMemory | None = None,
) -> Observed | None:
    """Gather the snapshot of one job; None when the job is gone. Raises ClusterError."""
    document = await cluster.get_job(key)
    if document is None:
        return None
    job = read_job(document, local=cluster.platform.local, memory=memory)
    nodes = _node_count(job)
    bundle = await cluster.get_run_configs(key, job.uid, job.status.attempt)
    endpoints = await cluster.endpoints(key, nodes, bundle.run_config)
    return Observed(
        job=job,
        pods=tuple(await cluster.list_pods(key)),
        endpoints=endpoints,
        run_config=bundle.run_config,
        stale_run_configs=tuple(a for a in bundle.attempts if a < job.status.attempt),
        accepted=bundle.accepted,
        service_present=await cluster.has_service(key, job.uid),
        platform=cluster.platform,
        progress=progress,
        silent_seconds=silent_seconds,
    )


def _node_count(job: Job) -> int:
    return job.spec.num_nodes if job.spec else 1
