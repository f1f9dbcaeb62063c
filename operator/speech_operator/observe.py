"""The snapshot that a reconcile pass decides on, and how it is gathered. `controller` calls `observe`.

Everything below is frozen and plain, so that a policy test is a table row and no cluster is needed.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from speech_contract import names
from speech_contract.api import InvalidJob, JobSpec, JobStatus, parse, read_status
from speech_contract.outcome import Outcome
from speech_contract.owner import Owner
from speech_contract.progress import Progress
from speech_contract.run_config import RunConfig

if TYPE_CHECKING:
    from speech_operator.cluster.base import Cluster, JobKey


class PodPhase(enum.StrEnum):
    """A pod's phase as Kubernetes has it, and GONE: it was there, and vanished without a terminal state."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    GONE = "Gone"


TERMINAL = frozenset({PodPhase.SUCCEEDED, PodPhase.FAILED, PodPhase.GONE})


@dataclasses.dataclass(frozen=True)
class PodRecord:
    """What reconcile needs of one pod. Times are epoch seconds."""

    name: str
    uid: str
    node_rank: int
    attempt: int
    owner_uid: str
    phase: PodPhase = PodPhase.PENDING
    ready: bool = False
    deleting: bool = False
    exit_code: int | None = None
    reason: str = ""  # Evicted, OOMKilled, NodeLost, Preempted …
    finished_at: float | None = None
    outcome: Outcome | None = None
    message: str = ""  # last output of a pod that left no outcome
    node: str = ""
    created_at: float = 0.0
    unschedulable_since: float | None = None  # the scheduler finds no node for it since then

    @property
    def ended(self) -> bool:
        """Whether its containers will never run again."""
        return self.phase in TERMINAL


@dataclasses.dataclass(frozen=True)
class Endpoints:
    """Where the pods of an attempt meet: constants on Kubernetes, reserved free ports on one machine."""

    master_address: str
    master_port: int
    supervisor_addresses: tuple[str, ...]  # host:port by node rank


@dataclasses.dataclass(frozen=True)
class Platform:
    """What the cluster is, as far as pods depend on it."""

    local: bool = False
    cores: int | None = None  # of the one machine; None on Kubernetes
    default_image: str = ""
    launcher_image: str = ""  # the operator's own, for the init container of foreign images


@dataclasses.dataclass(frozen=True)
class Job:
    """The job document, read. `spec` is None and `problems` says why when it cannot be run."""

    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    deleting: bool
    managed_by: str
    spec: JobSpec | None
    problems: tuple[str, ...]
    status: JobStatus
    created: str = ""  # creationTimestamp


@dataclasses.dataclass(frozen=True)
class Observed:
    """One consistent look at a job. `accepted` is the spec that the newest run config was built from."""

    job: Job
    pods: tuple[PodRecord, ...] = ()
    endpoints: Endpoints | None = None
    run_config: RunConfig | None = None  # of the attempt in status, when it exists
    stale_run_configs: tuple[int, ...] = ()  # older attempts that still have one
    accepted: JobSpec | None = None
    service_present: bool = True
    platform: Platform = dataclasses.field(default_factory=Platform)
    progress: Progress | None = None
    holder: Owner | None = None  # the other job that owns the run directory
    silent_seconds: float | None = None  # since `/progress` last answered; None: nobody to ask

    @property
    def spec(self) -> JobSpec:
        """What the job runs by: what was accepted, with those fields of today's spec that may change."""
        wanted, accepted = self.job.spec, self.accepted
        if accepted is None:
            assert wanted is not None, "validation ends the pass of a job without a spec"
            return wanted
        return accepted if wanted is None else _overlay(accepted, wanted)

    @property
    def own_pods(self) -> tuple[PodRecord, ...]:
        """Pods that this very job owns; a namesake's are not touched."""
        return tuple(pod for pod in self.pods if pod.owner_uid == self.job.uid)

    @property
    def foreign_pods(self) -> tuple[PodRecord, ...]:
        """Pods under our names that somebody else owns."""
        return tuple(pod for pod in self.pods if pod.owner_uid != self.job.uid)

    @property
    def current_pods(self) -> tuple[PodRecord, ...]:
        """Own pods of the attempt that status names, by node rank."""
        attempt = self.job.status.attempt
        ours = (pod for pod in self.own_pods if pod.attempt == attempt)
        return tuple(sorted(ours, key=lambda pod: pod.node_rank))

    @property
    def master(self) -> PodRecord | None:
        """Node rank 0 of the current attempt."""
        return next((pod for pod in self.current_pods if pod.node_rank == 0), None)

    @property
    def current_progress(self) -> Progress | None:
        """The newest progress answer, unless another attempt gave it."""
        progress = self.progress
        return progress if progress and progress.attempt == self.job.status.attempt else None


def _overlay(accepted: JobSpec, wanted: JobSpec) -> JobSpec:
    """The accepted spec with the mutable fields of `speech_contract.api.immutability` taken from `wanted`."""
    policy = accepted.run_policy.model_copy(
        update={
            "restarts": wanted.run_policy.restarts,
            "suspend": wanted.run_policy.suspend,
            "ttl_seconds_after_finished": wanted.run_policy.ttl_seconds_after_finished,
        }
    )
    return accepted.model_copy(update={"health": wanted.health, "run_policy": policy})


class SpecMemory:
    """The newest spec of one job as parsed; nobody changes a spec without a new generation.

    A job is looked at some ten times for each time that it is written, and pydantic is the dearest part of a look.
    """

    def __init__(self) -> None:
        self._of: tuple[str, int] | None = None
        self._parsed: tuple[JobSpec | None, tuple[str, ...]] = (None, ())

    def parse(
        self, document: Mapping[str, Any], *, local: bool
    ) -> tuple[JobSpec | None, tuple[str, ...]]:
        """The spec, or None and why it cannot be run."""
        metadata = document["metadata"]
        of = (str(metadata["uid"]), int(metadata.get("generation", 0)))
        if of != self._of:
            self._parsed = _parse(document, local=local)
            self._of = of
        return self._parsed


def read_job(document: Mapping[str, Any], *, local: bool, memory: SpecMemory | None = None) -> Job:
    """Read a job document as a cluster returns it. Raises ContractError when the status is unreadable."""
    metadata = document["metadata"]
    spec, problems = (memory or SpecMemory()).parse(document, local=local)
    policy = (document.get("spec") or {}).get("runPolicy") or {}
    return Job(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 0),
        resource_version=metadata.get("resourceVersion", ""),
        deleting=bool(metadata.get("deletionTimestamp")),
        managed_by=str(policy.get("managedBy", names.MANAGED_BY)),
        spec=spec,
        problems=problems,
        status=read_status(document.get("status")),
        created=str(metadata.get("creationTimestamp") or ""),
    )


def _parse(document: Mapping[str, Any], *, local: bool) -> tuple[JobSpec | None, tuple[str, ...]]:
    """Judged by name and spec alone: an annotation, which has no generation, must not end a job."""
    metadata = {key: document["metadata"][key] for key in ("name", "namespace")}
    judged = {key: value for key, value in document.items() if key != "status"}
    try:
        return parse({**judged, "metadata": metadata}, local=local).spec, ()
    except InvalidJob as error:
        return None, tuple(map(str, error.problems))


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
