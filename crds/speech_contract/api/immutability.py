"""What may change after a job was accepted. Called by the operator and by `speechtrain run` of a known job."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from speech_contract.api.spec import JobSpec
from speech_contract.api.validation import spec_document
from speech_contract.errors import ContractError

# Prefixes of fields below `spec`. Thresholds apply from the next attempt on.
MUTABLE: Final = (
    "health",
    "runPolicy.restarts",
    "runPolicy.suspend",
    "runPolicy.ttlSecondsAfterFinished",
)


def changed_immutable(accepted: JobSpec, wanted: JobSpec) -> list[ContractError]:
    """A problem for every field that differs and must not; defaults count as written."""
    if accepted is wanted or accepted == wanted:
        return []  # at nearly every look at a job, and much the cheaper question
    changes = _changes(spec_document(accepted), spec_document(wanted), "")
    return [_problem(*change) for change in changes if not _mutable(change[0])]


def _changes(old: Any, new: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            inner = f"{path}.{name}" if path else name
            yield from _changes(old.get(name), new.get(name), inner)
    elif old != new:
        yield path, old, new


def _mutable(path: str) -> bool:
    return any(path == prefix or path.startswith(f"{prefix}.") for prefix in MUTABLE)


def _problem(path: str, old: Any, new: Any) -> ContractError:
    was = "was unset" if old is None else f"was {old!r}"
    return ContractError(
        f"spec.{path}",
        new,
        f"{was} when the job was accepted and is immutable",
        "put it back, or start a new job under another name",
    )
