"""A runtime as the API server shows it → `RuntimeRecord`. Called by `children`.

A runtime that cannot be read is kept with its problems: the jobs that name it tell them.
"""

from __future__ import annotations

from speech_contract import names
from speech_contract.api import InvalidJob, parse_runtime
from speech_operator.child_kind import Document
from speech_operator.snapshot import RuntimeRecord


def runtime(kind: str, document: Document, job: str) -> RuntimeRecord:
    """A runtime of this kind, which an item of a list need not say. `job` is empty: it is of none."""
    metadata = document["metadata"]
    return RuntimeRecord(
        name=metadata["name"],
        uid=metadata["uid"],
        kind=kind,
        generation=int(metadata.get("generation", 0)),
        namespace=metadata.get("namespace", ""),
        spec=document.get("spec") or {},
        problems=_problems(kind, metadata["name"], document),
    )


def _problems(kind: str, name: str, document: Document) -> tuple[str, ...]:
    """Judged by name and spec alone, as a job is."""
    head = {"apiVersion": names.API_VERSION, "kind": kind, "metadata": {"name": name}}
    try:
        parse_runtime({**head, "spec": document.get("spec")})
    except InvalidJob as error:
        return tuple(f"{kind} {name}: {problem}" for problem in error.problems)
    return ()
