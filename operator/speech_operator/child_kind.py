"""What a kind of object is to the operator, and the little that is kept of any child. `children` holds the kinds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from speech_contract.values import Value, frozen

Document = Mapping[str, Any]


class Record(Protocol):
    """What is kept of an object: frozen and comparable, for a change that leaves it equal is no news."""

    @property
    def name(self) -> str:
        """Within its namespace."""
        ...

    @property
    def uid(self) -> str:
        """What a delete is fenced by."""
        ...

    @property
    def owner_uid(self) -> str:
        """The uid of the object that controls it; empty without one."""
        ...

    @property
    def attempt(self) -> int:
        """The attempt that its label names; 0: it belongs to none."""
        ...


R = TypeVar("R", bound=Record)


@frozen
class ChildRecord(Value):
    """A child of which nothing but its being there counts."""

    name: str
    uid: str
    owner_uid: str
    attempt: int = 0


@dataclasses.dataclass(frozen=True)
class ChildKind(Generic[R]):
    """One kind. Nothing of it is ever patched or adopted; deletes carry the uid.

    Objects are found by the label of their job, in one of three ways:

    watched      an informer keeps them current; a taken name is shown to reconcile, which says so in status
    only_name    at most one a job, under this name: it is asked for until it is there, and anew in each attempt
    neither      listed once a job and then remembered, for they never change and nobody else makes them

    Two are for watched objects that are of no job. `concerns`: whether a child of a job has to do with one (a node).
    `named_by`: whether the manifest of a job names one (a runtime).
    `optional`: an API server may not serve it (another project's, or newer than its CRDs), or not let us see it; then
    there are none, until it does. `without`: what is missing then, for the log.
    `page`: objects of one answer to a list, which as parsed is the most that a list holds at once.
    """

    kind: str
    plural: str
    noun: str  # for people
    # Of an object and its job's name; None: no such child.
    project: Callable[[Document, str], R | None]
    api_version: str = "v1"
    namespaced: bool = True
    watched: bool = False
    only_name: Callable[[str], str] | None = None
    concerns: Callable[[R, Record], bool] | None = None
    named_by: Callable[[R, Document], bool] | None = None
    optional: bool = False
    without: str = ""
    page: int = 100

    @property
    def of_no_job(self) -> bool:
        """Whether its objects carry the label of no job."""
        return self.concerns is not None or self.named_by is not None

    def path(self, namespace: str = "", name: str = "") -> str:
        """Of all objects in the namespace ("": in all of them), or of one."""
        root = (
            f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        )
        within = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{root}{within}/{self.plural}" + (f"/{name}" if name else "")
