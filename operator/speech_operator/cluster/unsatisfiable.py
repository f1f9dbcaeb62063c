"""What the API server will not take however often it is asked, and what helps. Called by `KubernetesCluster`."""

from __future__ import annotations

from typing import Any, Final

from speech_operator.child_kind import ChildKind
from speech_operator.cluster.base import Unsatisfiable
from speech_operator.cluster.rest import ApiError

REMEDY_OF_POLICY: Final = (
    "let image and job fit the namespace's Pod Security level, or use another namespace"
)
REMEDY_OF_QUOTA: Final = "ask for less, or wait until others have freed what this job needs"
REMEDY: Final = "correct the job, or ask who runs the cluster; it is tried again"


def refusal(error: ApiError) -> Unsatisfiable | None:
    """What the API server will not take however often it is asked; None for what may pass."""
    if error.status in (400, 422):
        return Unsatisfiable(f"{error.message}; {REMEDY}")
    if error.status != 403 or "NamespaceTerminating" in error.causes:
        return None
    if "cannot create resource" in error.message:  # the operator's own rights, not the job's fault
        return None
    if "violates PodSecurity" in error.message:
        return Unsatisfiable(f"{error.message}; {REMEDY_OF_POLICY}")
    quota = "exceeded quota" in error.message
    return Unsatisfiable(f"{error.message}; {REMEDY_OF_QUOTA if quota else REMEDY}")


def unserved(kind: ChildKind[Any]) -> Unsatisfiable:
    """The sentence for a kind that another project would have to bring."""
    return Unsatisfiable(
        f"the API server serves no {kind.kind} of {kind.api_version}: install Kueue (0.15 or later), or set "
        "runPolicy.schedulingPolicy.gang: None in a new job; it is tried again"
    )


def somebody_elses(kind: ChildKind[Any], name: str) -> Unsatisfiable:
    """The sentence for a name that is taken; what a deleted namesake left goes by itself in a moment."""
    remedy = (
        "wait for garbage collection if it is of a deleted job, else delete it or rename this job"
    )
    return Unsatisfiable(f"{kind.noun} {name} belongs to somebody else; {remedy}")
