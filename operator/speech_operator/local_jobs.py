"""The jobs of this machine as they stand: what `speechtrain status`, `why` and their kin read.

Imports neither the API's models nor a controller, which reading needs none of: a person waits for the answer.
`local_run`, which drives jobs, hands these on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from speech_operator.cluster.base import ClusterError
from speech_operator.cluster.local_state import JobFolder, job_folders
from speech_operator.local_standing import shown

Document = dict[str, Any]


class LocalRunError(ValueError):
    """Something a person can mend: the sentence says what and how. The CLI exits with 64."""


@contextlib.contextmanager
def in_sentences() -> Iterator[None]:
    """Turn what the state folder has to say (a broken file, a lost race) into a LocalRunError."""
    try:
        yield
    except ClusterError as error:
        raise LocalRunError(str(error)) from error


def load_job(state_root: Path, namespace: str, name: str) -> Document | None:
    """The job's document (apiVersion, kind, metadata, spec, status), as far as somebody stands behind it."""
    folder = JobFolder(state_root, namespace, name)
    with in_sentences():
        document = folder.read_job()
        return None if document is None else shown(folder, document)


def list_jobs(state_root: Path, namespace: str | None = None) -> list[Document]:
    """Every local job, by namespace and name, as `load_job` has it."""
    found = [pair for pair in job_folders(state_root) if namespace in (None, pair[0])]
    jobs = [load_job(state_root, *pair) for pair in found]
    return [job for job in jobs if job is not None]
