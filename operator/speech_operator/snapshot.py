"""The records that a reconcile pass decides on. Made by `observe` and the clusters, read by policies and resources.

Everything here is frozen and plain, so that a policy test is a table row and no cluster is needed.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any, Protocol

from speech_contract.api import JobSpec, JobStatus
from speech_contract.outcome import Outcome
from speech_contract.owner import Owner
from speech_contract.progress import Progress
from speech_contract.run_config import RunConfig
from speech_operator.child_kind import ChildKind, ChildRecord, R, Record


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
    address: str = ""  # IP; empty until it has one
    hindrance: str = ""  # what keeps it from starting, in one word of scheduler or kubelet
    words: str = dataclasses.field(
        default="", compare=False
    )  # their sentence: new words are no news

    @property
    def ended(self) -> bool:
        """Whether its containers will never run again."""
        return self.phase in TERMINAL


class ConfigRecord(Record, Protocol):
    """The run config of one attempt and the spec it was built from. Raises ClusterError when it is unreadable."""

    @property
    def run(self) -> RunConfig | None:
        """None when it went while one looked."""
        ...

    @property
    def accepted(self) -> JobSpec | None:
        """None when this operator would refuse what an older one accepted; today's spec counts then."""
        ...


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
    team: str = ""  # whom its alerts go to


@dataclasses.dataclass(frozen=True)
class Observed:
    """One consistent look at a job. `accepted` is the spec that the newest run config was built from."""

    job: Job
    pods: tuple[PodRecord, ...] = ()
    endpoints: Endpoints | None = None
    run_config: RunConfig | None = None  # of the attempt in status, when it exists
    stale_run_configs: tuple[ChildRecord, ...] = ()  # of older attempts that still have one
    accepted: JobSpec | None = None
    service_present: bool = True
    platform: Platform = dataclasses.field(default_factory=Platform)
    progress: Progress | None = None
    holder: Owner | None = None  # the other job that owns the run directory
    silent_seconds: float | None = None  # since `/progress` last answered; None: nobody to ask
    children: Mapping[ChildKind[Any], tuple[Any, ...]] = dataclasses.field(default_factory=dict)

    def of(self, kind: ChildKind[R]) -> tuple[R, ...]:
        """Objects of a kind that has no field of its own above, somebody else's under our names included."""
        return self.children.get(kind, ())

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
