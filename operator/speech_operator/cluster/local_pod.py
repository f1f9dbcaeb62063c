"""One pod on this machine: its command, environment, start and end, and what it looks like to the operator.

Called by `local`.
"""

from __future__ import annotations

import os
import socket
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from speech_contract import env
from speech_contract.outcome import EXIT_DONE
from speech_contract.run_config import Device, RunConfig
from speech_contract.values import Value, frozen
from speech_operator.cluster import local_process
from speech_operator.cluster.base import ClusterError, Unsatisfiable
from speech_operator.cluster.local_state import JobFolder, PodFile
from speech_operator.snapshot import PodPhase, PodRecord

TAIL_BYTES: Final = 2000  # of a pod's output, when it left no outcome
# Of a container's environment: what belongs to an image, not to this machine.
OF_THE_IMAGE: Final = frozenset({"HOME", "USER", "TORCHINDUCTOR_CACHE_DIR"})
DEVICES: Final = "CUDA_VISIBLE_DEVICES"


@frozen
class Machine(Value):
    """What this machine has."""

    cores: int
    gpus: int
    host: str

    @staticmethod
    def here(environ: Mapping[str, str] = os.environ) -> Machine:
        """The machine this runs on."""
        return Machine(len(os.sched_getaffinity(0)), visible_gpus(environ), socket.gethostname())


def visible_gpus(environ: Mapping[str, str], devices: Path = Path("/dev")) -> int:
    """GPUs that a process may use, told without importing torch."""
    found = sum(path.name[6:].isdigit() for path in devices.glob("nvidia[0-9]*"))
    chosen = environ.get(DEVICES)
    if chosen is None:
        return found
    return min(found, len([one for one in chosen.split(",") if one.strip()]))


def command(words: Sequence[str], launcher: Sequence[str]) -> list[str]:
    """A container's command on this machine: our launcher, and the running interpreter for `python`."""
    split = "--" in words
    inner = list(words[words.index("--") + 1 :] if split else words)
    if not inner:
        raise Unsatisfiable("spec.trainer.command: is empty; write the command to run")
    if inner[0] in ("python", "python3"):
        inner[0] = sys.executable
    return [*launcher, "--", *inner] if split else inner


def environment(
    folder: JobFolder,
    container: Mapping[str, Any],
    config: RunConfig,
    machine: Machine,
    inherited: Mapping[str, str],
) -> dict[str, str]:
    """The environment of the pod: this machine's, then the container's, then the paths of the state."""
    given = {v["name"]: v["value"] for v in container["env"] if "value" in v}
    ours = {
        env.RUN_CONFIG: str(folder.run_config(config.attempt).absolute()),
        env.TERMINATION_LOG: str(folder.termination_log(given[env.POD_NAME]).absolute()),
        env.NODE_NAME: machine.host,
    }
    foreign = ("PET_", "TORCHELASTIC_")  # of a torchrun that we may run under
    base = {name: value for name, value in inherited.items() if not name.startswith(foreign)}
    kept = {name: value for name, value in given.items() if name not in OF_THE_IMAGE}
    share = _devices(config, int(given[env.PET_NODE_RANK]), machine, inherited)
    return {**base, **share, **kept, **ours}


def _devices(
    config: RunConfig, node_rank: int, machine: Machine, inherited: Mapping[str, str]
) -> dict[str, str]:
    """Several pods on one machine share out its GPUs."""
    if not machine.gpus or config.num_nodes == 1 or config.training.device is Device.CPU:
        return {}
    visible = inherited.get(DEVICES)
    every = visible.split(",") if visible else [str(index) for index in range(machine.gpus)]
    first = node_rank * config.ranks_per_node
    return {DEVICES: ",".join(every[first : first + config.ranks_per_node])}


def start(
    folder: JobFolder,
    config: RunConfig,
    owner_uid: str,
    words: Sequence[str],
    environ: Mapping[str, str],
    place: Path,
    clock: Callable[[], float],
) -> None:
    """Start the pod's process in `place`; it is on record before it does anything. Raises ClusterError."""
    name = environ[env.POD_NAME]
    folder.termination_log(name).parent.mkdir(parents=True, exist_ok=True)
    folder.termination_log(name).unlink(missing_ok=True)
    try:
        process = local_process.start(words, environ, place, folder.pod_log(name))
    except OSError as error:
        raise ClusterError(f"pod {name} cannot be started: {error}") from error
    pod = PodFile(
        name=name,
        uid=str(uuid.uuid4()),
        node_rank=int(environ[env.PET_NODE_RANK]),
        attempt=config.attempt,
        owner_uid=owner_uid,
        pid=process.pid,
        start_ticks=process.start_ticks,
        created_at=clock(),
    )
    folder.write_pod(pod)
    process.open_gate()


def record(folder: JobFolder, pod: PodFile, host: str) -> PodRecord:
    """The pod as reconcile sees it."""
    told = folder.outcome(pod)
    phase = PodPhase.RUNNING
    if pod.ended:
        phase = PodPhase.SUCCEEDED if pod.exit_code == EXIT_DONE else PodPhase.FAILED
    return PodRecord(
        name=pod.name,
        uid=pod.uid,
        node_rank=pod.node_rank,
        attempt=pod.attempt,
        owner_uid=pod.owner_uid,
        phase=phase,
        deleting=pod.deleting,
        exit_code=pod.exit_code,
        finished_at=pod.finished_at,
        outcome=told,
        message="" if told or not pod.ended else tail(folder.pod_log(pod.name)),
        node=host,
        created_at=pod.created_at,
    )


def tail(path: Path) -> str:
    """The end of a pod's output."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
