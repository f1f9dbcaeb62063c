"""LocalCluster: the pods of a job as processes on this machine, its state in files. Driven by the controller.

Same port, same rules as Kubernetes: fixed names, uid preconditions, versions, and an exit code only from the
outcome. A pod is its supervisor, which runs in a session of its own and survives whoever started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import json
import os
import socket
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

from speech_contract import codec, names, wire
from speech_contract.api import InvalidJob, JobSpec, parse_spec
from speech_contract.errors import ContractError
from speech_contract.outcome import EXIT_KILLED
from speech_contract.run_config import RunConfig
from speech_operator.child_kind import ChildKind, ChildRecord, R, Record
from speech_operator.children import CONFIG_MAP, POD, SERVICE
from speech_operator.cluster import http, local_pod, local_process
from speech_operator.cluster.base import (
    AlreadyExists,
    ClusterError,
    Conflict,
    JobKey,
)
from speech_operator.cluster.local_paths import localised
from speech_operator.cluster.local_pod import Machine
from speech_operator.cluster.local_state import (
    VOLUMES,
    JobFolder,
    PodFile,
    job_folders,
)
from speech_operator.plan import JobEvent, Mark
from speech_operator.resources.config_map import ACCEPTED, RUN
from speech_operator.snapshot import Endpoints, NodeRecord, Platform, PodRecord, RuntimeRecord
from speech_operator.timestamps import to_text
from speech_telemetry.files import replace_text

LOOPBACK: Final = "127.0.0.1"
ANNOTATION_MANIFEST: Final = f"{names.GROUP}/manifest"
ANNOTATION_VOLUMES: Final = f"{names.GROUP}/volumes"  # JSON: name → directory
POLL_SECONDS: Final = 0.2
PROGRESS_TIMEOUT_SECONDS: Final = 5.0  # beyond the time that was asked for
LAUNCHER: Final = (sys.executable, "-m", "speech_telemetry.launch")


class LocalCluster:
    """A `Cluster` of one machine. `only` limits it to one job: others may have their own controller."""

    def __init__(
        self,
        state_root: Path,
        clock: Callable[[], float],
        *,
        only: JobKey | None = None,
        machine: Machine | None = None,
        launcher: Sequence[str] = LAUNCHER,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._root = state_root
        self._clock = clock
        self._only = only
        self._machine = machine or Machine.here()
        self._launcher = tuple(launcher)
        self._poll_seconds = poll_seconds

    @property
    def platform(self) -> Platform:
        """One machine with so many cores."""
        return Platform(local=True, cores=self._machine.cores)

    async def watch(self, mark: Callable[[JobKey], None]) -> None:
        """Call `mark` for each job that is new, changed or gone, until cancelled; looks every moment.

        Also kills what outstayed its grace and forgets what was deleted.
        """
        known: dict[JobKey, object] = {}
        while True:
            for key in self._keys():
                state = self._look(key)
                if known.get(key) != state:
                    known[key] = state
                    mark(key)
            for key in set(known) - set(self._keys()):
                del known[key]
                mark(key)
            await asyncio.sleep(self._poll_seconds)

    async def get_job(self, key: JobKey) -> Mapping[str, Any] | None:
        """The job document."""
        return self._folder(key).read_job()

    async def list_jobs(self) -> list[Mapping[str, Any]]:
        """None: `local_owner` looks at the others before a job starts."""
        return []

    async def list_children(self, key: JobKey, kind: ChildKind[R], uid: str) -> Sequence[R]:
        """Pods and run configs by name; of other kinds one machine needs only the Service, which is as if there."""
        return cast("Sequence[R]", self._children(key, kind, uid))

    def _children(self, key: JobKey, kind: ChildKind[Any], uid: str) -> Sequence[Record]:
        folder = self._folder(key)
        if kind is POD:
            return self.pods(key)
        if kind is CONFIG_MAP:
            name = functools.partial(names.config_name, key.name)
            return [LocalConfig(name(n), uid, n, folder) for n in folder.attempts()]
        return [ChildRecord(names.service_name(key.name), "", uid)] if kind is SERVICE else []

    def pods(self, key: JobKey) -> list[PodRecord]:
        """The job's pods; ends are found out here."""
        folder, host = self._folder(key), self._machine.host
        return [local_pod.record(folder, self._refreshed(folder, p), host) for p in folder.pods()]

    async def endpoints(self, key: JobKey, nodes: int, config: RunConfig | None) -> Endpoints:
        """The attempt's own, or free ports of this moment."""
        if config is not None:
            addresses = tuple(config.supervisor_addresses)
            return Endpoints(config.master_address, config.master_port, addresses)
        master, *supervisors = free_ports(nodes + 1)
        return Endpoints(LOOPBACK, master, tuple(f"{LOOPBACK}:{port}" for port in supervisors))

    async def put_status(self, key: JobKey, document: dict[str, Any], version: str) -> None:
        """Replace the status, if the job is still at `version`."""
        self._folder(key).replace_status(document, version)

    async def create(self, key: JobKey, kind: ChildKind[Any], manifest: Mapping[str, Any]) -> None:
        """Start a pod's process, write a run config; of other kinds one machine needs none."""
        if kind is POD:
            self._start_pod(key, manifest)
        elif kind is CONFIG_MAP:
            self._write_run_config(key, manifest)

    async def delete(
        self,
        key: JobKey,
        kind: ChildKind[Any],
        name: str,
        uid: str,
        grace_seconds: int | None = None,
    ) -> None:
        """End a pod's process; drop a run config."""
        if kind is POD:
            self._end_pod(key, name, uid, grace_seconds or 0)
        elif kind is CONFIG_MAP:
            self._drop_run_config(key, name)

    def _write_run_config(self, key: JobKey, manifest: Mapping[str, Any]) -> None:
        """Write run.json with the paths of this machine; the accepted spec goes first, for run.json counts."""
        folder, data = self._folder(key), manifest["data"]
        config = codec.loads(RunConfig, data[RUN])
        path, accepted_path = folder.run_config(config.attempt), folder.accepted(config.attempt)
        if path.exists():
            raise AlreadyExists(manifest["metadata"]["name"], ours=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": key.name, "namespace": key.namespace},
            "spec": json.loads(data[ACCEPTED]),
        }
        replace_text(accepted_path, json.dumps(document, ensure_ascii=False))
        accepted = _accepted(accepted_path)
        assert accepted is not None, "it was accepted a moment ago"
        place, volumes = self._places(folder, accepted)
        replace_text(path, codec.dumps(localised(config, accepted, place.parent, volumes)))

    def _drop_run_config(self, key: JobKey, name: str) -> None:
        """Drop the attempt from those that count; people may still read what it was."""
        folder = self._folder(key)
        for attempt in folder.attempts():
            if names.config_name(key.name, attempt) == name:
                path = folder.run_config(attempt)
                with contextlib.suppress(FileNotFoundError):
                    path.rename(path.with_name(f"old-{path.name}"))

    def _start_pod(self, key: JobKey, manifest: Mapping[str, Any]) -> None:
        """Start the pod's process; on record before it does anything."""
        folder = self._folder(key)
        metadata = manifest["metadata"]
        name, owner = metadata["name"], metadata["ownerReferences"][0]["uid"]
        attempt = int(metadata["labels"][names.LABEL_ATTEMPT])
        there = folder.pod(name)
        if there is not None:
            ours = there.owner_uid == owner and there.attempt == attempt
            raise AlreadyExists(name, ours=ours)
        config = _config(folder.run_config(attempt))
        if config is None:
            raise ClusterError(f"attempt {attempt} of {key} has no run config")
        machine, place = self._machine, self._manifest(folder).parent
        container = manifest["spec"]["containers"][0]
        environ = local_pod.environment(folder, container, config, machine, os.environ)
        command = local_pod.command(container.get("command", []), self._launcher)
        local_pod.start(folder, config, owner, command, environ, place, self._clock)

    def _end_pod(self, key: JobKey, name: str, uid: str, grace_seconds: int) -> None:
        """SIGTERM now, SIGKILL after the grace."""
        folder = self._folder(key)
        pod = folder.pod(name)
        if pod is None:
            return
        if pod.uid != uid:
            raise Conflict(f"pod {name} has another uid")
        pod = self._refreshed(folder, pod)
        if pod.ended:
            folder.remove_pod(name)
            return
        kill_at = self._clock() + grace_seconds
        sooner = kill_at if pod.kill_at is None else min(kill_at, pod.kill_at)
        folder.write_pod(dataclasses.replace(pod, kill_at=sooner))
        local_process.terminate(pod.pid, pod.start_ticks)

    async def nodes(self, wanted: Collection[str]) -> Mapping[str, NodeRecord]:
        """One machine does not watch itself."""
        return {}

    async def mark(self, key: JobKey, mark: Mark) -> None:
        """Nothing: one machine has no objects of other controllers."""

    async def delete_job(self, key: JobKey, uid: str) -> None:
        """End its processes and delete its folder; volumes and the run directory stay."""
        folder = self._folder(key)
        self.kill_pods(key)
        folder.remove()

    async def post_event(self, key: JobKey, uid: str, event: JobEvent) -> None:
        """One line in events.jsonl."""
        kind = "Warning" if event.warning else "Normal"
        line = {"time": to_text(self._clock()), "type": kind, "reason": event.reason}
        self._folder(key).append_event({**line, "message": event.message})

    async def get_progress(
        self, key: JobKey, config: RunConfig, since: str, wait_seconds: float
    ) -> bytes:
        """Ask the master's supervisor."""
        path = f"{wire.PATH_PROGRESS}?since={since}&wait={wait_seconds:g}"
        timeout = wait_seconds + PROGRESS_TIMEOUT_SECONDS
        address = config.supervisor_addresses[0]
        return await http.get(address, path, timeout, wire.PROGRESS_LIMIT_BYTES)

    def kill_pods(self, key: JobKey) -> None:
        """Kill every process of the job at once; what was saved stays."""
        folder = self._folder(key)
        for pod in folder.pods():
            if not pod.ended:
                folder.write_pod(dataclasses.replace(pod, kill_at=self._clock()))
                local_process.kill(pod.pid, pod.start_ticks)

    def _keys(self) -> list[JobKey]:
        found = [JobKey(*pair) for pair in job_folders(self._root)]
        return [key for key in found if self._only in (None, key)]

    def _folder(self, key: JobKey) -> JobFolder:
        return JobFolder(self._root, key.namespace, key.name)

    def _look(self, key: JobKey) -> object:
        """What changes when the key is dirty: the job's version, and each pod's stage."""
        folder = self._folder(key)
        job = folder.read_job()
        stages = [self._stage(folder, pod) for pod in folder.pods()]
        return job and job["metadata"].get("resourceVersion"), stages

    def _stage(self, folder: JobFolder, pod: PodFile) -> tuple[str, bool, bool]:
        """One step on for a pod under deletion: killed when its time is over, forgotten once its end was seen."""
        if pod.ended and pod.deleting:
            folder.remove_pod(pod.name)
        elif pod.kill_at is not None and self._clock() >= pod.kill_at:
            local_process.kill(pod.pid, pod.start_ticks)
        pod = self._refreshed(folder, pod)
        return pod.uid, pod.ended, pod.deleting

    def _refreshed(self, folder: JobFolder, pod: PodFile) -> PodFile:
        """The pod with its end, when its process is gone."""
        if pod.ended or local_process.alive(pod.pid, pod.start_ticks):
            return pod
        code = local_process.reap(pod.pid)
        told = folder.outcome(pod)
        if told is not None and told.exit_code is not None:
            code = told.exit_code
        code = EXIT_KILLED if code is None else code
        ended = dataclasses.replace(pod, exit_code=code, finished_at=self._clock())
        folder.write_pod(ended)
        return ended

    def _manifest(self, folder: JobFolder) -> Path:
        return Path(self._annotations(folder).get(ANNOTATION_MANIFEST, str(self._root / "job")))

    def _annotations(self, folder: JobFolder) -> Mapping[str, str]:
        job = folder.read_job()
        return (job or {"metadata": {}})["metadata"].get("annotations", {})  # type: ignore[no-any-return]

    def _places(self, folder: JobFolder, spec: JobSpec) -> tuple[Path, dict[str, Path]]:
        """The manifest, and each volume's directory, which is made when it is ours."""
        given = json.loads(self._annotations(folder).get(ANNOTATION_VOLUMES, "{}"))
        volumes = {}
        for volume in spec.pod.volumes:
            place = Path(given.get(volume.name) or self._root / VOLUMES / volume.name)
            place.mkdir(parents=True, exist_ok=True)
            volumes[volume.name] = place.absolute()
        return self._manifest(folder), volumes


@dataclasses.dataclass(frozen=True)
class LocalConfig:
    """A `ConfigRecord` out of the files of an attempt."""

    name: str
    owner_uid: str
    attempt: int
    folder: JobFolder
    uid: str = ""  # files have none

    @property
    def run(self) -> RunConfig | None:
        """run.json."""
        return _config(self.folder.run_config(self.attempt))

    @property
    def accepted(self) -> JobSpec | None:
        """accepted.json."""
        return _accepted(self.folder.accepted(self.attempt))

    @property
    def runtime(self) -> RuntimeRecord | None:
        """It was merged into the manifest before."""
        return None


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((LOOPBACK, 0))
        return [one.getsockname()[1] for one in sockets]


def _config(path: Path) -> RunConfig | None:
    try:
        return codec.loads(RunConfig, path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        return None
    except ContractError as error:
        raise ClusterError(str(error)) from error


def _accepted(path: Path) -> JobSpec | None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    try:
        return parse_spec(document.get("spec"), local=True)
    except InvalidJob:
        return None
