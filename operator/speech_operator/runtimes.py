"""Which runtime a job runs by. Called by `observe`, and by whoever watches and keeps runtimes. Pure.

The one that its newest run config was built with, as it was then: a runtime that changes, or goes, changes no job that
has begun. Before that it is the newest, which may still be missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from speech_contract.api.merging import Named, named
from speech_contract.errors import ContractError, nearest
from speech_operator.snapshot import RuntimeRecord

# Fields that the ConfigMap of an attempt keeps.
KEPT: Final = ("kind", "name", "namespace", "generation", "spec")


def is_named(runtime: RuntimeRecord, job: Mapping[str, Any]) -> bool:
    """Whether a job names this runtime."""
    near = runtime.namespace in ("", job["metadata"].get("namespace", ""))
    return near and named(job) == (runtime.kind, runtime.name)


def chosen(ref: Named, there: Sequence[RuntimeRecord]) -> RuntimeRecord:
    """The runtime of that name, or one with a sentence that it is not there."""
    found = next((one for one in there if one.name == ref.name), None)
    return found or RuntimeRecord(ref.name, "", ref.kind, problems=(_missing(ref, there),))


def _missing(ref: Named, there: Sequence[RuntimeRecord]) -> str:
    guess = nearest(ref.name, (one.name for one in there))
    remedy = f"did you mean {guess}?" if guess else "create it, or name another one"
    rule = f"names no {ref.kind} that the operator can see"
    error = ContractError("spec.runtimeRef.name", ref.name, rule, remedy)
    return f"{error}; the job starts once it is there"


def to_text(runtime: RuntimeRecord) -> str:
    """What the ConfigMap of an attempt keeps."""
    return json.dumps({name: getattr(runtime, name) for name in KEPT}, ensure_ascii=False)


def from_text(text: str) -> RuntimeRecord | None:
    """What it kept; None for the empty text of a job that named none."""
    if not text:
        return None
    document = json.loads(text)
    return RuntimeRecord(uid="", **{name: document[name] for name in KEPT})
