"""`spec` of a SpeechTrainingJob, and the job around it. Built by `validation.parse`, read by the operator.

Recipe, data, training, checkpoint and health are the plain dataclasses that the run config carries too.
"""

from __future__ import annotations

import enum
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from speech_contract import names
from speech_contract.api.base import Model
from speech_contract.api.pod import Pod, Trainer
from speech_contract.codec import camel
from speech_contract.recipes import RecipeSpec
from speech_contract.run_config import Checkpoint, Data, StrategicLogging, Training
from speech_contract.status import JobStatus
from speech_contract.thresholds import Thresholds

STATUS: Final = TypeAdapter(JobStatus)  # for the schema alone; `status` reads and needs no pydantic


class CleanPodPolicy(str, enum.Enum):
    """Which pods are deleted when a job has ended."""

    NONE = "None"
    RUNNING = "Running"
    ALL = "All"


class RestartPolicy(Model):
    """Budgets of restarts; interruptions (suspend, eviction, a lost node) never count."""

    max: Annotated[int, Field(ge=0)] = 20
    """Counted restarts in all; the next failure ends the job."""
    same_cause: Annotated[int, Field(ge=1)] = 2
    """This many failures of one cause (exit code, rule, first error line) end the job."""


class RunPolicy(Model):
    """How the job is run, stopped and cleaned up."""

    suspend: bool = False
    """True saves, frees the devices and waits; False resumes from that checkpoint."""
    active_deadline_seconds: Annotated[int, Field(ge=1)] | None = None
    """Running time after which the job fails; suspended time does not count."""
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


class JobSpec(Model):
    """What to train, on what, with what patience."""

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
