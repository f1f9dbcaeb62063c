"""The edge to local runs: the controller's `speech_operator.local_run`, and the state it keeps.

Commands speak to `backend()` and never import the controller themselves, so `--help` and `data` stay fast and
run without it; tests put a fake in its place.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from speech_cli.errors import NoSuchJob, UserError, absent
from speech_cli.extras import lazily
from speech_cli.rendering.view import Document, mapping
from speech_cli.watching import Watcher
from speech_contract import codec, env, outcome
from speech_contract.errors import ContractError
from speech_contract.outcome import Outcome
from speech_contract.progress import Progress
from speech_telemetry.trackers import missing

MOST_PATH = 200  # characters of a path in a sentence
DEFAULT_STATE = ".speechtrain"
DEFAULT_NAMESPACE = "default"
CONTROLLER_LOG = "controller.log"
EXTRA = "operator,trainer,cli"

T = TypeVar("T")
OnUpdate = Callable[[Document, Progress | None], None]


class Reader(Protocol):
    """What the CLI needs of `speech_operator.local_jobs`."""

    LocalRunError: type[Exception]

    def load_job(self, state_root: Path, namespace: str, name: str) -> Document | None:
        """The job's document, None when there is no such job."""
        ...

    def list_jobs(self, state_root: Path, namespace: str | None = ...) -> Sequence[Document]:
        """Every job of the state."""
        ...


class Backend(Protocol):
    """What the CLI needs of `speech_operator.local_run`."""

    LocalRunError: type[Exception]

    async def run_local(
        self,
        document: Mapping[str, Any],
        manifest_path: Path,
        state_root: Path,
        namespace: str = ...,
        new: bool = ...,
        volumes: Mapping[str, Path] | None = ...,
        on_update: OnUpdate | None = ...,
        on_notice: Callable[[str], None] | None = ...,
    ) -> int:
        """Run, adopt or resume the job until it ends; the exit code of its outcome."""
        ...

    async def suspend(self, state_root: Path, namespace: str, name: str) -> None:
        """Return once the job saved and freed the machine."""
        ...

    async def resume(
        self,
        state_root: Path,
        namespace: str,
        name: str,
        on_update: OnUpdate | None = ...,
        on_notice: Callable[[str], None] | None = ...,
    ) -> int:
        """Take back the suspension and go on."""
        ...


def backend() -> Backend:
    """Import the controller. Raises MissingExtra when its packages are not installed."""
    return cast("Backend", lazily("speech_operator.local_run", EXTRA))


def reader() -> Reader:
    """Import what reads the state, which is much less. Raises MissingExtra when its packages are not installed."""
    return cast("Reader", lazily("speech_operator.local_jobs", EXTRA))


def run(
    document: Document,
    path: Path,
    namespace: str,
    new: bool,
    volumes: Mapping[str, Path],
    watcher: Watcher,
    root: Path | None = None,
) -> int:
    """Run a manifest to its end; `root`: other state than the usual. Raises UserError for what a person can mend."""
    runs, state = backend(), root or state_root()
    if reason := missing(wandb=bool(mapping(document, "spec", "tracking").get("wandb"))):
        watcher.notice(reason)
    return _told(
        runs,
        runs.run_local(
            document, path, state, namespace, new, volumes, watcher.update, watcher.notice
        ),
    )


def resume(namespace: str, name: str, watcher: Watcher) -> int:
    """Continue a suspended job to its end. Raises UserError."""
    runs = backend()
    return _told(runs, runs.resume(state_root(), namespace, name, watcher.update, watcher.notice))


def suspend(namespace: str, name: str) -> None:
    """Suspend a job; returns once it saved. Raises UserError."""
    runs = backend()
    _told(runs, runs.suspend(state_root(), namespace, name))


def _told(runs: Backend, work: Coroutine[Any, Any, T]) -> T:
    import asyncio  # who reads jobs does without

    invalid: type[Exception] = lazily("speech_contract.api.validation", "cli").InvalidJob
    try:
        _log_to_file()
        return asyncio.run(work)
    except (runs.LocalRunError, invalid) as error:
        raise UserError(str(error)) from error
    except OSError as error:  # of the state folder, or of a run directory
        where = str(error.filename or state_root())[:MOST_PATH]
        remedy = f"name a folder that you may write to, in spec.checkpoint.uri or {env.LOCAL_STATE}"
        raise UserError(f"{where}: {error.strerror}; {remedy}") from error
    finally:
        work.close()


