"""`spec` of a SpeechTrainingJob, and the job around it. Built by `validation.parse`, read by the operator.

Recipe, data, training, checkpoint and health are the plain dataclasses that the run config carries too.
"""

from __future__ import annotations

import enum
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

from speech_contract import names
from speech_contract.api.base import DNS_NAME, Model, Name
from speech_contract.api.pod import Pod, Trainer
from speech_contract.codec import camel
from speech_contract.errors import ContractError
from speech_contract.recipes import RecipeSpec
from speech_contract.run_config import Checkpoint, Data, StrategicLogging, Tracking, Training
from speech_contract.status import MAX_WINDOW_TIMES, JobStatus
from speech_contract.thresholds import Thresholds

STATUS: Final = TypeAdapter(JobStatus)  # for the schema alone; `status` reads and needs no pydantic


class CleanPodPolicy(str, enum.Enum):
    """Which pods are deleted when a job has ended."""

    NONE = "None"
    RUNNING = "Running"
    ALL = "All"


class RestartWindow(Model):
    """Counted restarts within a time, whatever progress is made between them."""

    max: Annotated[int, Field(ge=1, le=MAX_WINDOW_TIMES)] = 6
    """Counted restarts within the time; the next failure ends the job."""
    seconds: Annotated[int, Field(ge=1)] = 21600
    """The time, back from now."""


class RestartPolicy(Model):
    """Budgets of restarts; interruptions (suspend, eviction, a lost node) never count."""

    max: Annotated[int, Field(ge=0)] = 20
    """Counted restarts without `resetAfterSteps` new steps from one to the next; the next failure ends the job."""
    per_window: RestartWindow = Field(default_factory=RestartWindow)
    """Counted restarts within a time, whatever progress is made between them."""
    same_cause: Annotated[int, Field(ge=1)] = 3
    """Failures of one cause (exit code, rule, first error line) that end the job, counted as `max` is; of a script that
    tells no step, those that are no farther apart than `perWindow.seconds`."""
    reset_after_steps: Annotated[int, Field(ge=0)] = 500
    """New steps after which `max` and `sameCause` count from 0 again; 0: never."""


class Gang(str, enum.Enum):
    """Who sees to it that all pods of an attempt find room together."""

    NONE = "None"
    KUEUE = "Kueue"


def _not_the_schedulers_own(value: Any) -> Any:
    """Kubernetes' gangs (KEP-4671) are alpha: a server without the gate drops a pod's membership without a word."""
    if isinstance(value, str) and value.casefold() in {"kubernetes", "workload", "podgroup"}:
        rule = "is not served: Kubernetes' own gangs are alpha, and off in most clusters"
        raise ContractError("", value, rule, "use None, which gives half a gang back, or Kueue")
    return value


class SchedulingPolicy(Model):
    """How all pods of an attempt come to a place, or none."""

    gang: Annotated[Gang, BeforeValidator(_not_the_schedulers_own)] = Gang.NONE
    """None: pods are created at once, and given back if they don't all find room. Kueue: a queue admits the job."""
    queue: Annotated[str, Field(pattern=rf"^$|{DNS_NAME}", max_length=253)] = ""
    """LocalQueue of the namespace, for Kueue; empty means the job's label kueue.x-k8s.io/queue-name."""
    schedule_timeout_seconds: Annotated[int, Field(ge=1)] = 600
    """Time that half of a gang holds nodes or quota; then its pods are given back, and asked for again later."""


class RunPolicy(Model):
    """How the job is run, stopped and cleaned up."""

    suspend: bool = False
    """True saves, frees the devices and waits; False resumes from that checkpoint."""
    active_deadline_seconds: Annotated[int, Field(ge=1)] | None = None
    """Running time after which the job fails; time suspended, queued or without room for all pods does not count."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0)] | None = None
    """Time after the end until the job is deleted; unset keeps it."""
    clean_pod_policy: CleanPodPolicy = CleanPodPolicy.RUNNING
    """Which pods are deleted when the job has ended: None, Running (those still running) or All."""
    termination_grace_period_seconds: Annotated[int, Field(ge=1)] = 120
    """Time to save on suspend, drain and deadline."""
    restarts: RestartPolicy = Field(default_factory=RestartPolicy)
    """Budgets of restarts; interruptions never count."""
    managed_by: Annotated[str, Field(min_length=1, max_length=63)] = names.MANAGED_BY
    """Who reconciles this job; any other value makes this operator leave it alone. Immutable."""
    scheduling_policy: SchedulingPolicy = Field(default_factory=SchedulingPolicy)
    """How all pods of an attempt come to a place, or none."""


class RuntimeKind(str, enum.Enum):
    """Kinds of runtimes."""

    CLUSTER = names.CLUSTER_RUNTIME_KIND
    NAMESPACE = names.RUNTIME_KIND


class RuntimeRef(Model):
    """A runtime: defaults for what this job leaves open."""

    name: Name
    """Name of the runtime."""
    kind: RuntimeKind = RuntimeKind.CLUSTER
    """ClusterSpeechTrainingRuntime, or SpeechTrainingRuntime for one of the job's namespace."""


class JobSpec(Model):
    """What to train, on what, with what patience."""

    runtime_ref: RuntimeRef | None = None
    """Runtime whose fields hold wherever this job says nothing; what a job began with stays with it."""
    recipe: RecipeSpec
    """How to train: exactly one member is set."""
    data: Data | None = None
    """What to train on; a custom command may do without."""
    training: Training = Field(default_factory=Training)
    """How long, how large, how precise."""
    checkpoint: Checkpoint
    """Where the run is kept, and how often it is saved."""
    num_nodes: Annotated[int, Field(ge=1, le=4096)] = 1
    """Pods of the job: one master and numNodes - 1 workers."""
    nproc_per_node: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Ranks in each pod; unset means the GPUs of a node, else 1."""
    trainer: Trainer = Field(default_factory=Trainer)
    """The container that trains."""
    accelerator: Annotated[str, Field(max_length=63)] = ""
    """Product label of the GPU, as in NVIDIA-H200; empty for CPU."""
    pod: Pod = Field(default_factory=Pod)
    """How and where the pods run."""
    health: Thresholds = Field(default_factory=Thresholds)
    """Rules that watch the run, with their thresholds."""
    strategic_logging: StrategicLogging = Field(default_factory=StrategicLogging)
    """Looks into the model that are written to the log."""
    tracking: Tracking = Field(default_factory=Tracking)
    """Where else the numbers of the run are told: TensorBoard, Weights & Biases."""
    run_policy: RunPolicy = Field(default_factory=RunPolicy)
    """How the job is run, stopped and cleaned up."""


class Metadata(BaseModel):
    """What the operator reads of `metadata`; the rest is Kubernetes' own and left alone."""

    model_config = ConfigDict(
        alias_generator=camel, extra="ignore", frozen=True, validate_by_name=True
    )

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class SpeechTrainingJob(Model):
    """A job without its status, which `status.read_status` reads: nobody but the operator writes that."""

    api_version: Literal["speechtrain.dev/v1alpha1"]
    kind: Literal["SpeechTrainingJob"]
    metadata: Metadata
    spec: JobSpec
