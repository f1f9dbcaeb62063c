"""One job at a time in a run directory of this machine: asked before any pod starts. Called by `local_run`.

A job lives while somebody drives it or one of its processes runs; what is written in its status does not count, for
a machine may have gone down. Jobs of other state folders and of clusters are left to the supervisor's owner file.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from speech_contract import codec
from speech_contract.api import InvalidJob, parse
from speech_contract.errors import shorten
from speech_contract.owner import LAPTOP, Owner, in_use
from speech_contract.run_config import RunConfig
from speech_operator.cluster import local_process
from speech_operator.cluster.base import ClusterError
from speech_operator.cluster.local import ANNOTATION_MANIFEST, ANNOTATION_VOLUMES
from speech_operator.cluster.local_paths import local_path
from speech_operator.cluster.local_state import VOLUMES, JobFolder, job_folders
from speech_operator.local_follow import AT_REST, OnNotice, state_of
from speech_operator.local_jobs import LocalRunError
from speech_telemetry.ownership import mark_ended, records


def require_own_directory(folder: JobFolder, job: Mapping[str, Any], say: OnNotice) -> None:
    """Raises LocalRunError for a run directory that can't be one, or, by its name, that another job lives in."""
    place, uid = run_dir_of(folder, job), str(job["metadata"]["uid"])
    _require_folder(place, job["spec"]["checkpoint"]["uri"])
    dead = set()
    for other in _others(folder):
        try:
            document = other.read_job()
        except (
            ClusterError
        ) as error:  # one broken folder must not keep every other job from running
            say(f"{error}; whether it uses the same run directory is not known")
            continue
        if document is None or run_dir_of(other, document) != place:
            continue
        if _lives(other, document):
            raise LocalRunError(in_use(job["spec"]["checkpoint"]["uri"], _owner(other, document)))
        dead.add(str(document["metadata"]["uid"]))
    _follow(place, uid, dead, say)


def _require_folder(place: Path, uri: str) -> None:
    """Without one a script trains to its end and nothing of it is kept."""
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        remedy = "name a folder that you may write to"
        raise LocalRunError(
            f"spec.checkpoint.uri: {shorten(uri)} can't be a folder ({error.strerror}); {remedy}"
        ) from error


def _follow(place: Path, uid: str, dead: set[str], say: OnNotice) -> None:
    """What its supervisor could not write down when it was killed, we can: nobody has to wait for it."""
    newest = next(reversed(records(place)), None)
    if newest is None or newest.owner.uid == uid:
        return
    if newest.owner.uid in dead and not newest.ended:
        with contextlib.suppress(OSError):  # then its silence will tell
            mark_ended(place, newest)
    if newest.owner.uid in dead or newest.ended:
        say(f"the run directory was {newest.owner}'s; this job goes on from what that one saved")


def run_dir_of(folder: JobFolder, job: Mapping[str, Any]) -> Path:
    """Where a job writes: as its newest attempt was told, else as its first one will be."""
    attempts = folder.attempts()
    with contextlib.suppress(OSError, ValueError):
        if attempts:
            text = folder.run_config(attempts[-1]).read_text(encoding="utf-8")
            return _real(codec.loads(RunConfig, text).run_dir)
    uri = str(job["spec"]["checkpoint"]["uri"])
    annotations = job["metadata"].get("annotations") or {}
    manifest = Path(annotations.get(ANNOTATION_MANIFEST, str(folder.root / "job")))
    given = json.loads(annotations.get(ANNOTATION_VOLUMES, "{}"))
    try:
        spec = parse(job, local=True).spec
    except InvalidJob:  # of another version: it does not run either
        return _real(uri)
    volumes = {
        volume.name: Path(given.get(volume.name) or folder.root / VOLUMES / volume.name)
        for volume in spec.pod.volumes
    }
    return _real(local_path(uri, spec, manifest.parent, volumes))


def _real(path: str) -> Path:
    return Path(os.path.realpath(path))


def _others(folder: JobFolder) -> Iterator[JobFolder]:
    for namespace, name in job_folders(folder.root):
        other = JobFolder(folder.root, namespace, name)
        if other.path != folder.path:
            yield other


def _lives(folder: JobFolder, job: Mapping[str, Any]) -> bool:
    if any(local_process.alive(pod.pid, pod.start_ticks) for pod in folder.pods()):
        return True
    if state_of(job) in AT_REST:
        return False
    lock = folder.try_control()
    if lock is None:
        return True
    lock.close()
    return False


def _owner(folder: JobFolder, job: Mapping[str, Any]) -> Owner:
    attempt = int((job.get("status") or {}).get("attempt") or 0)
    name, namespace = folder.path.name, folder.path.parent.name
    return Owner(str(job["metadata"]["uid"]), namespace, name, attempt, LAPTOP)