def _log_to_file() -> None:
    """The controller's log events go beside the state; the terminal shows the job, not its bookkeeping."""
    logger = logging.getLogger("speech_operator")
    if not logger.handlers:
        state_root().mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(state_root() / CONTROLLER_LOG, encoding="utf-8", delay=True)
        handler.setFormatter(lazily("speech_operator.events", EXTRA).JsonFormatter())
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False


def state_root() -> Path:
    """Where local runs keep their state: SPEECHTRAIN_STATE, else `.speechtrain` below the working directory."""
    return Path(os.environ.get(env.LOCAL_STATE) or DEFAULT_STATE).absolute()


def flags(namespace: str) -> str:
    """Options of a further command that lead to this namespace of this machine."""
    return "" if namespace == DEFAULT_NAMESPACE else f" -n {namespace}"


def state_dir(namespace: str, name: str, root: Path | None = None) -> Path:
    """The folder of one job's state."""
    return (root or state_root()) / namespace / name


def load(namespace: str, name: str) -> Document | None:
    """The document of a job; None when there is none. Raises UserError when its file is broken."""
    runs = reader()
    try:
        return runs.load_job(state_root(), namespace, name)
    except runs.LocalRunError as error:
        raise UserError(str(error)) from error


def jobs(namespace: str | None = None) -> Sequence[Document]:
    """Every job of the state, or of one namespace. Raises UserError when a file of it is broken."""
    runs = reader()
    try:
        return runs.list_jobs(state_root(), namespace)
    except runs.LocalRunError as error:
        raise UserError(str(error)) from error


def find(namespace: str, name: str) -> Document:
    """The document of a job. Raises NoSuchJob naming the jobs that are there."""
    document = load(namespace, name)
    if document is not None:
        return document
    every = [mapping(job, "metadata") for job in jobs()]
    known = [str(one.get("name")) for one in every if one.get("namespace") == namespace]
    elsewhere = [str(one.get("namespace")) for one in every if one.get("name") == name]
    have = absent(name, known, elsewhere)
    raise NoSuchJob(f"job: {name!r} is not in namespace {namespace!r} below {state_root()}; {have}")


def job_names(namespace: str, beginning: str = "") -> list[str]:
    """Names of the jobs whose state is kept here, from their folders alone: for completion, which must be quick."""
    try:
        found = [path.name for path in (state_root() / namespace).iterdir() if path.is_dir()]
    except OSError:
        return []
    return sorted(name for name in found if name.startswith(beginning))


def outcomes(namespace: str, name: str, root: Path | None = None) -> list[Outcome]:
    """What the pods of a job left in their termination files, as far as they can be read."""
    found = []
    for path in sorted((state_dir(namespace, name, root) / "pods").glob("*.termination.json")):
        told = outcome.decode(path.read_text(encoding="utf-8", errors="replace"))
        if told is not None:
            found.append(told)
    return found


def run_dir(document: Document, namespace: str, root: Path | None = None) -> Path:
    """The run directory of a job on this machine: what its newest run config says, else `checkpoint.uri`.

    Only the run config knows which folder stands for a volume, and what a relative path is relative to.
    """
    folder = state_dir(namespace, str(mapping(document, "metadata").get("name", "")), root)
    configs = sorted(
        (folder / "attempts").glob("*/run.json"),
        key=lambda path: int(path.parent.name) if path.parent.name.isdigit() else 0,
    )
    if configs:
        from speech_contract.run_config import RunConfig  # its defaults are all that has thresholds

        text = configs[-1].read_text(encoding="utf-8", errors="replace")
        try:
            return _short(codec.loads(RunConfig, text, str(configs[-1])).run_dir)
        except ContractError as error:
            raise UserError(f"{error}; move the folder away") from error
    return Path(str(mapping(document, "spec", "checkpoint").get("uri", ".")))


def _short(path: str) -> Path:
    """Without detours, and from the working directory when it lies below: what a person can copy."""
    straight = Path(os.path.normpath(path))
    here = Path.cwd()
    return straight.relative_to(here) if straight.is_relative_to(here) else straight
