"""A job document, read into a `Job`. Called by `observe` and the clusters.

Its spec is parsed once a generation, its status once a write.

What the job's runtime adds is in it: all that decides knows one spec.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from speech_contract import names
from speech_contract.api import InvalidJob, JobSpec, JobStatus, parse, read_status
from speech_contract.api.merging import effective
from speech_contract.reasons import Reason
from speech_operator.shared import digest, shared
from speech_operator.snapshot import Job, RuntimeRecord


class _Parsed(NamedTuple):
    """The spec, or None and why it cannot be run."""

    spec: JobSpec | None = None
    problems: tuple[str, ...] = ()
    reason: Reason = Reason.INVALID_SPEC


class SpecMemory:
    """The newest spec and status of one job as parsed; nobody changes a spec, or a runtime, without a new generation.

    A job is looked at some ten times for each time that it is written, and parsing is the dearest part of a look.
    """

    def __init__(self) -> None:
        self._of: tuple[object, ...] | None = None
        self._parsed = _Parsed()
        self._status_of = b""
        self._status = JobStatus()

    def parse(
        self, document: Mapping[str, Any], runtime: RuntimeRecord | None, *, local: bool
    ) -> _Parsed:
        """The spec with what the runtime adds."""
        metadata = document["metadata"]
        with_runtime = (
            (runtime.kind, runtime.name, runtime.uid, runtime.generation) if runtime else ()
        )
        of = (str(metadata["uid"]), int(metadata.get("generation", 0)), *with_runtime)
        if of != self._of:
            self._parsed = _parse(document, runtime, local=local)
            self._of = of
        return self._parsed

    def status(self, document: Mapping[str, Any]) -> JobStatus:
        """The status, by which `reconcile` goes on. Raises ContractError when it is unreadable."""
        written = document.get("status")
        of = digest(json.dumps(written).encode())
        if of != self._status_of:
            self._status, self._status_of = read_status(written), of
        return self._status


def read_job(
    document: Mapping[str, Any],
    *,
    local: bool,
    memory: SpecMemory | None = None,
    runtime: RuntimeRecord | None = None,
) -> Job:
    """Read a job document as a cluster returns it. Raises ContractError when the status is unreadable."""
    metadata = document["metadata"]
    memory = memory or SpecMemory()
    parsed = memory.parse(document, runtime, local=local)
    policy = (document.get("spec") or {}).get("runPolicy") or {}
    labels = metadata.get("labels") or {}
    return Job(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 0),
        resource_version=metadata.get("resourceVersion", ""),
        deleting=bool(metadata.get("deletionTimestamp")),
        managed_by=str(policy.get("managedBy", names.MANAGED_BY)),
        spec=parsed.spec,
        problems=parsed.problems,
        status=memory.status(document),
        created=str(metadata.get("creationTimestamp") or ""),
        team=str(labels.get(names.LABEL_TEAM, "")),
        queue=str(labels.get(names.LABEL_QUEUE, "")),
        queue_priority=str(labels.get(names.LABEL_QUEUE_PRIORITY, "")),
        reason=parsed.reason,
        runtime=runtime,
    )


def _parse(document: Mapping[str, Any], runtime: RuntimeRecord | None, *, local: bool) -> _Parsed:
    """Judged by name and spec alone: an annotation, which has no generation, must not end a job."""
    metadata = {key: document["metadata"][key] for key in ("name", "namespace")}
    judged = {key: value for key, value in document.items() if key != "status"}
    if runtime is not None:
        if runtime.problems:
            reason = Reason.INVALID_RUNTIME if runtime.uid else Reason.RUNTIME_MISSING
            return _Parsed(None, runtime.problems, reason)
        judged = effective(judged, runtime.spec)
    try:
        return _Parsed(shared(parse({**judged, "metadata": metadata}, local=local).spec))
    except InvalidJob as error:
        problems = tuple(map(str, error.problems))
        if runtime is not None:
            with_it = f"together with {runtime} (generation {runtime.generation})"
            problems = (f"{with_it}: {problems[0]}", *problems[1:])
        return _Parsed(None, problems)
