"""Who this pod is: the run config, its place in the job, and the environment of each local rank. Pure.

Called by `launch` (once) and by `supervisor` (per rank). Reading files and the environment is `launch`'s.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

from speech_contract import codec, env, names, paths
from speech_contract.errors import ContractError
from speech_contract.recipes import Copies, CustomRecipe, RecipeSpec
from speech_contract.run_config import Checkpoint, RunConfig, Training, attempt_token

DEFAULT_RUN_DIR = "speechtrain-run"  # below the working directory, without a run config
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclasses.dataclass(frozen=True)
class Pod:
    """One pod of one attempt."""

    config: RunConfig
    node_rank: int
    name: str
    node: str
    command: tuple[str, ...]
    copies: Copies
    termination_log: Path | None
    described: bool = True  # a run config was given

    @property
    def is_master(self) -> bool:
        """Node rank 0 judges the whole job."""
        return self.node_rank == 0

    @property
    def ranks(self) -> range:
        """Global ranks of the processes that this pod starts."""
        first = self.node_rank * self.config.ranks_per_node
        return range(first, first + (1 if self.copies is Copies.ONE else self._per_node))

    @property
    def expected_ranks(self) -> dict[int, int]:
        """Global rank → node rank of every process of the job that is known of beforehand."""
        started = 1 if self.copies is Copies.ONE else self._per_node
        nodes = range(self.config.num_nodes)
        return {node * self._per_node + local: node for node in nodes for local in range(started)}

    @property
    def run_dir(self) -> Path:
        """The run directory."""
        return Path(self.config.run_dir)

    @property
    def _per_node(self) -> int:
        return self.config.ranks_per_node


def address(text: str) -> tuple[str, int]:
    """`host:port` → (host, port); brackets around an IPv6 host are taken off. Raises ContractError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise ContractError("supervisorAddresses", text, "is no address", "write host:port")
    return host.strip("[]"), int(port)


def load_pod(
    command: tuple[str, ...], environ: Mapping[str, str], text: str | None, *, wrap: bool
) -> Pod:
    """Build the pod from the run config's text (None = none was given) and the environment.

    `wrap`: the command starts its ranks itself, whatever the config says. Raises ContractError.
    """
    config = default_config(environ) if text is None else codec.loads(RunConfig, text, "run config")
    _check(config)
    node_rank = _number(environ, env.PET_NODE_RANK, _number(environ, env.RANK, 0))
    if not 0 <= node_rank < config.num_nodes:
        rule = f"is outside the job's {config.num_nodes} nodes"
        raise ContractError(env.PET_NODE_RANK, node_rank, rule, "correct it or numNodes")
    copies = config.recipe.custom.copies if config.recipe.custom else Copies.PER_RANK
    log = environ.get(env.TERMINATION_LOG)
    return Pod(
        config=config,
        node_rank=node_rank,
        name=environ.get(env.POD_NAME) or names.pod_name(config.name, node_rank),
        node=environ.get(env.NODE_NAME) or environ.get("HOSTNAME", ""),
        command=command,
        copies=Copies.ONE if wrap else copies,
        termination_log=Path(log) if log else None,
        described=text is not None,
    )


def _check(config: RunConfig) -> None:
    for name, value in (("numNodes", config.num_nodes), ("ranksPerNode", config.ranks_per_node)):
        if value < 1:
            raise ContractError(name, value, "is below 1", "write a whole number of at least 1")
    if len(config.supervisor_addresses) != config.num_nodes:
        rule = f"does not name {config.num_nodes} supervisors"
        raise ContractError(
            "supervisorAddresses", config.supervisor_addresses, rule, "name one per node"
        )
    for text in config.supervisor_addresses:
        address(text)


def default_config(environ: Mapping[str, str]) -> RunConfig:
    """The config of a run that nobody described: torchrun's own environment, and defaults.

    Several nodes work too (a PyTorchJob's pods): the supervisors meet at MASTER_ADDR.
    """
    nodes = _number(environ, env.PET_NNODES, 1)
    ranks = _number(environ, env.PET_NPROC_PER_NODE, 1)
    attempt = _number(environ, env.ATTEMPT, 1)
    host = environ.get(env.PET_MASTER_ADDR) or environ.get(env.MASTER_ADDR) or "127.0.0.1"
    port = _number(environ, env.PET_MASTER_PORT, _number(environ, env.MASTER_PORT, 29500))
    run_dir = environ.get(env.RUN_DIR) or os.path.abspath(DEFAULT_RUN_DIR)
    return RunConfig(
        namespace="default",
        name="run",
        uid="",
        attempt=attempt,
        token=attempt_token("", attempt),
        num_nodes=nodes,
        ranks_per_node=ranks,
        master_address=host,
        master_port=port,
        supervisor_addresses=[f"{host if nodes > 1 else '127.0.0.1'}:{names.SUPERVISOR_PORT}"]
        * nodes,
        run_dir=run_dir,
        recipe=RecipeSpec(custom=CustomRecipe()),
        training=Training(),
        checkpoint=Checkpoint(uri=run_dir),
        omp_threads=max(1, (os.cpu_count() or 1) // ranks),
    )


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "")
    if not text or text == "auto":  # PyTorchJob's nprocPerNode default
        return default
    if not text.isdigit():
        raise ContractError(name, text, "is no whole number", "write digits")
    return int(text)


def rank_environment(
    pod: Pod, rank: int, environ: Mapping[str, str], socket: Path, phase_file: str, error_file: Path
) -> dict[str, str]:
    """The environment of one rank: the pod's own, torch's `env://` names and ours."""
    config = pod.config
    ours = {
        env.SOCKET: str(socket),
        env.PHASE_FILE: phase_file,
        env.RUN_DIR: config.run_dir,
        env.ATTEMPT: str(config.attempt),
        env.RESUME_FROM: config.resume_from.value,
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
        env.OMP_NUM_THREADS: str(config.omp_threads),
    }
    if pod.copies is Copies.PER_RANK:
        ours.update(_torch_names(pod, rank, error_file))
    return {**environ, **ours}


def _torch_names(pod: Pod, rank: int, error_file: Path) -> dict[str, str]:
    config = pod.config
    return {
        env.RANK: str(rank),
        env.LOCAL_RANK: str(rank - pod.ranks.start),
        env.WORLD_SIZE: str(config.world_size),
        env.LOCAL_WORLD_SIZE: str(config.ranks_per_node),
        env.GROUP_RANK: str(pod.node_rank),
        env.MASTER_ADDR: config.master_address,
        env.MASTER_PORT: str(config.master_port),
        env.TORCHELASTIC_RUN_ID: f"{config.name}-{config.attempt}",
        env.TORCHELASTIC_RESTART_COUNT: str(config.attempt - 1),
        env.TORCHELASTIC_ERROR_FILE: str(error_file),
    }


def default_termination_log() -> Path | None:
    """The kubelet's file where there is one; on other machines none is made up."""
    path = Path(paths.TERMINATION_LOG)
    return path if path.is_file() else None
