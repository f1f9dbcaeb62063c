"""Weights split over the ranks: FSDP2, and torch's distributed checkpoints as safetensors. One `engine.layout.Layout`.

A rank holds a slice of every parameter (dimension 0), of its gradient and of its optimizer state, as DTensors; a
block's weights are gathered for its forward and backward, and freed behind each. Buffers, staged tensors and shadows
are whole on every rank. Fused Adam takes the gate's plain `found_inf` on DTensors as on tensors.

    checkpoints/step-N.aM/shard-<rank>-model-00001-of-00001.safetensors     each rank's slices, with their offsets

Tensors alone are written, and safetensors is no pickle: nothing in a checkpoint can run. Rank 0 compares every file
with its digest before any is opened; digests tell damage, not malice: whoever may write the directory may write
COMMIT as well. Any number of ranks reads what any other number wrote. All ranks need the same file system.

Imported by `engine.layout` for recipes that ask for it: DTensor takes seconds to import.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from speech_contract.run_config import Precision
from speech_trainer.engine.distributed import World
from speech_trainer.engine.files import Files
from speech_trainer.engine.layout import fingerprint, size, whole_everywhere
from speech_trainer.engine.recipe import Built, OptimizerPlan, Sharding
from speech_trainer.engine.state import (
    Tensors,
    below,
    live_tensors,
    model_tensors,
    on_host,
    parameters_of,
)
from speech_trainer.errors import CheckpointError, ConfigError

Shapes = Mapping[str, tuple[torch.Size, torch.dtype]]  # of whole tensors


class Sharded:
    """Every rank holds a part."""

    split = True

    def __init__(self, sharding: Sharding, precision: Precision) -> None:
        self._sharding = sharding
        self._world: World
        self._policy = _policy(precision)
        self._started_from = ""
        self._skeletons: dict[str, nn.Module] = {}  # rank 0 only: the models without weights

    def wrap(self, built: Built, world: World) -> None:
        """Split every model and point the optimizers at the parts. Raises ConfigError for a parameter of no model."""
        self._world = world
        # Once split, ranks that started from different weights would train a patchwork, and nothing could tell.
        self._started_from = fingerprint(built)
        _check_owned(built)
        if world.leads:
            self._skeletons = {name: _skeleton(model) for name, model in built.models.items()}
        if world.size == 1:
            return
        before = {id(p): (m, n) for m, n, p in _places(built.models.values())}
        mesh = init_device_mesh(world.device.type, (world.size,))
        for block in (*self._sharding.blocks, *built.models.values()):
            if any(True for _ in block.parameters()):
                fully_shard(block, mesh=mesh, mp_policy=self._policy, reshard_after_forward=True)
        for plan in built.optimizers.values():
            for group in plan.optimizer.param_groups:
                group["params"] = [getattr(*before[id(p)]) for p in group["params"]]

    # -- in a step ---------------------------------------------------------------------------------------------

    def norms(self, modules: Iterable[nn.Module], device: torch.device) -> list[Tensor]:
        """Squares of the parts, added up in one reduction: plain numbers, equal on all ranks."""
        squares = [self._square(module, device) for module in modules]
        if not squares:
            return []
        return list(self.add_up(torch.stack(squares)).sqrt().unbind())

    def _square(self, module: nn.Module, device: torch.device) -> Tensor:
        gradients = [self.local(p.grad) for p in module.parameters() if p.grad is not None]
        if not gradients:
            return torch.zeros((), device=device)
        return torch.nn.utils.get_total_norm(gradients).float().square()

    @contextlib.contextmanager
    def accumulating(self, models: Iterable[nn.Module]) -> Iterator[None]:
        """FSDP keeps whole gradients inside, and reduces nothing."""
        split = [model for model in models if isinstance(model, FSDPModule)]
        for model in split:
            model.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            for model in split:
                model.set_requires_gradient_sync(True)

    # -- a rank's part -----------------------------------------------------------------------------------------

    def local(self, tensor: Tensor) -> Tensor:
        """Its slice; of what is whole on every rank, all of it."""
        if not isinstance(tensor, DTensor):
            return tensor
        part: Tensor = tensor.to_local().detach()
        return part

    def add_up(self, parts: Tensor) -> Tensor:
        """Over all ranks."""
        if self._world.size == 1:
            return parts
        total = parts.to(self._world.device, copy=True)
        dist.all_reduce(total)
        return total

    def alike(self, built: Built) -> dict[str, list[Tensor]]:
        """What no rank holds a part of. Parts differ by design, and no two ranks hold the same one."""
        return whole_everywhere(built)

    def fingerprint(self, built: Built) -> str:
        """Taken before anything was split."""
        return self._started_from

    def snapshot(self, built: Built) -> Callable[[], None]:
        """A copy of this rank's parts."""
        live = live_tensors(built)
        shapes = {name: (tensor.shape, tensor.dtype) for name, tensor in live.items()}
        kept = {name: on_host(self.local(tensor)) for name, tensor in live.items()}

        @torch.no_grad()
        def put_back() -> None:
            for name, tensor in self._targets(built, shapes).items():
                self.local(tensor).copy_(kept[name])

        return put_back

    # -- the whole ---------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def whole(self, built: Built) -> Iterator[Built]:
        """Rank 0 gets copies with gathered weights; the others get what they have."""
        for name, model in built.models.items():
            self._fill(model, self._skeletons.get(name))
        if not self._skeletons:
            yield built
            return
        try:
            yield dataclasses.replace(built, models=dict(self._skeletons))
        finally:
            for skeleton in self._skeletons.values():
                for module, name, parameter in list(_places([skeleton])):
                    module.register_parameter(name, _weightless(parameter))

    def _fill(self, model: nn.Module, skeleton: nn.Module | None) -> None:
        """Gather parameter by parameter; a rank without a skeleton takes part and keeps nothing."""
        filled: dict[int, nn.Parameter] = {}
        for path, module in model.named_modules():
            twin = None if skeleton is None else skeleton.get_submodule(path)
            if twin is not None:
                twin.training = module.training
            for _, name, parameter in _own_places(module):
                if id(parameter) not in filled:  # tied weights stay tied
                    whole = _gathered(parameter)
                    filled[id(parameter)] = (
                        parameter if twin is None else nn.Parameter(whole, parameter.requires_grad)
                    )
                if twin is not None:
                    twin.register_parameter(name, filled[id(parameter)])

    def state(self, built: Built, limit: int, *, wanted: bool) -> Tensors:
        """Gathered tensor by tensor; the others take part and keep nothing."""
        live = model_tensors(built)
        if size(live) > limit:
            return {}
        found: Tensors = {}
        for name, tensor in live.items():
            gathered = _gathered(tensor)
            if wanted:
                found[name] = on_host(gathered)
        return found

    # -- checkpoints -------------------------------------------------------------------------------------------

    def collect(self, built: Built) -> Tensors:
        """Where it lies: the writer copies."""
        return live_tensors(built)

    def write(self, tensors: Tensors, folder: Path, files: Files) -> None:
        """Each rank its slices; of what is whole everywhere, one rank that the planner chooses."""
        writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
        try:
            with self._alone_or_not() as group:
                save(self._apart(tensors), storage_writer=writer, **group)
        except CheckpointException as error:
            raise _first(error) from error

    def _apart(self, tensors: Tensors) -> Tensors:
        """Copies of what shares memory with another (tied weights, staged buffers): safetensors refuses those."""
        seen: set[int] = set()
        found: Tensors = {}
        for name, tensor in tensors.items():
            place = self.local(tensor).untyped_storage().data_ptr()
            found[name] = tensor.clone() if place in seen else tensor
            seen.add(place)
        return found

    def read(self, built: Built, folder: Path, files: Files, name: str) -> None:
        """Straight into the slices of this rank, however many ranks wrote it."""
        shapes: dict[str, tuple[torch.Size, torch.dtype]] = {}
        self._world.each(lambda: shapes.update(_shapes(folder, name)))
        with torch.no_grad():
            targets = self._targets(built, shapes)
        self._world.each(lambda: _check_fit(targets, shapes, name))
        reader = HuggingFaceStorageReader(str(folder))
        try:
            with self._alone_or_not() as group:
                load(targets, storage_reader=reader, **group)
        except CheckpointException as error:
            raise _first(error) from error

    @contextlib.contextmanager
    def _alone_or_not(self) -> Iterator[dict[str, Any]]:
        """How torch is told who takes part: objects travel where the engine's do."""
        alone = self._world.size == 1
        with warnings.catch_warnings():
            if alone:
                warnings.filterwarnings("ignore", "torch.distributed is disabled")
            yield {"process_group": self._world.host_group, "no_dist": alone}

    def _targets(self, built: Built, shapes: Shapes) -> Tensors:
        """What to load into: the models in place, and optimizer states made anew as `shapes` names them."""
        for name, plan in built.optimizers.items():
            _make_state(plan, below(shapes, f"optimizers/{name}/"))
        return live_tensors(built)


