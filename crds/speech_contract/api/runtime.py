"""`spec` of a runtime: what a team's jobs have in common, as defaults. Built by `validation.parse_runtime`.

A runtime has fields of a job and no others, at the same places. Those that tell one job from another are left out: what
it trains on, where it is kept, whether it is suspended. A field that a runtime does not write leaves the job's own
default, so nothing here has one that counts; `merging` takes what is written.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from speech_contract.api.base import Model
from speech_contract.api.pod import Pod, Trainer
from speech_contract.api.spec import (
    CleanPodPolicy,
    Metadata,
    RestartPolicy,
    RuntimeKind,
    SchedulingPolicy,
)
from speech_contract.thresholds import Thresholds


class RuntimeCheckpoint(Model):
    """How often jobs are saved; where, each of them says itself."""

    every_steps: Annotated[int, Field(ge=1)] | None = None
    """Steps between two checkpoints."""
    keep_last: Annotated[int, Field(ge=1)] | None = None
    """Newest checkpoints that are kept; the last confirmed one always is."""


class RuntimeRunPolicy(Model):
    """How jobs are run, restarted and cleaned up."""

    active_deadline_seconds: Annotated[int, Field(ge=1)] | None = None
    """Running time after which the job fails; time suspended, queued or without room for all pods does not count."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0)] | None = None
    """Time after the end until the job is deleted."""
    clean_pod_policy: CleanPodPolicy | None = None
    """Which pods are deleted when the job has ended: None, Running (those still running) or All."""
    termination_grace_period_seconds: Annotated[int, Field(ge=1)] | None = None
    """Time to save on suspend, drain and deadline."""
    restarts: RestartPolicy = Field(default_factory=RestartPolicy)
    """Budgets of restarts; interruptions never count."""
    scheduling_policy: SchedulingPolicy = Field(default_factory=SchedulingPolicy)
    """How all pods of an attempt come to a place, or none."""


class RuntimeSpec(Model):
    """Defaults of the jobs that name this runtime."""

    accelerator: Annotated[str, Field(max_length=63)] = ""
    """Product label of the GPU, as in NVIDIA-H200."""
    nproc_per_node: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Ranks in each pod."""
    trainer: Trainer = Field(default_factory=Trainer)
    """The container that trains."""
    pod: Pod = Field(default_factory=Pod)
    """How and where the pods run."""
    checkpoint: RuntimeCheckpoint = Field(default_factory=RuntimeCheckpoint)
    """How often jobs are saved."""
    health: Thresholds = Field(default_factory=Thresholds)
    """Rules that watch the run, with their thresholds."""
    run_policy: RuntimeRunPolicy = Field(default_factory=RuntimeRunPolicy)
    """How jobs are run, restarted and cleaned up."""


class SpeechTrainingRuntime(Model):
    """A runtime of either kind."""

    api_version: Literal["speechtrain.dev/v1alpha1"]
    kind: RuntimeKind
    metadata: Metadata
    spec: RuntimeSpec
