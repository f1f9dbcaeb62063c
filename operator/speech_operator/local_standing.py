"""Whether anybody stands behind the status of a local job: asked before it is shown. Called by `local_jobs`.

The kernel frees the controller's lock when `speechtrain run` dies, however it died; the processes of the job go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from speech_contract.unattended import NOBODY, rests, unattended
from speech_operator.cluster import local_process
from speech_operator.cluster.local_state import JobFolder, PodFile, one_at_a_time


def shown(folder: JobFolder, document: Mapping[str, Any]) -> dict[str, Any]:
    """The job as a person should see it: of one that nobody drives nothing is known but what was written last."""
    if rests(document) or _is_driven(folder):
        return dict(document)
    pods = folder.pods()
    gone = not any(local_process.alive(pod.pid, pod.start_ticks) for pod in pods)
    evidence = f"{NOBODY}; {_of_processes(folder, pods, gone)}"
    remedy = f"`{_resume(folder)}` takes it up where it stands, as `speechtrain run FILE` does"
    return unattended(document, evidence, remedy, gone=gone)


def _is_driven(folder: JobFolder) -> bool:
    """Asking takes the lock for a moment, so nobody may start meanwhile. Whose lock we can't open is not accused."""
    try:
        with one_at_a_time(folder.root):
            lock = folder.try_control()
            if lock is None:
                return True
            lock.close()
    except OSError:
        return True
    return False


def _of_processes(folder: JobFolder, pods: list[PodFile], gone: bool) -> str:
    if not gone:
        return "its processes go on, and nobody acts upon what they report"
    told = [folder.outcome(pod) for pod in pods]
    codes = {one.exit_code for one in told if one is not None and one.exit_code is not None}
    ended = f" (exit code {', '.join(map(str, sorted(codes)))})" if codes else ""
    return f"none of its processes runs{ended}"


def _resume(folder: JobFolder) -> str:
    namespace = folder.path.parent.name
    where = "" if namespace == "default" else f" -n {namespace}"
    return f"speechtrain resume {folder.path.name}{where}"
