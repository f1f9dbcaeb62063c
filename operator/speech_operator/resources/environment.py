"""The environment of a pod: PyTorchJob's names, as torchrun reads them, and ours. Called by `pods`.

`WORLD_SIZE` counts ranks, also where PyTorchJob v1 counts nodes. Ours come after the user's, so they win.
"""

from __future__ import annotations

from typing import Any

from speech_contract import env, names, paths
from speech_contract.run_config import RunConfig

HOME = "/tmp/home"  # noqa: S108 - inside the container, on an emptyDir: the user has no passwd entry
INDUCTOR_CACHE = "/tmp/torchinductor"  # noqa: S108


def build_environment(config: RunConfig, node_rank: int) -> list[dict[str, Any]]:
    """Variables of the pod with this node rank, in the form of a container's `env`."""
    values = {
        "PYTHONUNBUFFERED": "1",
        env.MASTER_PORT: str(config.master_port),
        env.PET_MASTER_PORT: str(config.master_port),
        env.MASTER_ADDR: config.master_address,
        env.PET_MASTER_ADDR: config.master_address,
        env.WORLD_SIZE: str(config.world_size),
        env.RANK: str(node_rank),
        env.PET_NODE_RANK: str(node_rank),
        env.PET_NPROC_PER_NODE: str(config.ranks_per_node),
        env.PET_NNODES: str(config.num_nodes),
        env.RUN_CONFIG: paths.RUN_CONFIG_FILE,
        env.POD_NAME: names.pod_name(config.name, node_rank),
        env.TERMINATION_LOG: paths.TERMINATION_LOG,
        env.OMP_NUM_THREADS: str(config.omp_threads),
        "HOME": HOME,
        "USER": "speechtrain",
        "TORCHINDUCTOR_CACHE_DIR": INDUCTOR_CACHE,
    }
    listed: list[dict[str, Any]] = [{"name": k, "value": v} for k, v in values.items()]
    node = {"fieldRef": {"fieldPath": "spec.nodeName"}}
    return [*listed, {"name": env.NODE_NAME, "valueFrom": node}]


def merged(user: list[dict[str, Any]], ours: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The user's variables, then ours; of two with one name ours stays."""
    own = {variable["name"] for variable in ours}
    return [variable for variable in user if variable["name"] not in own] + ours
