"""Trial steps on real batches, and everything put back behind them. The edge to torch; called by `preflight.run`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from speech_trainer.engine.layout import Layout
from speech_trainer.engine.randomness import undisturbed
from speech_trainer.engine.recipe import Batch, Built, OptimizerPlan, Recipe
from speech_trainer.engine.state import parameters_of
from speech_trainer.preflight.judging import Trial

Gradients = dict[str, list[Tensor | None]]  # optimizer → one per parameter


@contextlib.contextmanager
def put_back(built: Built, device: torch.device, layout: Layout) -> Iterator[None]:
    """Whatever happens inside leaves weights, buffers, optimizers, rates, generators and modes as they were."""
    restore = layout.snapshot(built)
    rates = {n: [g["lr"] for g in p.optimizer.param_groups] for n, p in built.optimizers.items()}
    modes = [(m, m.training) for model in built.models.values() for m in model.modules()]
    with undisturbed(device):
        try:
            yield
        finally:
            for name, plan in built.optimizers.items():
                plan.optimizer.zero_grad(set_to_none=True)
                for group, rate in zip(plan.optimizer.param_groups, rates[name], strict=True):
                    group["lr"] = rate
            for model in built.models.values():
                model.zero_grad(set_to_none=True)
            for module, training in modes:
                module.training = training
            restore()


def take(recipe: Recipe, built: Built, batch: Batch, step: int, layout: Layout) -> Trial:
    """Forward and backward of one step; gradients are left in place."""
    for plan in built.optimizers.values():
        plan.optimizer.zero_grad(set_to_none=True)
    losses = recipe.train_step(built, batch, step).losses
    modules = {
        name: module
        for plan in built.optimizers.values()
        if step >= plan.active_from
        for name, module in plan.modules.items()
    }
    device = next((value.device for value in losses.values()), torch.device("cpu"))
    norms = layout.norms(modules.values(), device)
    return Trial(
        step=step,
        losses={name: float(value.detach()) for name, value in losses.items()},
        attached=tuple(name for name, value in losses.items() if value.requires_grad),
        norms={name: float(norm) for name, norm in zip(modules, norms, strict=True)},
        weight=batch.weight,
        samples=batch.samples,
    )


def gradients_of(built: Built) -> Gradients:
    """The gradients that are in place now, for later."""
    return {
        name: [parameter.grad for parameter in parameters_of(plan)]
        for name, plan in built.optimizers.items()
    }


@contextlib.contextmanager
def one_update(
    plan: OptimizerPlan, gradients: list[Tensor | None], rate: float, layout: Layout
) -> Iterator[None]:
    """One update at `rate`, taken back at the end."""
    parameters = parameters_of(plan)
    parts = [layout.local(parameter) for parameter in parameters]
    before = [part.detach().clone() for part in parts]
    state = dict(plan.optimizer.state)
    kept = [group["lr"] for group in plan.optimizer.param_groups]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    for group in plan.optimizer.param_groups:
        group["lr"] = torch.tensor(rate, device=parameters[0].device)
    plan.optimizer.state.clear()
    plan.optimizer.step()
    try:
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(parts, before)
        plan.optimizer.state.clear()
        plan.optimizer.state.update(state)
        for group, old in zip(plan.optimizer.param_groups, kept, strict=True):
            group["lr"] = old


@torch.no_grad()
def moved_shares(
    plan: OptimizerPlan, gradients: list[Tensor | None], rate: float, layout: Layout
) -> dict[str, tuple[int, int]]:
    """Together: module → (weights that one update at `rate` moved, weights that float32 can move at that rate).

    Adam's first update is at least half the rate where the gradient is at least its epsilon.
    """
    parameters = parameters_of(plan)
    before = {id(p): layout.local(p).detach().clone() for p in parameters}
    by_id = {id(p): g for p, g in zip(parameters, gradients, strict=True)}
    epsilon = float(plan.optimizer.param_groups[0].get("eps", 0.0))
    counts: list[list[int]] = []
    with one_update(plan, gradients, rate, layout):
        for module in plan.modules.values():
            moved = able = 0
            for parameter in module.parameters():
                gradient, old = by_id.get(id(parameter)), before.get(id(parameter))
                if gradient is None or old is None:
                    continue
                gradient, new = layout.local(gradient), layout.local(parameter)
                can = (gradient.abs() >= epsilon) & ((old - 0.5 * rate * gradient.sign()) != old)
                able += int(can.sum())
                moved += int((can & (new != old)).sum())
            counts.append([moved, able])
    whole = layout.add_up(torch.tensor(counts)).tolist()
    return {name: (moved, able) for name, (moved, able) in zip(plan.modules, whole, strict=True)}
