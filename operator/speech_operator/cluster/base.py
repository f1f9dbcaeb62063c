"""The port between controller and cluster: what any cluster must do, and the errors it may raise.

Errors:
    ClusterError            the environment failed; try again later
      Conflict              the job changed since it was observed; observe again
      AlreadyExists         a child of that name is there; `ours` tells whose
      Unsatisfiable         this cluster can never run it; the sentence says why and what to do

Every write is fenced: status by resourceVersion, deletes by uid, creates by fixed names. Nothing is patched or
adopted. A cluster marks keys dirty through `watch`; it never decides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from speech_contract.api import JobSpec
from speech_contract.run_config import RunConfig
from speech_operator.observe import Endpoints, Platform, PodRecord
from speech_operator.plan import JobEvent


class JobKey(NamedTuple):
    """Which job."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class ClusterError(Exception):
    """A call failed for reasons of the environment; worth another try."""


class Conflict(ClusterError):
    """The resourceVersion is outdated, or the pod under this name has another uid."""


class AlreadyExists(ClusterError):
    """A pod of this name is there. `ours`: same owner and same attempt, so an earlier pass made it."""

    def __init__(self, name: str, *, ours: bool) -> None:
        self.name = name
        self.ours = ours
        super().__init__(f"{name} exists already{'' if ours else ' and is not ours'}")


class Unsatisfiable(ClusterError):
    """The job asks for what this cluster does not have."""


@dataclasses.dataclass(frozen=True)
class RunConfigs:
    """Run configs of one job: all attempts that have one, the asked-for one, the newest accepted spec."""

    attempts: tuple[int, ...] = ()
    run_config: RunConfig | None = None
    accepted: JobSpec | None = None


class Cluster(Protocol):
    """All that the controller asks of a cluster. Every coroutine may raise ClusterError."""

    @property
    def platform(self) -> Platform:
        """What pods depend on."""
        ...

    def watch(self) -> AsyncIterator[JobKey]:
        """Keys whose job or pods changed; every known key once at the start."""
        ...

    async def get_job(self, key: JobKey) -> Mapping[str, Any] | None:
        """The job document, None when it is gone."""
        ...

    async def list_jobs(self) -> Sequence[Mapping[str, Any]]:
        """Every job there is, for who must know the others. Nothing on one machine: there a lock decides."""
        ...

    async def list_pods(self, key: JobKey) -> Sequence[PodRecord]:
        """Pods with the job's label, and pods of others under the job's pod names."""
        ...

    async def get_run_configs(self, key: JobKey, uid: str, attempt: int) -> RunConfigs:
        """Run configs that this very job owns; `attempt` is the one to read."""
        ...

    async def endpoints(self, key: JobKey, nodes: int, config: RunConfig | None) -> Endpoints:
        """Where the pods meet: out of `config` when the attempt has one, else constants or fresh ports."""
        ...

    async def has_service(self, key: JobKey, uid: str) -> bool:
        """Whether the headless Service is there (True where none is needed)."""
        ...

    async def put_status(self, key: JobKey, document: dict[str, Any], version: str) -> None:
        """Replace `/status`. Raises Conflict when the job is no longer at `version`."""
        ...

    async def create_pod(self, key: JobKey, manifest: Mapping[str, Any]) -> None:
        """POST. Raises AlreadyExists when the name is taken, Unsatisfiable when it can never run."""
        ...

    async def delete_pod(self, key: JobKey, name: str, uid: str, grace_seconds: int) -> None:
        """Delete with a uid precondition; a pod that is gone already is no error, another uid a Conflict."""
        ...

    async def create_run_config(
        self, key: JobKey, uid: str, config: RunConfig, accepted: JobSpec
    ) -> None:
        """Write the immutable run config of an attempt; one that is there already stays as it is."""
        ...

    async def delete_run_config(self, key: JobKey, attempt: int) -> None:
        """Delete it; absence is no error."""
        ...

    async def create_service(self, key: JobKey, manifest: Mapping[str, Any]) -> None:
        """POST; one that is there and ours is no error."""
        ...

    async def delete_job(self, key: JobKey, uid: str) -> None:
        """Delete the job, its children by garbage collection."""
        ...

    async def post_event(self, key: JobKey, uid: str, event: JobEvent) -> None:
        """Tell people. Losing one is not worth a retry."""
        ...

    async def get_progress(
        self, key: JobKey, config: RunConfig, since: str, wait_seconds: float
    ) -> bytes:
        """Long-poll the master's `/progress`; at most wire.PROGRESS_LIMIT_BYTES. Raises ClusterError."""
        ...
