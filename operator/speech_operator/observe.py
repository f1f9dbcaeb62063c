"""Gathers the snapshot that a reconcile pass decides on. Called by `controller`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from speech_contract.api import JobSpec
from speech_contract.api.merging import named
from speech_contract.progress import Progress
from speech_operator.child_kind import ChildKind, ChildRecord
from speech_operator.children import CONFIG_MAP, POD, RUNTIMES, SERVICE, kinds
from speech_operator.cluster.base import Cluster, JobKey
from speech_operator.job_document import SpecMemory, read_job
from speech_operator.runtimes import chosen
from speech_operator.snapshot import ConfigRecord, Job, Observed, RuntimeRecord

WITH_FIELDS = frozenset({CONFIG_MAP, POD, SERVICE, *RUNTIMES})  # of `Observed`, or of its job


async def observe(
    cluster: Cluster,
    key: JobKey,
    progress: Progress | None,
    silent_seconds: float | None,
    memory: SpecMemory | None = None,
    looked_at: Sequence[ChildKind[Any]] | None = None,
) -> Observed | None:
    """Gather the snapshot of one job; None when the job is gone. Raises ClusterError."""
    document = await cluster.get_job(key)
    if document is None:
        return None
    # Status says first that an attempt is open, then its children are made: before that nobody need look for them.
    begun = cluster.platform.local or bool((document.get("status") or {}).get("attempt"))
    configs = await _configs(cluster, key, document) if begun else {}
    accepted, runtime = await _accepted(cluster, key, document, configs)
    job = read_job(document, local=cluster.platform.local, memory=memory, runtime=runtime)
    current = configs.get(job.status.attempt)
    run_config = current.run if current else None
    pods = await cluster.list_children(key, POD, job.uid)
    placed = {pod.node for pod in pods if pod.node and pod.owner_uid == job.uid}
    return Observed(
        job=job,
        pods=tuple(pod for pod in pods if pod.node_rank >= 0),
        endpoints=await cluster.endpoints(key, _node_count(job), run_config),
        run_config=run_config,
        stale_run_configs=_stale(configs, job.status.attempt),
        accepted=accepted,
        service_present=await _met(cluster, key, job, begun=begun),
        platform=cluster.platform,
        progress=progress,
        silent_seconds=silent_seconds,
        children={
            kind: tuple(await cluster.list_children(key, kind, job.uid))
            for kind in (kinds(kueue=cluster.platform.kueue) if looked_at is None else looked_at)
            if kind not in WITH_FIELDS
        },
        nodes=await cluster.nodes(placed) if placed else {},
    )


async def _configs(
    cluster: Cluster, key: JobKey, document: Mapping[str, Any]
) -> dict[int, ConfigRecord]:
    found = await cluster.list_children(key, CONFIG_MAP, str(document["metadata"]["uid"]))
    return {config.attempt: config for config in found}


async def _accepted(
    cluster: Cluster, key: JobKey, document: Mapping[str, Any], configs: Mapping[int, ConfigRecord]
) -> tuple[JobSpec | None, RuntimeRecord | None]:
    """What the job began with; before that, the runtime that it names now."""
    newest = configs[max(configs)] if configs else None
    accepted, runtime = (newest.accepted, newest.runtime) if newest else (None, None)
    if accepted is None and runtime is None:
        runtime = await runtime_of(cluster, key, document)
    return accepted, runtime


async def runtime_of(
    cluster: Cluster, key: JobKey, document: Mapping[str, Any]
) -> RuntimeRecord | None:
    """The runtime that a job names, as it is now; None without one, and on one machine: there it is merged before."""
    ref = None if cluster.platform.local else named(document)
    if ref is None:
        return None
    (kind,) = (kind for kind in RUNTIMES if kind.kind == ref.kind)
    return chosen(ref, await cluster.list_children(key, kind, str(document["metadata"]["uid"])))


async def _met(cluster: Cluster, key: JobKey, job: Job, *, begun: bool) -> bool:
    """Whether pods can find each other: one alone has nobody to look for."""
    if _node_count(job) == 1:
        return True
    return begun and bool(await cluster.list_children(key, SERVICE, job.uid))


def _stale(configs: Mapping[int, ConfigRecord], attempt: int) -> tuple[ChildRecord, ...]:
    return tuple(
        ChildRecord(old.name, old.uid, old.owner_uid, number)
        for number, old in sorted(configs.items())
        if number < attempt
    )


def _node_count(job: Job) -> int:
    return job.spec.num_nodes if job.spec else 1
