"""What a reconcile pass decides: actions, events, the new status. Built by policies, carried out by `apply`."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

from speech_contract.api import JobSpec, JobStatus
from speech_contract.reasons import Reason
from speech_contract.run_config import RunConfig
from speech_operator.ending import Ending


@dataclasses.dataclass(frozen=True)
class DeletePod:
    """Delete exactly the pod with this uid, giving it `grace_seconds` to save."""

    name: str
    uid: str
    grace_seconds: int


@dataclasses.dataclass(frozen=True)
class DeleteRunConfig:
    """Delete the run config of an attempt that is over."""

    attempt: int


@dataclasses.dataclass(frozen=True)
class CreateRunConfig:
    """Write the run config of an attempt, and beside it the spec it was built from."""

    config: RunConfig
    accepted: JobSpec


@dataclasses.dataclass(frozen=True)
class CreateService:
    """The job's headless Service."""

    manifest: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class CreatePod:
    """POST this pod; the manifest carries name, attempt and owner."""

    manifest: dict[str, Any]


Delete = DeletePod | DeleteRunConfig
Create = CreateRunConfig | CreateService | CreatePod


@dataclasses.dataclass(frozen=True)
class JobEvent:
    """A Kubernetes Event of the job. `warning` sets its type."""

    reason: str
    message: str
    warning: bool = False


@dataclasses.dataclass(frozen=True)
class Plan:
    """All of one pass. `status_first`: the status holds intent that the actions rely on after a crash."""

    status: JobStatus
    deletes: tuple[Delete, ...] = ()
    creates: tuple[Create, ...] = ()
    events: tuple[JobEvent, ...] = ()
    requeue_after: float | None = None  # seconds; None: wait for the next change
    status_first: bool = False
    delete_job: bool = False


@dataclasses.dataclass(frozen=True)
class Draft:
    """A plan in the making, handed from policy to policy.

    `decided`: the policies after health have nothing to add. `hands_off`: nobody may write this status at all.
    """

    status: JobStatus
    deletes: tuple[Delete, ...] = ()
    creates: tuple[Create, ...] = ()
    events: tuple[JobEvent, ...] = ()
    requeue_after: float | None = None
    status_first: bool = False
    delete_job: bool = False
    decided: bool = False
    hands_off: bool = False
    ending: Ending | None = None

    def to(self, **changes: Any) -> Self:
        """A copy with fields replaced."""
        return dataclasses.replace(self, **changes)

    def requeued(self, seconds: float) -> Self:
        """A copy that looks again after `seconds` at the latest."""
        soonest = seconds if self.requeue_after is None else min(seconds, self.requeue_after)
        return self.to(requeue_after=max(0.0, soonest))

    def told(self, reason: Reason | str, message: str, *, warning: bool = False) -> Self:
        """A copy with one more event."""
        text = reason.value if isinstance(reason, Reason) else reason
        return self.to(events=(*self.events, JobEvent(text, message[:1024], warning)))

    def deleting(self, *deletes: Delete) -> Self:
        """A copy that deletes more."""
        return self.to(deletes=self.deletes + deletes)

    def plan(self) -> Plan:
        """The finished plan."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(Plan)}
        return Plan(**fields)
