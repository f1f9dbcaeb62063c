"""The records that a reconcile pass decides on. Made by `observe` and the clusters, read by policies and resources.

Everything here is frozen and plain, so that a policy test is a table row and no cluster is needed.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from speech_contract.outcome import Outcome
from speech_contract.owner import Owner
from speech_contract.progress import Progress
from speech_contract.reasons import Reason
from speech_contract.status import JobStatus
from speech_contract.values import Value, frozen
from speech_operator.child_kind import ChildKind, ChildRecord, R, Record

if TYPE_CHECKING:  # who lists the jobs of a machine reads none of their specs and run configs
    from speech_contract.api import JobSpec
    from speech_contract.run_config import RunConfig


class PodPhase(enum.StrEnum):
    """A pod's phase as Kubernetes has it, and GONE: it was there, and vanished without a terminal state."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    GONE = "Gone"


TERMINAL = frozenset({PodPhase.SUCCEEDED, PodPhase.FAILED, PodPhase.GONE})


@dataclasses.dataclass(frozen=True, slots=True)
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
    asked_at: float | None = None  # of one under deletion: when it was asked to stop
    gone_by: float | None = None  # likewise, when its grace is over
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
    # Their sentence: new words are no news.
    words: str = dataclasses.field(default="", compare=False)

    @property
    def ended(self) -> bool:
        """Whether its containers will never run again."""
        return self.phase in TERMINAL

    @property
    def placed(self) -> bool:
        """Whether it has found room."""
        return bool(self.node) or self.phase is not PodPhase.PENDING


@frozen
class Assignment(Value):
    """What an admission gives the pods of one replica type: flavors by name, and what its checks add."""

    flavors: tuple[str, ...] = ()
    node_selector: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    annotations: Mapping[str, str] = dataclasses.field(default_factory=dict)


@frozen
class WorkloadRecord(Value):
    """What reconcile needs of a Workload, which is a job's place in one of Kueue's queues."""

    name: str
    uid: str
    owner_uid: str
    attempt: int = 0
    deleting: bool = False
    queue: str = ""
    digest: str = ""  # of what it asks for
    reserved: bool = False  # quota is taken for it
    admitted: bool = False
    evicted: str = ""  # why its place is taken away, in one word; empty: it is not
    finished: bool = False
    pods_ready: bool = False
    cluster_queue: str = ""
    words: str = ""  # Kueue's sentence: why it waits, or why it is evicted
    assignments: Mapping[str, Assignment] = dataclasses.field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether pods may be there."""
        return self.admitted and not (self.evicted or self.finished or self.deleting)


@frozen
class FlavorRecord(Value):
    """A ResourceFlavor: the nodes that a quota is for. Of no namespace and no job."""

    name: str
    uid: str
    node_labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    owner_uid: str = ""
    attempt: int = 0


@frozen
class PriorityRecord(Value):
    """A PriorityClass or WorkloadPriorityClass."""

    name: str
    uid: str
    value: int
    default: bool = False
    owner_uid: str = ""
    attempt: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class NodeRecord:
    """What reconcile needs of a node: whether its pods can be trusted to be there. Of no job. Times are epoch seconds.

    `gone`: the API server knows no node of this name, though a pod was bound to it.
    """

    name: str
    uid: str
    not_ready_since: float | None = None  # its condition Ready is not True since then; None: it is
    out_of_service: bool = False  # tainted so: a person vouches for the machine being off
    cordoned: bool = False
    gone: bool = False
    owner_uid: str = ""
    attempt: int = 0

    @property
    def off(self) -> bool:
        """Whether its pods certainly run no more, as Kubernetes judges it: KEP-2268, and its pod garbage collector."""
        return self.gone or (self.out_of_service and self.not_ready_since is not None)


@frozen
class RuntimeRecord(Value):
    """A runtime that a job names, its spec as somebody wrote it. Of no job.

    `problems`: why no job can run by it. Without a uid it is not there, or no longer: of the past it has no problems.
    """

    name: str
    uid: str
    kind: str
    generation: int = 0
    namespace: str = ""
    spec: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    problems: tuple[str, ...] = ()
    owner_uid: str = ""
    attempt: int = 0

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


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

    @property
    def runtime(self) -> RuntimeRecord | None:
        """The runtime as it was then; None: the job named none."""
        ...


@frozen
class Endpoints(Value):
    """Where the pods of an attempt meet: constants on Kubernetes, reserved free ports on one machine."""

    master_address: str
    master_port: int
    supervisor_addresses: tuple[str, ...]  # host:port by node rank


@frozen
class Platform(Value):
    """What the cluster is, as far as pods depend on it."""

    local: bool = False
    cores: int | None = None  # of the one machine; None on Kubernetes
    default_image: str = ""
    launcher_image: str = ""  # the operator's own, for the init container of foreign images
    kueue: bool = False  # whether this operator looks at Kueue's objects at all


@frozen
class Job(Value):
    """The job document, read, with what its runtime adds. `spec` is None and `problems` says why when it cannot be run.

    `reason`: the same in one word.
    """

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
    queue: str = ""  # as its label names it
    queue_priority: str = ""  # likewise, a WorkloadPriorityClass
    reason: Reason = Reason.INVALID_SPEC
    runtime: RuntimeRecord | None = None


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
    nodes: Mapping[str, NodeRecord] = dataclasses.field(default_factory=dict)  # its pods', if known

    def of(self, kind: ChildKind[R]) -> tuple[R, ...]:
        """Objects of a kind that has no field of its own above, somebody else's under our names included."""
        return self.children.get(kind, ())

    @functools.cached_property
    def spec(self) -> JobSpec:
        """What the job runs by: what was accepted, with those fields of today's spec that may change."""
        wanted, accepted = self.job.spec, self.accepted
        if accepted is None:
            assert wanted is not None, "validation ends the pass of a job without a spec"
            return wanted
        if wanted is None or wanted is accepted:
            return accepted
        return _overlay(accepted, wanted)

    @functools.cached_property
    def own_pods(self) -> tuple[PodRecord, ...]:
        """Pods that this very job owns; a namesake's are not touched."""
        return tuple(pod for pod in self.pods if pod.owner_uid == self.job.uid)

    @functools.cached_property
    def foreign_pods(self) -> tuple[PodRecord, ...]:
        """Pods under our names that somebody else owns."""
        return tuple(pod for pod in self.pods if pod.owner_uid != self.job.uid)

    @functools.cached_property
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
