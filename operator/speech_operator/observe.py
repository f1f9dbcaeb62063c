"""Gathers the snapshot that a reconcile pass decides on. Called by `controller`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from speech_contract.progress import Progress
from speech_operator.child_kind import ChildKind, ChildRecord
from speech_operator.children import CONFIG_MAP, KINDS, POD, SERVICE
from speech_operator.cluster.base import Cluster, JobKey
from speech_operator.job_document import SpecMemory, read_job
from speech_operator.snapshot import ConfigRecord, Job, Observed

WITH_FIELDS = frozenset({CONFIG_MAP, POD, SERVICE})  # of `Observed`


async def observe(
    cluster: Cluster,
    key: JobKey,
    progress: Progress | None,
    silent_seconds: float | None,
    memory: SpecMemory | None = None,
    kinds: Sequence[ChildKind[Any]] = KINDS,
) -> Observed | None:
    """Gather the snapshot of one job; None when the job is gone. Raises ClusterError."""
    document = await cluster.get_job(key)
    if document is None:
        return None
    job = read_job(document, local=cluster.platform.local, memory=memory)
    configs = {c.attempt: c for c in await cluster.list_children(key, CONFIG_MAP, job.uid)}
    current = configs.get(job.status.attempt)
    run_config = current.run if current else None
    pods = await cluster.list_children(key, POD, job.uid)
    return Observed(
        job=job,
        pods=tuple(pod for pod in pods if pod.node_rank >= 0),
        endpoints=await cluster.endpoints(key, _node_count(job), run_config),
        run_config=run_config,
        stale_run_configs=_stale(configs, job.status.attempt),
        accepted=configs[max(configs)].accepted if configs else None,
        service_present=bool(await cluster.list_children(key, SERVICE, job.uid)),
        platform=cluster.platform,
        progress=progress,
        silent_seconds=silent_seconds,
        children={
            kind: tuple(await cluster.list_children(key, kind, job.uid))
            for kind in kinds
            if kind not in WITH_FIELDS
        },
    )


def _stale(configs: Mapping[int, ConfigRecord], attempt: int) -> tuple[ChildRecord, ...]:
    return tuple(
        ChildRecord(old.name, old.uid, old.owner_uid, number)
        for number, old in sorted(configs.items())
        if number < attempt
    )


def _node_count(job: Job) -> int:
    return job.spec.num_nodes if job.spec else 1
