"""Ranks, devices and the few host-side conversations between ranks.

`World` is opened once per process by `speech_trainer.__main__` and handed to the engine. Tensors go over NCCL on
CUDA and gloo on CPU; host objects always over gloo.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from speech_contract import env
from speech_contract.run_config import Device, RunConfig
from speech_trainer.errors import ConfigError, HardwareError, TrainerError

T = TypeVar("T")

# The supervisor judges hangs (Stalled); torch's own limit only ends what nobody watches. Evaluation on rank 0
# keeps the others waiting this long at most.
TIMEOUT = datetime.timedelta(hours=2)


@dataclasses.dataclass(frozen=True)
class Ranks:
    """Who this process is among all."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1


def read_ranks(environment: Mapping[str, str], config: RunConfig) -> Ranks:
    """Ranks from torch's environment. Raises ConfigError when they disagree with the run config."""
    names = (env.RANK, env.WORLD_SIZE, env.LOCAL_RANK, env.LOCAL_WORLD_SIZE)
    defaults = ("0", "1", "0", "1")
    try:
        ranks = Ranks(*(int(environment.get(n, d)) for n, d in zip(names, defaults, strict=True)))
    except ValueError as error:
        raise ConfigError(
            f"{'/'.join(names)}: not all are numbers ({error}); start ranks with speechtrain-launch"
        ) from error
    if ranks.world_size != config.world_size:
        raise ConfigError(
            f"{env.WORLD_SIZE}: is {ranks.world_size}, but numNodes × ranksPerNode of the run config "
            f"is {config.world_size}; start ranks with speechtrain-launch"
        )
    return ranks


def prepare_torch(config: RunConfig, device: torch.device) -> None:
    """What holds for the whole process: threads, arithmetic, device. Its owner calls it once, no recipe does."""
    torch.set_num_threads(config.omp_threads)
    torch.set_flush_denormal(True)  # denormals slow a CPU step threefold once weights settle
    if device.type == "cuda":
        torch.cuda.set_device(device)


def choose_device(config: RunConfig, ranks: Ranks, visible: int) -> torch.device:
    """The device of this rank, given the number of visible CUDA devices. CPU is never a silent fallback.

    Raises HardwareError when GPUs were asked for, or some are there, but fewer than local ranks.
    """
    wanted = config.training.device
    if wanted is Device.CPU:
        return torch.device("cpu")
    asked = wanted is Device.CUDA or bool(config.accelerator)
    if not asked and visible == 0:
        return torch.device("cpu")
    if visible < ranks.local_world_size:
        name = config.accelerator or "CUDA"
        raise HardwareError(
            f"accelerator: asked for {name}, torch sees {visible} devices for "
            f"{ranks.local_world_size} ranks on this node; check nvidia-smi and the resource limits, "
            "lower nprocPerNode, or write training.device: CPU"
        )
    return torch.device("cuda", ranks.local_rank)


class World:
    """All ranks of the attempt. With one rank nothing is initialised and every call is local."""

    def __init__(self, ranks: Ranks, device: torch.device, init_method: str = "env://") -> None:
        self.ranks, self.device = ranks, device
        self.rank, self.size = ranks.rank, ranks.world_size
        self._objects: dist.ProcessGroup | None = None
        if self.size == 1:
            return
        backend = "gloo" if device.type == "cpu" else "nccl"
        dist.init_process_group(
            backend,
            init_method=init_method,
            rank=self.rank,
            world_size=self.size,
            timeout=TIMEOUT,
        )
        self._objects = (
            dist.new_group(backend="gloo", timeout=TIMEOUT) if backend == "nccl" else None
        )

    @property
    def leads(self) -> bool:
        """Rank 0 writes files, evaluates and talks to people."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """Every rank's value, on every rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self._objects)
        return values

    def add_up(self, count: int) -> int:
        """The sum of every rank's count, from host to host: no device is waited for."""
        if self.size == 1:
            return count
        total = torch.tensor([count], dtype=torch.int64)
        dist.all_reduce(total, group=self._objects)
        return int(total)

    def lead(self, act: Callable[[], T]) -> T:
        """Run `act` on rank 0 while the others wait; all get its value, or raise its TrainerError."""
        answer: list[Any] = [None, None]
        if self.leads:
            try:
                answer[0] = act()
            except TrainerError as error:
                answer[1] = error
        if self.size > 1:
            dist.broadcast_object_list(answer, src=0, group=self._objects)
        if answer[1] is not None:
            raise answer[1]
        return answer[0]  # type: ignore[no-any-return]

    @property
    def host_group(self) -> dist.ProcessGroup | None:
        """Where host objects travel; None: the default group, or no group at all."""
        return self._objects

    def each(self, act: Callable[[], object]) -> None:
        """Run `act` on every rank; a TrainerError of any of them is raised on all."""
        failed: TrainerError | None = None
        try:
            act()
        except TrainerError as error:
            failed = error
        for one in self.gather(failed):
            if one is not None:
                raise one

    def wrap(self, model: nn.Module) -> nn.Module:
        """DDP around a model that trains; others are left as they are.

        Buffers are not broadcast: a recipe reduces its own statistics, and DDP's in-place broadcast between two
        forwards of a discriminator would break its backward.
        """
        if self.size == 1 or not any(p.requires_grad for p in model.parameters()):
            return model
        ids = None if self.device.type == "cpu" else [self.device.index]
        return DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False)

    def close(self) -> None:
        """Leave the process group together: a rank that left early would cut the others' last conversation."""
        if self.size > 1 and dist.is_initialized():
            dist.barrier(group=self._objects)
            dist.destroy_process_group()


def describe(device: torch.device) -> str:
    """A device in words, as status shows it: `cpu`, `cuda (NVIDIA H200)`."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return "cpu"
