"""Jobs in a cluster, as commands see them: a `Place` over `cluster_client`.

What a person may not read (pods, events) is said in a sentence beside the answer, never in its place: the
job's own status tells most of the story.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from speech_cli.cluster_client import Access, ClusterClient, NotFound, connect
from speech_cli.errors import ClusterProblem, UserError, absent
from speech_cli.log_request import LogRequest, ranks_per_node, told_by_pods
from speech_cli.rendering import verdict
from speech_cli.rendering.cause import Cause, cause_of
from speech_cli.rendering.events import EventRow, event_rows
from speech_cli.rendering.view import (
    Document,
    JobView,
    mapping,
    objects,
    status_of,
    view_of,
    whole,
)
from speech_cli.rendering.why import Evidence
from speech_cli.standing import aged
from speech_contract import names, outcome, paths
from speech_contract.outcome import Outcome
from speech_contract.reasons import Condition, State
from speech_contract.status import ConditionStatus

WAITING: Final = tuple(
    state.value
    for state in (State.PENDING, State.REFUSED, State.QUEUED, State.STARTING, State.RESTARTING)
)
AGAIN: Final = "`kubectl delete` the job and apply it again, or apply it under another name"


class ClusterPlace:
    """One namespace of one context."""

    def __init__(self, client: ClusterClient, access: Access, namespace: str | None) -> None:
        self.namespace = namespace or client.namespace
        self._client = client
        self._access = access
        self._faults: list[str] = []

    @classmethod
    def connect(cls, access: Access, namespace: str | None) -> ClusterPlace:
        """Log in. Raises ClusterProblem."""
        return cls(connect(access), access, namespace)

    @property
    def client(self) -> ClusterClient:
        """The connection, for what is asked of no job."""
        return self._client

    @property
    def title(self) -> str:
        """For sentences."""
        return f"in context {self._client.context!r}"

    @property
    def flags(self) -> str:
        """Options that lead here again."""
        parts = [" --cluster"]
        if self.namespace != self._client.namespace:
            parts.append(f" -n {self.namespace}")
        if self._access.context:
            parts.append(f" --context {self._access.context}")
        if self._access.kubeconfig:
            parts.append(f" --kubeconfig {self._access.kubeconfig}")
        return "".join(parts)

    def jobs(self, *, everywhere: bool = False) -> Sequence[Document]:
        """Every job of the namespace, or of all namespaces."""
        now = time.time()
        found = self._client.jobs("" if everywhere else self.namespace)
        return [aged(_with_kind(job), now) for job in found]

    def find(self, name: str) -> Document:
        """One job. Raises NotFound naming the nearest one, or another ClusterProblem."""
        self._faults = []  # those of the last question
        try:
            return aged(self._client.job(self.namespace, name), time.time())
        except NotFound as error:
            known = [str(mapping(job, "metadata").get("name")) for job in self.jobs()]
            have = absent(name, known, self._namespaces_of(name))
            raise NotFound(
                f"job: {name!r} is not in namespace {self.namespace!r} {self.title}; {have}"
            ) from error

    def _namespaces_of(self, name: str) -> list[str]:
        """Where else a job of this name is, as far as the person may look."""
        try:
            found = [mapping(job, "metadata") for job in self._client.jobs("")]
        except ClusterProblem:
            return []
        return [str(one.get("namespace")) for one in found if one.get("name") == name]

    def submit(self, document: Document) -> Document:
        """Create a job in this namespace; the job as the API server took it. Raises ClusterProblem."""
        metadata = {**mapping(document, "metadata"), "namespace": self.namespace}
        return self._client.submit(self.namespace, {**document, "metadata": metadata})

    def outcomes(self, document: Document) -> list[Outcome]:
        """What the pods left in their termination messages."""
        told = (outcome.decode(message) for message in map(_termination, self._pods(document)))
        return [one for one in told if one is not None]

    def evidence(self, document: Document, cause: Cause) -> Evidence:
        """Events of the job, warnings of its pods, and where its log is."""
        return Evidence(
            log=self._where_the_log_is(document, cause.rank or 0),
            events=tuple(self._events(document)),
            faults=tuple(dict.fromkeys(self._faults)),
            flags=self.flags,
            again=AGAIN,
        )

    def closing(self, document: Document, view: JobView) -> Iterator[str]:
        """Why it failed or waits, and where the run directory is."""
        if view.state == State.FAILED.value:
            cause = cause_of(document, self.outcomes(document))
            yield from list(verdict.failed_lines(view, cause, cause.exit_code, {}, self.flags))[1:]
        elif view.state in WAITING:
            yield from _waiting(document)
        yield from _not_taken(document)
        yield f"{'run directory':<17}{view.run_directory}"
        yield from self._faults

    def log(self, document: Document, wanted: LogRequest) -> Iterator[bytes]:
        """The log of one pod of the current attempt. Raises UserError when it is not there."""
        view = view_of(document)
        per_node = self._ranks_per_node(document)
        rank = wanted.first_rank(per_node)
        if wanted.attempt not in (None, view.attempt):
            place = self._on_volume(document, wanted.attempt or 1, rank)
            raise UserError(
                f"attempt: the pods of attempt {wanted.attempt} are gone (now: {view.attempt}); "
                f"its log is {place}"
            )
        pod = names.pod_name(view.name, wanted.node(per_node))
        try:
            return self._client.log(self.namespace, pod, wanted.tail, follow=wanted.follow)
        except ClusterProblem as error:
            place = self._on_volume(document, view.attempt or 1, rank)
            raise type(error)(
                f"{error.message}; what an attempt printed is kept in {place}"
            ) from error

    def suspend(self, document: Document) -> list[str]:
        """Ask for it; the operator saves and frees the pods."""
        name = self._set(document, suspend=True)
        return [
            f"{name}: asked to save and stop, {self.title}",
            f"wait for it with: kubectl wait --for=condition={Condition.SUSPENDED.value} "
            f"{names.SHORT_NAME}/{name} -n {self.namespace} --timeout=10m",
            f"continue with: speechtrain resume {name}{self.flags}",
        ]

    def resume(self, document: Document) -> list[str]:
        """Ask for it; the operator starts the next attempt from the last checkpoint."""
        name = self._set(document, suspend=False)
        return [
            f"{name}: asked to go on, {self.title}",
            f"look at it with: speechtrain status {name}{self.flags}",
        ]

    def _set(self, document: Document, *, suspend: bool) -> str:
        view = view_of(document)
        if view.finished:
            raise UserError(
                f"{view.name}: is {view.state} already; there is nothing to stop or continue"
            )
        if mapping(document, "spec", "runPolicy").get("suspend", False) is not suspend:
            self._client.suspend(self.namespace, view.name, suspend=suspend)
        return view.name

    def _ranks_per_node(self, document: Document) -> int:
        """What a runtime adds stands in its pods and not in the job."""
        by_runtime = bool(mapping(document, "spec", "runtimeRef"))
        told = told_by_pods(self._pods(document)) if by_runtime else None
        return told or ranks_per_node(document)

    def _pods(self, document: Document) -> list[dict[str, Any]]:
        name = str(mapping(document, "metadata").get("name"))
        return self._if_allowed("pods", lambda: self._client.pods(self.namespace, name))

    def _events(self, document: Document) -> list[EventRow]:
        uid = str(mapping(document, "metadata").get("uid"))
        own = self._if_allowed("events", lambda: self._client.events(
            self.namespace, {"involvedObject.uid": uid}))  # fmt: skip
        warnings = self._if_allowed("events", lambda: self._client.events(
            self.namespace, {"involvedObject.kind": "Pod", "type": "Warning"}))  # fmt: skip
        ours = {str(mapping(pod, "metadata").get("uid")) for pod in self._pods(document)}
        of_pods = [e for e in warnings if mapping(e, "involvedObject").get("uid") in ours]
        return event_rows([*own, *of_pods])

    def _if_allowed(
        self, what: str, ask: Callable[[], list[dict[str, Any]]]
    ) -> list[dict[str, Any]]:
        try:
            return ask()
        except ClusterProblem as error:
            self._faults.append(f"{what} cannot be read: {error.message}")
            return []

    def _where_the_log_is(self, document: Document, rank: int) -> str:
        view = view_of(document)
        pod = names.pod_name(view.name, rank // self._ranks_per_node(document))
        alive = {str(mapping(p, "metadata").get("name")) for p in self._pods(document)}
        if pod in alive:
            return f"speechtrain logs {view.name} --rank {rank}{self.flags}"
        return self._on_volume(document, view.attempt or 1, rank) if _printed(document) else ""

    @staticmethod
    def _on_volume(document: Document, attempt: int, rank: int) -> str:
        uri = Path(view_of(document).run_directory)
        return f"{paths.rank_log(uri, attempt, rank)} on the job's volume"


def _printed(document: Document) -> bool:
    """Whether the newest attempt can have written a log: it made a step, or one of its ranks ended."""
    status = status_of(document)
    newest = max(status.attempts, key=lambda attempt: attempt.number, default=None)
    if newest is None:
        return False
    told = (newest.exit_code, newest.last_step, newest.node, status.progress.step)
    return any(value is not None for value in told)


def _not_taken(document: Document) -> Iterator[str]:
    """A change of the spec that the job does not run by: refused, or not looked at yet."""
    view, status = view_of(document), status_of(document)
    if view.finished:
        return
    if view.state not in WAITING:
        for item in status.conditions:
            if item.type is Condition.ACCEPTED and item.status is ConditionStatus.FALSE:
                yield f"{'not applied':<17}{item.reason}: {item.message}; the job goes on as it was accepted"
    generation = whole(mapping(document, "metadata").get("generation"))
    seen = status.observed_generation
    if generation is not None and seen is not None and generation > seen:
        yield f"{'not applied':<17}the newest change of the spec: the operator has not looked at it; does it run?"


def _with_kind(job: Mapping[str, Any]) -> Document:
    """Items of a list say neither kind nor version."""
    return {"apiVersion": names.API_VERSION, "kind": names.KIND, **job}


def _termination(pod: Mapping[str, Any]) -> str:
    for status in objects(pod, "status", "containerStatuses"):
        if status.get("name") == names.CONTAINER:
            return str(mapping(status, "state", "terminated").get("message") or "")
    return ""


def _waiting(document: Document) -> Iterator[str]:
    """What the conditions say of a job that does not run."""
    status = status_of(document)
    for kind in (Condition.ACCEPTED, Condition.RUNNING):
        for item in status.conditions:
            if item.type is kind and item.status is not ConditionStatus.TRUE:
                yield f"{'waiting for':<17}{item.reason}: {item.message}"
                return
    if not status.observed_generation:
        other = mapping(document, "spec", "runPolicy").get("managedBy", names.MANAGED_BY)
        who = "the operator has not looked at this job yet; is it running?"
        if other != names.MANAGED_BY:
            who = f"{other}, which runPolicy.managedBy names: our operator never touches this job"
        yield f"{'waiting for':<17}{who}"
