"""A job document, read into a `Job`; its spec is parsed once a generation. Called by `observe` and the clusters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from speech_contract import names
from speech_contract.api import InvalidJob, JobSpec, parse, read_status
from speech_operator.snapshot import Job


class SpecMemory:
    """The newest spec of one job as parsed; nobody changes a spec without a new generation.

    A job is looked at some ten times for each time that it is written, and pydantic is the dearest part of a look.
    """

    def __init__(self) -> None:
        self._of: tuple[str, int] | None = None
        self._parsed: tuple[JobSpec | None, tuple[str, ...]] = (None, ())

    def parse(
        self, document: Mapping[str, Any], *, local: bool
    ) -> tuple[JobSpec | None, tuple[str, ...]]:
        """The spec, or None and why it cannot be run."""
        metadata = document["metadata"]
        of = (str(metadata["uid"]), int(metadata.get("generation", 0)))
        if of != self._of:
            self._parsed = _parse(document, local=local)
            self._of = of
        return self._parsed


def read_job(document: Mapping[str, Any], *, local: bool, memory: SpecMemory | None = None) -> Job:
    """Read a job document as a cluster returns it. Raises ContractError when the status is unreadable."""
    metadata = document["metadata"]
    spec, problems = (memory or SpecMemory()).parse(document, local=local)
    policy = (document.get("spec") or {}).get("runPolicy") or {}
    return Job(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 0),
        resource_version=metadata.get("resourceVersion", ""),
        deleting=bool(metadata.get("deletionTimestamp")),
        managed_by=str(policy.get("managedBy", names.MANAGED_BY)),
        spec=spec,
        problems=problems,
        status=read_status(document.get("status")),
        created=str(metadata.get("creationTimestamp") or ""),
        team=str((metadata.get("labels") or {}).get(names.LABEL_TEAM, "")),
    )


def _parse(document: Mapping[str, Any], *, local: bool) -> tuple[JobSpec | None, tuple[str, ...]]:
    """Judged by name and spec alone: an annotation, which has no generation, must not end a job."""
    metadata = {key: document["metadata"][key] for key in ("name", "namespace")}
    judged = {key: value for key, value in document.items() if key != "status"}
    try:
        return parse({**judged, "metadata": metadata}, local=local).spec, ()
    except InvalidJob as error:
        return None, tuple(map(str, error.problems))
