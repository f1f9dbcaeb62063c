"""Where the weights of a run lie: whole on every rank, or split over them. The engine asks here, and assumes nothing.

    Replicated    every rank holds all weights; DDP averages gradients, and one rank speaks for all
    Sharded       every rank holds a part of each weight, its gradient and its optimizer state (`engine.sharded`)

`engine.loop` chooses one after `Recipe.build` and hands it to whoever looks at weights: gate, saver, peers, probe,
bad_steps and the preflight. A method marked "together" may be a collective: every rank calls it, or none.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from speech_trainer.engine.distributed import World
from speech_trainer.engine.files import Files
from speech_trainer.engine.recipe import Built, unwrap
from speech_trainer.engine.state import (
    Tensors,
    collect_tensors,
    model_tensors,
    on_host,
    restore_tensors,
)

TENSORS: Final = "state.safetensors"


class Layout(Protocol):
    """One answer to every question about weights."""

    split: bool  # a rank holds parts; else everything, as every other rank does

    def wrap(self, built: Built, world: World) -> None:
        """Together: replace the models of `built` by what trains on all ranks, and its optimizers' parameters."""
        ...

    # -- in a step ---------------------------------------------------------------------------------------------

    def norms(self, modules: Iterable[nn.Module], device: torch.device) -> list[Tensor]:
        """Together: the norm of each module's whole gradient. Plain float32 scalars, the same on every rank."""
        ...

    def accumulating(self, models: Iterable[nn.Module]) -> AbstractContextManager[None]:
        """Backward passes inside add to the gradients and leave the other ranks alone."""
        ...

    # -- a rank's part -----------------------------------------------------------------------------------------

    def local(self, tensor: Tensor) -> Tensor:
        """What of it lies here, as a plain tensor that shares its memory."""
        ...

    def add_up(self, parts: Tensor) -> Tensor:
        """Together: what each rank counted of its part, summed to what there is of the whole."""
        ...

    def alike(self, built: Built) -> dict[str, list[Tensor]]:
        """By name, tensors that must have the same bits on every rank at any time."""
        ...

    def fingerprint(self, built: Built) -> str:
        """Of the weights that this rank started from: the same on every rank."""
        ...

    def snapshot(self, built: Built) -> Callable[[], None]:
        """Keep what this rank holds on the host; call the answer to put it back in place."""
        ...

    # -- the whole ---------------------------------------------------------------------------------------------

    def whole(self, built: Built) -> AbstractContextManager[Built]:
        """Together: what rank 0 evaluates, shows and exports alone. Other ranks must not use what they get."""
        ...

    def state(self, built: Built, limit: int, *, wanted: bool) -> Tensors:
        """Together: all that a forward pass reads, whole and on the host, to this rank if it `wanted` it.

        Empty above `limit` bytes.
        """
        ...

    # -- checkpoints -------------------------------------------------------------------------------------------

    def collect(self, built: Built) -> Tensors:
        """What this rank has to write; empty where another rank writes it."""
        ...

    def write(self, tensors: Tensors, folder: Path, files: Files) -> None:
        """Together: write what was collected into an empty folder, durably. Raises OSError or SafetensorError."""
        ...

    def read(self, built: Built, folder: Path, files: Files, name: str) -> None:
        """Together: load in place; `name` is the checkpoint's. Raises CheckpointError, OSError, SafetensorError."""
        ...


class Replicated:
    """Every rank holds everything, bit for bit alike."""

    split = False

    def __init__(self) -> None:
        self._leads = True

    def wrap(self, built: Built, world: World) -> None:
        """DDP."""
        self._leads = world.leads
        for name, model in built.models.items():
            built.models[name] = world.wrap(model)

    def norms(self, modules: Iterable[nn.Module], device: torch.device) -> list[Tensor]:
        """DDP left the same gradient everywhere."""
        return [_norm(module, device) for module in modules]

    @contextlib.contextmanager
    def accumulating(self, models: Iterable[nn.Module]) -> Iterator[None]:
        """DDP reduces nothing inside."""
        with contextlib.ExitStack() as stack:
            for model in models:
                if isinstance(model, DistributedDataParallel):
                    stack.enter_context(model.no_sync())
            yield

    def local(self, tensor: Tensor) -> Tensor:
        """All of it."""
        return tensor

    def add_up(self, parts: Tensor) -> Tensor:
        """This rank's part is the whole."""
        return parts

    def alike(self, built: Built) -> dict[str, list[Tensor]]:
        """Every parameter, by the module that findings name, those that no optimizer owns by their model; and more."""
        groups: dict[str, list[Tensor]] = {}
        owned: set[int] = set()
        for plan in built.optimizers.values():
            for name, module in plan.modules.items():
                groups[name] = [p for p in module.parameters() if id(p) not in owned]
                owned.update(id(p) for p in groups[name])
        for name, model in built.models.items():
            rest = [p for p in unwrap(model).parameters() if id(p) not in owned]
            if rest:
                groups[f"{name} (frozen)"] = list(rest)
        return groups | whole_everywhere(built)

    def fingerprint(self, built: Built) -> str:
        """Sums of all parameters in float64."""
        return fingerprint(built)

    def snapshot(self, built: Built) -> Callable[[], None]:
        """A copy of everything."""
        tensors = collect_tensors(built)
        return lambda: restore_tensors(built, tensors, "the engine's own copy")

    @contextlib.contextmanager
    def whole(self, built: Built) -> Iterator[Built]:
        """What trains is whole."""
        yield built

    def state(self, built: Built, limit: int, *, wanted: bool) -> Tensors:
        """From this rank alone."""
        tensors = model_tensors(built) if wanted else {}
        return {k: on_host(v) for k, v in tensors.items()} if size(tensors) <= limit else {}

    def collect(self, built: Built) -> Tensors:
        """Rank 0 writes for all."""
        return collect_tensors(built) if self._leads else {}

    def write(self, tensors: Tensors, folder: Path, files: Files) -> None:
        """One safetensors file, by rank 0."""
        if self._leads:
            files.write_tensors(folder / TENSORS, tensors)

    def read(self, built: Built, folder: Path, files: Files, name: str) -> None:
        """Each rank reads for itself."""
        restore_tensors(built, files.read_tensors(folder / TENSORS), name)


def whole_everywhere(built: Built) -> dict[str, list[Tensor]]:
    """What every rank holds and moves for itself, however weights are split."""
    groups = {"staged buffers": built.staged, "EMA": built.ema}
    return {name: list(group.values()) for name, group in groups.items() if group}


def size(tensors: Mapping[str, Tensor]) -> int:
    """Bytes of whole tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


@torch.no_grad()
def fingerprint(built: Built) -> str:
    """Of all parameters, whole: their sums in float64."""
    sums = [p.double().sum() for m in built.models.values() for p in unwrap(m).parameters()]
    if not sums:
        return ""
    return hashlib.sha256(str(torch.stack(sums).tolist()).encode()).hexdigest()[:16]


def _norm(module: nn.Module, device: torch.device) -> Tensor:
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    if not gradients:
        return torch.zeros((), device=device)
    return torch.nn.utils.get_total_norm(gradients).float()
