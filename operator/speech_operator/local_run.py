"""Runs jobs on this machine: what `speechtrain run`, `suspend`, `resume` and `status` call.

One controller drives a job at a time, held by a lock that the kernel frees when it dies. Everything else is
in the state folder, so whoever comes next takes the job up as it is: adopts living pods, counts dead ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from speech_contract import names
from speech_contract.api import JobSpec, changed_immutable, parse, spec_document
from speech_contract.reasons import State
from speech_contract.run_config import Device
from speech_operator.cluster.base import JobKey
from speech_operator.cluster.local import ANNOTATION_MANIFEST, ANNOTATION_VOLUMES
from speech_operator.cluster.local_paths import ignored_fields
from speech_operator.cluster.local_pod import Machine
from speech_operator.cluster.local_state import VOLUMES, JobFolder, one_at_a_time
from speech_operator.local_follow import (
    AT_REST,
    LOOK_SECONDS,
    Follower,
    OnNotice,
    OnUpdate,
    exit_code,
    state_of,
)
from speech_operator.local_jobs import LocalRunError, in_sentences, list_jobs, load_job
from speech_operator.local_owner import require_own_directory
from speech_operator.timestamps import to_text

Document = dict[str, Any]

__all__ = [
    "LocalRunError",
    "OnUpdate",
    "list_jobs",
    "load_job",
    "resume",
    "run_local",
    "suspend",
]


async def run_local(
    document: Mapping[str, Any],
    manifest_path: Path,
    state_root: Path,
    namespace: str = "default",
    new: bool = False,
    volumes: Mapping[str, Path] | None = None,
    on_update: OnUpdate | None = None,
    on_notice: OnNotice | None = None,
    machine: Machine | None = None,
) -> int:
    """Create, adopt, continue or resume the job, and follow it to its end.

    Returns the outcome's exit code: 0 Complete, 75 suspended (also by the first interrupt: SIGINT or SIGTERM,
    handled here; 130 after the second), else the failing code. `on_notice` gets sentences to show.
    Raises InvalidJob (the manifest), LocalRunError (immutable change, another controller, too few devices, a run
    directory that another job lives in).
    """
    say = on_notice or (lambda sentence: None)
    job = parse(document, local=True)
    check_machine(job.spec, machine or Machine.here())
    check_volumes(job.spec, volumes or {}, namespace)
    if ignored := ignored_fields(job.spec):
        say(f"on one machine these fields mean nothing: {', '.join(ignored)}")
    wanted = _job_document(document, job.spec, manifest_path, namespace, volumes or {})
    folder = JobFolder(state_root, namespace, job.metadata.name)
    if new and folder.exists():
        wanted, folder = _beside(wanted, state_root, namespace, say)
    key = JobKey(namespace, folder.path.name)
    with in_sentences(), contextlib.ExitStack() as stack:
        with one_at_a_time(state_root):
            follower = stack.enter_context(Follower(folder, key, on_update, say))
            code = _prepare(folder, wanted, follower, say)
        return await follower.follow() if code is None else code


async def suspend(state_root: Path, namespace: str, name: str) -> None:
    """Set `suspend: true` and return once saved and freed; drives the job itself when nobody else does.

    Raises LocalRunError when there is no such job or it has ended.
    """
    folder = JobFolder(state_root, namespace, name)
    with in_sentences():
        _set_suspend(folder, True)
        await _until_at_rest(folder, JobKey(namespace, name))


async def _until_at_rest(folder: JobFolder, key: JobKey) -> None:
    """Wait for whoever drives the job; drive it ourselves when nobody does."""
    while not is_at_rest(folder.read_job()):
        with contextlib.ExitStack() as stack:
            with one_at_a_time(folder.root):
                lock = folder.try_control()
                if lock is not None:
                    lock.close()
                    follower = Follower(folder, key, None, lambda sentence: None)
                    stack.enter_context(follower)
            if lock is not None:
                await follower.follow()
                continue
        await asyncio.sleep(LOOK_SECONDS)


async def resume(
    state_root: Path,
    namespace: str,
    name: str,
    on_update: OnUpdate | None = None,
    on_notice: OnNotice | None = None,
) -> int:
    """Set `suspend: false` and follow the job as `run_local` does. Raises LocalRunError."""
    folder = JobFolder(state_root, namespace, name)
    say = on_notice or (lambda sentence: None)
    with in_sentences(), contextlib.ExitStack() as stack:
        with one_at_a_time(state_root):
            key = JobKey(namespace, name)
            follower = stack.enter_context(Follower(folder, key, on_update, say))
            stored = folder.read_job()
            if stored is not None and not is_at_end(stored):
                require_own_directory(folder, stored, say)
            _set_suspend(folder, False)
        return await follower.follow()


def is_at_rest(document: Mapping[str, Any] | None) -> bool:
    """Whether nothing of the job will run until somebody says so."""
    return document is None or state_of(document) in AT_REST


def is_at_end(document: Mapping[str, Any]) -> bool:
    """Whether it is Complete or Failed, for good."""
    return state_of(document) in (State.COMPLETE.value, State.FAILED.value)


def check_machine(spec: JobSpec, machine: Machine) -> None:
    """Raises LocalRunError when the ranks do not fit on this machine."""
    per_node = spec.nproc_per_node or 1
    ranks = per_node * spec.num_nodes
    if machine.gpus and spec.training.device is not Device.CPU:
        if ranks > machine.gpus:
            raise LocalRunError(
                f"spec.nprocPerNode: {per_node} on {spec.num_nodes} nodes is {ranks} ranks, this machine shows"
                f" {machine.gpus} GPUs; lower nprocPerNode or numNodes, or set training.device: CPU"
            )
    elif per_node > machine.cores:
        raise LocalRunError(
            f"spec.nprocPerNode: {per_node} is more than the {machine.cores} cores of this machine;"
            f" write at most {machine.cores}"
        )


def check_volumes(spec: JobSpec, volumes: Mapping[str, Path], namespace: str) -> None:
    """Raises LocalRunError for a --volume that the manifest does not know, or a namespace that cannot be one."""
    known = [volume.name for volume in spec.pod.volumes]
    for name in volumes:
        if name not in known:
            have = ", ".join(known) or "none"
            raise LocalRunError(
                f"--volume {name}: names no volume of spec.pod.volumes; there: {have}"
            )
    if namespace == VOLUMES or "/" in namespace or namespace.startswith("."):
        raise LocalRunError(
            f"--namespace {namespace}: cannot be a folder of the state; use another"
        )


def _job_document(
    document: Mapping[str, Any],
    spec: JobSpec,
    manifest_path: Path,
    namespace: str,
    volumes: Mapping[str, Path],
) -> Document:
    """The job as a cluster would keep it, with what only this machine knows as annotations."""
    places = {name: str(place.absolute()) for name, place in volumes.items()}
    annotations = {
        **(document["metadata"].get("annotations") or {}),
        ANNOTATION_MANIFEST: str(manifest_path.absolute()),
        ANNOTATION_VOLUMES: json.dumps(places),
    }
    metadata = {
        **document["metadata"],
        "namespace": namespace,
        "uid": str(uuid.uuid4()),
        "generation": 1,
        "creationTimestamp": to_text(time.time()),
        "annotations": annotations,
    }
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": metadata,
        "spec": spec_document(spec),
    }


def _beside(
    wanted: Document, state_root: Path, namespace: str, say: Callable[[str], None]
) -> tuple[Document, JobFolder]:
    """The same job under the next free name, with a run directory of its own: nothing old is touched."""
    old, number = wanted["metadata"]["name"], 2
    while (state_root / namespace / f"{old}-{number}").exists():
        number += 1
    name = f"{old}-{number}"
    spec = json.loads(json.dumps(wanted["spec"]))
    spec["checkpoint"]["uri"] = f"{spec['checkpoint']['uri'].rstrip('/')}-{number}"
    say(f"starts over as {name}, run directory {spec['checkpoint']['uri']}")
    wanted = {**wanted, "metadata": {**wanted["metadata"], "name": name}, "spec": spec}
    parse(wanted, local=True)
    return wanted, JobFolder(state_root, namespace, name)


def _prepare(
    folder: JobFolder, wanted: Document, follower: Follower, say: Callable[[str], None]
) -> int | None:
    """Bring the state to where the controller can go on; the exit code when there is nothing to do."""
    stored = folder.read_job()
    if stored is None:
        require_own_directory(folder, wanted, say)
        folder.create_job(wanted)
        return None
    name = folder.path.name
    changed = changed_immutable(_spec(stored), _spec(wanted))
    if changed:
        remedy = "`speechtrain run --new` starts over beside it"
        raise LocalRunError("\n".join([*map(str, changed), remedy]))
    if is_at_end(stored):
        say(
            f"{name} has ended as {state_of(stored)}; `speechtrain run --new` starts over beside it"
        )
        follower.show(stored)
        return exit_code(stored)
    require_own_directory(folder, stored, say)
    if stored["spec"] != wanted["spec"]:
        folder.replace_spec(wanted["spec"], stored["metadata"]["resourceVersion"])
    say(_taking_up(stored, folder))
    return None


def _taking_up(stored: Document, folder: JobFolder) -> str:
    name = folder.path.name
    if state_of(stored) == State.SUSPENDED.value:
        return f"{name} was suspended; it resumes from its last checkpoint"
    return f"{name} is known here; its pods are taken over as they are"


def _spec(document: Mapping[str, Any]) -> JobSpec:
    return parse(document, local=True).spec


def _set_suspend(folder: JobFolder, value: bool) -> None:
    """Change `runPolicy.suspend`, whoever else writes at this moment."""
    job = folder.read_job()
    if job is None:
        raise LocalRunError(f"job: {folder.path.name!r} is not below {folder.path.parent}")
    if is_at_end(job):
        raise LocalRunError(f"job: {folder.path.name!r} has ended as {state_of(job)}")
    folder.set_suspend(value)
