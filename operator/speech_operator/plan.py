"""What a reconcile pass decides: actions, events, the new status. Built by policies, carried out by `apply`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Self

from speech_contract.reasons import Reason
from speech_contract.status import JobStatus
from speech_contract.values import Value, frozen
from speech_operator.child_kind import ChildKind, Record
from speech_operator.ending import Ending


@dataclasses.dataclass(frozen=True, eq=False)
class Create:
    """POST what `build` gives, which carries name, labels and owner. What has the name already is never changed.

    Built when its turn comes: a pod's manifest takes some 25 KiB, and a thousand gangs may wait at once for theirs.
    """

    kind: ChildKind[Any]
    build: Callable[[], dict[str, Any]]

    @property
    def manifest(self) -> dict[str, Any]:
        """Built anew each time."""
        return self.build()


@frozen
class Delete(Value):
    """Delete exactly the object with this uid, giving it `grace_seconds` to save, where it is one that runs."""

    kind: ChildKind[Any]
    name: str
    uid: str
    grace_seconds: int | None = None


class Fact(NamedTuple):
    """A condition as it is to read."""

    type: str
    value: bool
    reason: str
    message: str


@frozen
class Mark(Value):
    """State facts in the status of an object whose controller is another one, as long as its record still reads so.

    Where it does not, they may be wrong: it may have been admitted anew. `without`: fields of its status that go.
    """

    kind: ChildKind[Any]
    record: Record
    facts: tuple[Fact, ...]
    without: tuple[str, ...] = ()


@frozen
class JobEvent(Value):
    """A Kubernetes Event of the job. `warning` sets its type."""

    reason: str
    message: str
    warning: bool = False


@frozen
class Plan(Value):
    """All of one pass. `status_first`: the status holds intent that the actions rely on after a crash."""

    status: JobStatus
    deletes: tuple[Delete, ...] = ()
    creates: tuple[Create, ...] = ()
    marks: tuple[Mark, ...] = ()
    events: tuple[JobEvent, ...] = ()
    requeue_after: float | None = None  # seconds; None: wait for the next change
    status_first: bool = False
    delete_job: bool = False


@frozen
class Draft(Value):
    """A plan in the making, handed from policy to policy.

    `decided`: the policies after health have nothing to add. `hands_off`: nobody may write this status at all.
    """

    status: JobStatus
    deletes: tuple[Delete, ...] = ()
    creates: tuple[Create, ...] = ()
    marks: tuple[Mark, ...] = ()
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

    def marking(self, *marks: Mark) -> Self:
        """A copy that states more facts."""
        return self.to(marks=self.marks + marks)

    def plan(self) -> Plan:
        """The finished plan."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(Plan)}
        return Plan(**fields)
