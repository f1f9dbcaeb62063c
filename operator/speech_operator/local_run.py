"""Runs jobs on this machine: what `speechtrain run`, `suspend`, `resume` and `status` call.

Signatures come first so that the command line can be written against them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from speech_contract.progress import Progress

Document = dict[str, Any]
OnUpdate = Callable[[Document, Progress | None], None]


class LocalRunError(ValueError):
    """Something a person can mend: the sentence says what and how. The CLI exits with 64."""


async def run_local(
    document: Mapping[str, Any],
    manifest_path: Path,
    state_root: Path,
    namespace: str = "default",
    new: bool = False,
    volumes: Mapping[str, Path] | None = None,
    on_update: OnUpdate | None = None,
    on_notice: Callable[[str], None] | None = None,
) -> int:
    """Create, adopt, continue or resume the job, and follow it to its end.

    Returns the outcome's exit code: 0 Complete, 75 suspended (also by the first interrupt: SIGINT or SIGTERM,
    handled here), else the failing code. `on_notice` gets sentences to show (ignored fields, what was found).
    Raises InvalidJob (the manifest), LocalRunError (immutable change, another controller, too few devices).
    """
    raise NotImplementedError


async def suspend(state_root: Path, namespace: str, name: str) -> None:
    """Set `suspend: true` and return once saved and freed; drives the job itself when nobody else does.

    Raises LocalRunError when there is no such job or it has ended.
    """
    raise NotImplementedError


async def resume(
    state_root: Path,
    namespace: str,
    name: str,
    on_update: OnUpdate | None = None,
    on_notice: Callable[[str], None] | None = None,
) -> int:
    """Set `suspend: false` and follow the job as `run_local` does. Raises LocalRunError."""
    raise NotImplementedError


def load_job(state_root: Path, namespace: str, name: str) -> Document | None:
    """The job's document (apiVersion, kind, metadata, spec, status); None when there is none."""
    raise NotImplementedError


def list_jobs(state_root: Path, namespace: str | None = None) -> list[Document]:
    """Every local job, by namespace and name."""
    raise NotImplementedError
