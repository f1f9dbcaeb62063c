"""The port between controller and cluster: what any cluster must do, and the errors it may raise.

Errors:
    ClusterError            the environment failed; try again later
      Conflict              the job changed since it was observed; observe again
      AlreadyExists         a child of that name is there; `ours` tells whose
      Unsatisfiable         this cluster can never run it; the sentence says why and what to do

Every write is fenced: status by resourceVersion, deletes by uid, creates by fixed names. Nothing is patched or
adopted. A cluster never decides; what it hears of goes to `Controller.mark` by whoever put the two together.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from speech_operator.child_kind import ChildKind, R
from speech_operator.plan import JobEvent, Mark
from speech_operator.snapshot import Endpoints, NodeRecord, Platform

if TYPE_CHECKING:  # the list of a machine's jobs catches these errors, and reads no run config
    from speech_contract.run_config import RunConfig


class JobKey(NamedTuple):
    """Which job."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class ClusterError(Exception):
    """A call failed for reasons of the environment; worth another try."""


class Conflict(ClusterError):
    """The resourceVersion is outdated, or the object under this name has another uid."""


class AlreadyExists(ClusterError):
    """An object of this name is there. `ours`: same owner and same attempt, so an earlier pass made it."""

    def __init__(self, name: str, *, ours: bool) -> None:
        self.name = name
        self.ours = ours
        super().__init__(f"{name} exists already{'' if ours else ' and is not ours'}")


class Unsatisfiable(ClusterError):
    """The job asks for what this cluster does not have."""


class Cluster(Protocol):
    """All that the controller asks of a cluster. Every coroutine may raise ClusterError."""

    @property
    def platform(self) -> Platform:
        """What pods depend on."""
        ...

    async def get_job(self, key: JobKey) -> Mapping[str, Any] | None:
        """The job document, None when it is gone."""
        ...

    async def list_jobs(self) -> Sequence[Mapping[str, Any]]:
        """Every job there is, for who must know the others. Nothing on one machine: there a lock decides."""
        ...

    async def list_children(self, key: JobKey, kind: ChildKind[R], uid: str) -> Sequence[R]:
        """Objects of the kind that the job with this uid owns; of a watched kind also others with its names.

        The Service is as if there where pods need none.
        """
        ...

    async def nodes(self, wanted: Collection[str]) -> Mapping[str, NodeRecord]:
        """What is known of the nodes of these names; of one that is gone, that it is. Nothing where nobody watches."""
        ...

    async def endpoints(self, key: JobKey, nodes: int, config: RunConfig | None) -> Endpoints:
        """Where the pods meet: out of `config` when the attempt has one, else constants or fresh ports."""
        ...

    async def put_status(self, key: JobKey, document: dict[str, Any], version: str) -> None:
        """Replace `/status`. Raises Conflict when the job is no longer at `version`."""
        ...

    async def create(self, key: JobKey, kind: ChildKind[Any], manifest: Mapping[str, Any]) -> None:
        """POST. Raises AlreadyExists when the name is taken, Unsatisfiable when it can never be."""
        ...

    async def delete(
        self,
        key: JobKey,
        kind: ChildKind[Any],
        name: str,
        uid: str,
        grace_seconds: int | None = None,
    ) -> None:
        """Delete with a uid precondition; what is gone already is no error, another uid a Conflict."""
        ...

    async def mark(self, key: JobKey, mark: Mark) -> None:
        """State facts in an object's status; nothing where it is gone, or no longer reads as its record."""
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
