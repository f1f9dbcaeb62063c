"""Where a job lives: on this machine or in a cluster. Commands ask `find` or `list_jobs` and speak to a Place.

The order is fixed: what `.speechtrain` holds, then the kube context. `--local` and `--cluster` force one;
`--context` and `--kubeconfig` mean the cluster too.
"""

from __future__ import annotations

import dataclasses
import enum
import time
from collections.abc import Iterator, Sequence
from typing import Protocol

from speech_cli.cluster_client import Access, NotFound
from speech_cli.cluster_place import ClusterPlace
from speech_cli.errors import ClusterProblem, MissingExtra, NoSuchJob
from speech_cli.local_place import LocalPlace
from speech_cli.log_request import LogRequest
from speech_cli.rendering.cause import Cause, cause_of
from speech_cli.rendering.view import Document, JobView
from speech_cli.rendering.why import Evidence, Explanation, explain
from speech_contract.outcome import Outcome
from speech_contract.values import Value, frozen


class Force(enum.Enum):
    """What the options say about where to look."""

    NEITHER = ""
    LOCAL = "local"
    CLUSTER = "cluster"


@frozen
class Where(Value):
    """The options of a command that speaks of jobs."""

    namespace: str | None = None
    everywhere: bool = False  # every namespace
    force: Force = Force.NEITHER
    access: Access = dataclasses.field(default_factory=Access)


class Place(Protocol):
    """What commands need of a machine or a cluster."""

    namespace: str

    @property
    def title(self) -> str:
        """`below .speechtrain`, `in context kind`: for sentences."""
        ...

    @property
    def flags(self) -> str:
        """Options that mean this place in a command line that a person may copy."""
        ...

    def jobs(self, *, everywhere: bool = False) -> Sequence[Document]:
        """Every job of the namespace, or of all namespaces."""
        ...

    def find(self, name: str) -> Document:
        """One job. Raises UserError with the nearest name."""
        ...

    def outcomes(self, document: Document) -> list[Outcome]:
        """What the pods of a job left behind, as far as it can be read."""
        ...

    def evidence(self, document: Document, cause: Cause) -> Evidence:
        """What `why` tells beside the status."""
        ...

    def closing(self, document: Document, view: JobView) -> Iterator[str]:
        """What `status JOB` adds for a job in this state."""
        ...

    def log(self, document: Document, wanted: LogRequest) -> Iterator[bytes]:
        """What the trainer printed, in chunks."""
        ...

    def suspend(self, document: Document) -> list[str]:
        """Let the job save and stop; what to tell the person."""
        ...


def find(where: Where, name: str) -> tuple[Place, Document]:
    """The job of this name and where it lives. Raises UserError."""
    if where.force is Force.CLUSTER:
        cluster = ClusterPlace.connect(where.access, where.namespace)
        return cluster, cluster.find(name)
    here = LocalPlace(where.namespace)
    try:
        return here, here.find(name)
    except NoSuchJob as error:
        if where.force is Force.LOCAL or not where.access.configured:
            raise
        return _in_cluster(where, name, error)


def list_place(where: Where) -> tuple[Place, Sequence[Document]]:
    """The first place that has jobs in the namespace, and these; the last one when none has. Raises UserError."""
    if where.force is Force.CLUSTER:
        cluster = ClusterPlace.connect(where.access, where.namespace)
        return cluster, cluster.jobs(everywhere=where.everywhere)
    here = LocalPlace(where.namespace)
    jobs = here.jobs(everywhere=where.everywhere)
    if jobs or where.force is Force.LOCAL or not where.access.configured:
        return here, jobs
    try:
        cluster = ClusterPlace.connect(where.access, where.namespace)
        return cluster, cluster.jobs(everywhere=where.everywhere)
    except ClusterProblem as error:
        none = none_there(here, where)
        raise ClusterProblem(f"{none}\n{error.message}") from error


def explained(found: Place, document: Document) -> Explanation:
    """The answer of `why` about a job, from its status and whatever else its place holds."""
    told = found.outcomes(document)
    evidence = found.evidence(document, cause_of(document, told))
    return explain(document, told, evidence, time.time())


def none_there(found: Place, where: Where) -> str:
    """What is said of an empty list, and where else one may look."""
    if where.everywhere:
        return f"no jobs in any namespace {found.title}"
    hint = "-A shows every namespace, -n NAME another"
    return f"no jobs in namespace {found.namespace!r} {found.title}; {hint}"


def _in_cluster(where: Where, name: str, missing: NoSuchJob) -> tuple[Place, Document]:
    try:
        cluster = ClusterPlace.connect(where.access, where.namespace)
        return cluster, cluster.find(name)
    except NotFound as error:
        raise NoSuchJob(f"{missing.message}\n{error.message}") from error
    except (ClusterProblem, MissingExtra) as error:
        raise ClusterProblem(f"{missing.message}\n{error.message}") from error


def hides_a_cluster(where: Where, found: Place) -> bool:
    """Whether jobs of this machine are shown although there may be others in a cluster."""
    return (
        where.force is Force.NEITHER and isinstance(found, LocalPlace) and where.access.configured
    )