def _policy(precision: Precision) -> MixedPrecisionPolicy:
    """Gradients are added up in float32 whatever the weights are gathered in."""
    if precision is Precision.BF16:
        return MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    return MixedPrecisionPolicy()


def _places(models: Iterable[nn.Module]) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    """Every place of every parameter, tied ones more than once: (module, attribute, parameter)."""
    for model in models:
        for module in model.modules():
            yield from _own_places(module)


def _own_places(module: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
        yield module, name, parameter


def _check_owned(built: Built) -> None:
    """A parameter outside all models would stay whole, get no reduced gradient, and drift apart unseen."""
    owned = {id(p) for _, _, p in _places(built.models.values())}
    for name, plan in built.optimizers.items():
        lost = sum(id(p) not in owned for p in parameters_of(plan))
        if lost:
            raise ConfigError(
                f"optimizers.{name}: {lost} parameters belong to none of the models that are sharded; put "
                "their module into Built.models"
            )


def _skeleton(model: nn.Module) -> nn.Module:
    """A copy whose parameters have no memory and whose buffers are the model's own."""
    memo: dict[int, object] = {id(p): _weightless(p) for p in model.parameters()}
    memo |= {id(buffer): buffer for buffer in model.buffers()}
    return copy.deepcopy(model, memo)


def _weightless(parameter: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)


def _gathered(tensor: Tensor) -> Tensor:
    if not isinstance(tensor, DTensor):
        return tensor.detach()
    whole: Tensor = tensor.full_tensor().detach()
    return whole


def _make_state(plan: OptimizerPlan, shapes: Shapes) -> None:
    """Zeros for what Adam keeps: split as its parameter is where it has its shape, else whole (the step)."""
    plan.optimizer.state.clear()
    for index, parameter in enumerate(parameters_of(plan)):
        entries = below(shapes, f"{index}/")
        if entries:
            plan.optimizer.state[parameter] = {
                key: torch.zeros_like(parameter, dtype=dtype, requires_grad=False)
                if shape == parameter.shape
                else torch.zeros(shape, dtype=dtype, device=parameter.device)
                for key, (shape, dtype) in entries.items()
            }


def _shapes(folder: Path, name: str) -> dict[str, tuple[torch.Size, torch.dtype]]:
    try:
        metadata = HuggingFaceStorageReader(str(folder)).read_metadata()
    except Exception as error:  # whatever a reader of headers raises
        raise CheckpointError(f"{name}: {error}; delete the checkpoint") from error
    return {k: (v.size, v.properties.dtype) for k, v in metadata.state_dict_metadata.items()}  # type: ignore[union-attr]


def _check_fit(targets: Tensors, shapes: Shapes, name: str) -> None:
    own = {key: (tensor.shape, tensor.dtype) for key, tensor in targets.items()}
    odd = sorted(key for key in own.keys() | shapes.keys() if own.get(key) != shapes.get(key))
    if odd:
        raise CheckpointError(
            f"{name}: does not fit the recipe ({len(odd)} tensors, {odd[0]} first, are missing or of another "
            "shape); use a new checkpoint.uri, or the recipe settings that wrote it"
        )


def _first(error: CheckpointException) -> OSError:
    """What the first rank that failed ran into, as the store explains errors."""
    rank, (cause, _) = min(error.failures.items())
    text = f"rank {rank}: {cause}"
    return OSError(cause.errno, text) if isinstance(cause, OSError) else OSError(text)
