"""The files of local jobs: `<root>/<namespace>/<job>/`. Called by `local` and `local_run`.

job.json                    the job document; replaced by rename, versioned, written under `lock`
lock, controller.lock       for one write; for as long as somebody drives the job
pods/<pod>.json             a `PodFile`: process, owner, end
pods/<pod>.termination.json the outcome, written by the supervisor; pods/<pod>.log its output
attempts/<N>/run.json       the run config, and accepted.json, the spec it was built from
events.jsonl                what on Kubernetes are Events
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from speech_contract import codec
from speech_contract import outcome as outcomes
from speech_contract.errors import ContractError
from speech_contract.outcome import Outcome
from speech_contract.values import Value, frozen
from speech_operator.cluster.base import ClusterError, Conflict
from speech_telemetry.files import replace_text

JOB, LOCK, CONTROLLER_LOCK = "job.json", "lock", "controller.lock"
PODS, ATTEMPTS, EVENTS = "pods", "attempts", "events.jsonl"
RUN_CONFIG, ACCEPTED = "run.json", "accepted.json"
ROOT_LOCK = "run-directories.lock"  # below the root: of `one_at_a_time`
VOLUMES = "volumes"  # beside the namespaces, so no namespace may be called so

Document = dict[str, Any]


@frozen
class PodFile(Value):
    """One pod's process. `start_ticks` tells it from a later process with the same pid. Times: epoch seconds."""

    name: str
    uid: str
    node_rank: int
    attempt: int
    owner_uid: str
    pid: int
    start_ticks: int
    created_at: float
    kill_at: float | None = None  # set: it is being deleted, and killed then
    exit_code: int | None = None
    finished_at: float | None = None

    @property
    def deleting(self) -> bool:
        """Whether somebody asked it to go."""
        return self.kill_at is not None

    @property
    def ended(self) -> bool:
        """Whether its process is known to be gone."""
        return self.finished_at is not None


