"""One gate per step, on the device: a non-finite step changes nothing, anywhere, without waiting for the host.

Used by `engine.loop`, once per step in this order:

    begin()                 keep a copy of every staged buffer and EMA weight
    judge(losses, …)        norms, clip, one MAX-reduce of a small tensor: was this step bad on any rank?
    commit(judgement, …)    step every optimizer under the gate, then commit buffers by `torch.where`

Fused Adam and AdamW take the gate as `found_inf` and leave parameters and state alone; no GradScaler is involved.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping

import torch
import torch.distributed as dist
from torch import Tensor

from speech_trainer.engine.layout import Layout, Replicated
from speech_trainer.engine.recipe import Built, Losses, OptimizerPlan
from speech_trainer.engine.state import parameters_of
from speech_trainer.errors import ConfigError

# Slots of the agreed tensor. The last three name who was first: `CODE - index` where bad, else 0, so that
# a MAX over ranks keeps the smallest index.
BAD, INTERRUPT, COMPONENT, MODULE, RANK = range(5)
SLOTS = 5
CODE = 1 << 20  # float32 counts exactly up to 2^24


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What one step came to; every tensor stays on the device.

    `gate`: bool scalar, True = bad on some rank. `agreed`: [SLOTS] float32, equal on all ranks. `losses`: [L]
    float32 of this rank. `module_norms`: [M] before clipping. `gradient_norm`: scalar, of the main optimizer.
    """

    gate: Tensor
    agreed: Tensor
    losses: Tensor
    module_norms: Tensor
    gradient_norm: Tensor
    loss_names: tuple[str, ...]
    module_names: tuple[str, ...]
    active: tuple[str, ...]  # names of the optimizers that train at this step


def first_index(code: float) -> int | None:
    """Decode a COMPONENT, MODULE or RANK slot; None where nothing was bad."""
    return None if code == 0 else CODE - int(code)


def check_plans(plans: Mapping[str, OptimizerPlan]) -> None:
    """Refuse optimizers that cannot be gated on the device, and plans that could not name a fault."""
    names = [name for plan in plans.values() for name in plan.modules]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"optimizers.*.modules: {', '.join(twice)} named twice; give every module its own name"
        )
    for name, plan in plans.items():
        optimizer = plan.optimizer
        fused = all(group.get("fused") for group in optimizer.param_groups)
        if not (isinstance(optimizer, torch.optim.Adam) and fused):
            raise ConfigError(
                f"optimizers.{name}: {type(optimizer).__name__} cannot be gated on the device; "
                "build torch.optim.AdamW or Adam with fused=True"
            )
        owned = {id(p) for module in plan.modules.values() for p in module.parameters()}
        lost = sum(id(p) not in owned for g in optimizer.param_groups for p in g["params"])
        if lost:
            raise ConfigError(
                f"optimizers.{name}.modules: {lost} parameters of the optimizer belong to no named "
                "module, so a fault in them could not be named; list every module it updates"
            )


class Gate:
    """Judges and commits steps of one `Built`. `world_size` above 1 needs an initialised process group."""

    def __init__(
        self,
        built: Built,
        device: torch.device,
        rank: int,
        world_size: int,
        layout: Layout | None = None,
    ) -> None:
        check_plans(built.optimizers)
        self._layout = layout or Replicated()
        self._plans = built.optimizers
        self._staged = [*built.staged.values(), *built.ema.values()]
        self._before: list[Tensor] = [torch.empty_like(t) for t in self._staged]
        self._device, self._rank, self._world_size = device, rank, world_size

    def begin(self) -> None:
        """Drop old gradients and keep what the forward may change."""
        for plan in self._plans.values():
            plan.optimizer.zero_grad(set_to_none=True)
        if self._staged:
            torch._foreach_copy_(self._before, self._staged)

    @torch.no_grad()
    def judge(self, losses: Losses, step: int, *, interrupt: bool) -> Judgement:
        """Take the norms, clip, agree with the other ranks. Gradients are clipped in place."""
        active = {n: plan for n, plan in self._plans.items() if step >= plan.active_from}
        loss_names, loss_vector = _stack_losses(losses, self._device)
        names = [name for plan in active.values() for name in plan.modules]
        norms = self._layout.norms(
            (module for plan in active.values() for module in plan.modules.values()), self._device
        )
        optimizer_norms = [torch.zeros((), device=self._device)] if not active else []
        own = iter(norms)
        for plan in active.values():
            mine = torch.stack(list(itertools.islice(own, len(plan.modules))))
            optimizer_norms.append(_clip(plan, mine))
        module_norms = torch.stack(norms) if norms else loss_vector.new_zeros(0)
        agreed = self._agree(loss_vector, module_norms, torch.stack(optimizer_norms), interrupt)
        return Judgement(
            gate=agreed[BAD] > 0,
            agreed=agreed,
            losses=loss_vector,
            module_norms=module_norms,
            gradient_norm=optimizer_norms[0],
            loss_names=loss_names,
            module_names=tuple(names),
            active=tuple(active),
        )

    def _agree(self, losses: Tensor, modules: Tensor, optimizers: Tensor, stop: bool) -> Tensor:
        flags = torch.zeros(SLOTS, device=self._device)
        flags[COMPONENT] = _first_bad(losses)
        flags[MODULE] = _first_bad(modules)
        mine = (flags[COMPONENT] > 0) | (flags[MODULE] > 0) | ~optimizers.isfinite().all()
        flags[BAD] = mine
        flags[RANK] = (mine & (flags[COMPONENT] > 0)) * (CODE - self._rank)
        flags[INTERRUPT].fill_(float(stop))  # a fill with a host number waits for nothing
        if self._world_size > 1:
            dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        return flags

    @torch.no_grad()
    def commit(self, judgement: Judgement, after_update: Callable[[Tensor], None]) -> None:
        """Step the active optimizers under the gate, let the recipe move its EMA, commit staged buffers."""
        found_inf = judgement.gate.float()
        for name in judgement.active:
            optimizer = self._plans[name].optimizer
            optimizer.grad_scale = None  # type: ignore[attr-defined]
            optimizer.found_inf = found_inf  # type: ignore[attr-defined]
            optimizer.step()
        after_update(judgement.gate)
        for old, new in zip(self._before, self._staged, strict=True):
            new.copy_(torch.where(judgement.gate, old, new))


def _stack_losses(losses: Losses, device: torch.device) -> tuple[tuple[str, ...], Tensor]:
    if not losses:
        return (), torch.zeros(0, device=device)
    values = [value.detach().float().reshape(()) for value in losses.values()]
    return tuple(losses), torch.stack(values)


def _clip(plan: OptimizerPlan, module_norms: Tensor) -> Tensor:
    """Clip in place and return the norm before. A NaN norm makes NaN gradients, which the gate drops.

    The norms are of whole gradients, so what they make of a part of one is the same share of it.
    """
    total: Tensor = torch.linalg.vector_norm(module_norms)
    if plan.clip_norm is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters_of(plan), plan.clip_norm, total)
    return total


def _first_bad(values: Tensor) -> Tensor:
    """`CODE - index` of the first non-finite entry of a vector, 0 when all are finite."""
    if values.numel() == 0:
        return values.new_zeros(())
    bad = ~values.isfinite()
    return torch.where(bad.any(), CODE - bad.int().argmax(), 0).float()
