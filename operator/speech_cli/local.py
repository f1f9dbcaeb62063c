"""The edge to local runs: the controller's `speech_operator.local_run`, and the state it keeps.

Commands speak to `backend()` and never import the controller themselves, so `--help` and `data` stay fast and
run without it; tests put a fake in its place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from speech_cli.errors import UserError
from speech_cli.extras import lazily
from speech_cli.rendering.view import Document, mapping
from speech_contract import env, outcome
from speech_contract.errors import nearest
from speech_contract.outcome import Outcome
from speech_contract.progress import Progress

DEFAULT_STATE = ".speechtrain"
DEFAULT_NAMESPACE = "default"

OnUpdate = Callable[[Document, Progress | None], None]


class Backend(Protocol):
    """What the CLI needs of `speech_operator.local_run`."""

    def run_local(
        self,
        document: Mapping[str, Any],
        manifest_path: Path,
        state_root: Path,
        namespace: str,
        new: bool,
        volumes: Mapping[str, Path],
        on_update: OnUpdate,
    ) -> int:
        """Run, adopt or resume the job until it ends; the exit code of its outcome."""
        ...

    def suspend(self, state_root: Path, namespace: str, name: str) -> None:
        """Ask for suspension; whoever runs the job saves and frees."""
        ...

    def resume(self, state_root: Path, namespace: str, name: str, on_update: OnUpdate) -> int:
        """Take back the suspension and go on."""
        ...

    def load_job(self, state_root: Path, namespace: str, name: str) -> Document | None:
        """The job's document, None when there is no such job."""
        ...

    def list_jobs(self, state_root: Path, namespace: str | None) -> list[Document]:
        """Every job of the state."""
        ...

    def run_directory(self, state_root: Path, namespace: str, document: Document) -> Path:
        """`checkpoint.uri` of a job as a folder of this machine."""
        ...


def backend() -> Backend:
    """Import the controller. Raises MissingExtra when its packages are not installed."""
    return cast("Backend", lazily("speech_operator.local_run", "operator,trainer,cli"))


def state_root() -> Path:
    """Where local runs keep their state: SPEECHTRAIN_STATE, else `.speechtrain` below the working directory."""
    return Path(os.environ.get(env.LOCAL_STATE) or DEFAULT_STATE).absolute()


def state_dir(namespace: str, name: str) -> Path:
    """The folder of one job's state."""
    return state_root() / namespace / name


def find(namespace: str, name: str) -> Document:
    """The document of a job. Raises UserError naming the jobs that are there."""
    document = backend().load_job(state_root(), namespace, name)
    if document is not None:
        return document
    known = [
        str(mapping(job, "metadata").get("name"))
        for job in backend().list_jobs(state_root(), namespace)
    ]
    guess = nearest(name, known)
    have = f"did you mean {guess}?" if guess else f"jobs there: {', '.join(known) or 'none'}"
    raise UserError(f"job: {name!r} is not in namespace {namespace!r} below {state_root()}; {have}")


def outcomes(namespace: str, name: str) -> list[Outcome]:
    """What the pods of a job left in their termination files, as far as they can be read."""
    found = []
    for path in sorted((state_dir(namespace, name) / "pods").glob("*.termination.json")):
        told = outcome.decode(path.read_text(encoding="utf-8", errors="replace"))
        if told is not None:
            found.append(told)
    return found


def run_dir(document: Document, namespace: str) -> Path:
    """The run directory of a job on this machine."""
    return Path(backend().run_directory(state_root(), namespace, document))