class JobFolder:
    """One job's folder. Reads need no lock, for every file is replaced whole."""

    def __init__(self, root: Path, namespace: str, name: str) -> None:
        self.root = root
        self.path = root / namespace / name

    def exists(self) -> bool:
        """Whether there is a job, readable or not."""
        return (self.path / JOB).exists()

    def read_job(self) -> Document | None:
        """The job document; None when there is none. Raises ClusterError when it is unreadable."""
        text = _read(self.path / JOB)
        if text is None:
            return None
        document = _json(text, self.path / JOB)
        if not isinstance(document, dict) or not isinstance(document.get("metadata"), dict):
            raise ClusterError(f"{self.path / JOB} is no job; move the folder away")
        return document

    def create_job(self, document: Document) -> None:
        """Write the first version. Raises Conflict when there is a job already."""
        self.path.mkdir(parents=True, exist_ok=True)
        with self._locked():
            if (self.path / JOB).exists():
                raise Conflict(f"{self.path / JOB} exists already")
            self._replace_job(document, 1)

    def replace_status(self, status: Document, version: str) -> None:
        """Write `status` alone. Raises Conflict when the job is not at `version` any more."""
        with self._locked():
            current = self._at(version)
            self._replace_job({**current, "status": status}, int(version) + 1)

    def replace_spec(self, spec: Document, version: str) -> None:
        """Write `spec` alone, with the next generation. Raises Conflict as above."""
        with self._locked():
            current = self._at(version)
            metadata = current["metadata"]
            generation = metadata.get("generation", 0) + (spec != current["spec"])
            changed = {**current, "metadata": {**metadata, "generation": generation}, "spec": spec}
            self._replace_job(changed, int(version) + 1)

    def set_suspend(self, value: bool) -> None:
        """Change `runPolicy.suspend` whatever the version: nothing else of the spec is written."""
        with self._locked():
            current = self.read_job()
            if current is None:
                raise ClusterError(f"{self.path} holds no job")
            metadata, spec = current["metadata"], current["spec"]
            policy = {**(spec.get("runPolicy") or {}), "suspend": value}
            changed = {**spec, "runPolicy": policy}
            generation = metadata.get("generation", 0) + (changed != spec)
            metadata = {**metadata, "generation": generation}
            version = int(metadata["resourceVersion"])
            self._replace_job({**current, "metadata": metadata, "spec": changed}, version + 1)

    def remove(self) -> None:
        """Delete all of it."""
        shutil.rmtree(self.path, ignore_errors=True)

    def pods(self) -> list[PodFile]:
        """Every pod of the job, by name."""
        paths = sorted((self.path / PODS).glob("*.json"))
        names = [p.stem for p in paths if not p.stem.endswith(".termination")]
        return [pod for name in names if (pod := self.pod(name)) is not None]

    def pod(self, name: str) -> PodFile | None:
        """One pod; None when there is none."""
        text = _read(self.path / PODS / f"{name}.json")
        if text is None:
            return None
        try:
            return codec.loads(PodFile, text, str(self.path / PODS / f"{name}.json"))
        except ContractError as error:
            raise ClusterError(str(error)) from error

    def write_pod(self, pod: PodFile) -> None:
        """Write or replace a pod's record."""
        (self.path / PODS).mkdir(parents=True, exist_ok=True)
        replace_text(self.path / PODS / f"{pod.name}.json", codec.dumps(pod))

    def remove_pod(self, name: str) -> None:
        """Forget a pod. Its outcome and log stay to be read until the name is used again."""
        (self.path / PODS / f"{name}.json").unlink(missing_ok=True)

    def outcome(self, pod: PodFile) -> Outcome | None:
        """What the pod said of itself (attempt 0: before it could read its run config); no older pod's words."""
        text = _read(self.termination_log(pod.name))
        told = None if text is None else outcomes.decode(text)
        return told if told is not None and told.attempt in (0, pod.attempt) else None

    def termination_log(self, name: str) -> Path:
        """Where the pod's supervisor writes its outcome."""
        return self.path / PODS / f"{name}.termination.json"

    def pod_log(self, name: str) -> Path:
        """Where the supervisor's output goes."""
        return self.path / PODS / f"{name}.log"

    def attempts(self) -> list[int]:
        """Attempts that have a run config."""
        found = (self.path / ATTEMPTS).glob(f"*/{RUN_CONFIG}")
        return sorted(int(path.parent.name) for path in found if path.parent.name.isdigit())

    def run_config(self, attempt: int) -> Path:
        """The run config of an attempt."""
        return self.path / ATTEMPTS / str(attempt) / RUN_CONFIG

    def accepted(self, attempt: int) -> Path:
        """The spec that the attempt's run config was built from."""
        return self.path / ATTEMPTS / str(attempt) / ACCEPTED

    def append_event(self, event: Mapping[str, Any]) -> None:
        """One more line in events.jsonl."""
        with (self.path / EVENTS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(event, ensure_ascii=False) + "\n")

    def try_control(self) -> IO[str] | None:
        """Take the controller's lock for as long as the file stays open; None when somebody drives the job."""
        self.path.mkdir(parents=True, exist_ok=True)
        file = (self.path / CONTROLLER_LOCK).open("a", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        return file

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.path / LOCK).open("a", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _at(self, version: str) -> Document:
        current = self.read_job()
        if current is None or current["metadata"].get("resourceVersion") != version:
            raise Conflict(f"{self.path.name} is no longer at version {version}")
        return current

    def _replace_job(self, document: Document, version: int) -> None:
        metadata = {**document["metadata"], "resourceVersion": str(version)}
        text = json.dumps({**document, "metadata": metadata}, ensure_ascii=False, indent=1)
        replace_text(self.path / JOB, text)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ClusterError(f"{path} cannot be read: {error}") from error


def _json(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ClusterError(f"{path} is no JSON ({error}); move the folder away") from error


def job_folders(root: Path) -> list[tuple[str, str]]:
    """(namespace, name) of every job below the root."""
    found = (path.parent for path in root.glob(f"*/*/{JOB}"))
    return sorted((p.parent.name, p.name) for p in found if p.parent.name != VOLUMES)


@contextlib.contextmanager
def one_at_a_time(state_root: Path) -> Iterator[None]:
    """Two commands that start at once look one after the other, so the first one is seen by the second."""
    state_root.mkdir(parents=True, exist_ok=True)
    with (state_root / ROOT_LOCK).open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
