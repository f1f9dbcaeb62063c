"""Faults of one rank among several, through the fault hook: `SPEECHTRAIN_WRAP_RECIPE=rank_faults:flip_a_bit`.

The last rank is the one at fault. `FAULT_STEP` says when (7), in the first attempt alone.
"""

from __future__ import annotations

import os
import time
from typing import Any

import torch

from speech_contract import env
from speech_trainer.engine.recipe import StepRecord

STEP = int(os.environ.get("FAULT_STEP", "7"))


class _Wrapped:
    """A recipe with something done before its train_step."""

    def __init__(self, recipe: Any) -> None:
        self._recipe = recipe

    def __getattr__(self, name: str) -> Any:
        return getattr(self._recipe, name)

    def train_step(self, built: Any, batch: Any, step: int) -> StepRecord:
        context = self._recipe.context
        if context.rank == context.world_size - 1:
            self.at_fault(built, step)
        record: StepRecord = self._recipe.train_step(built, batch, step)
        return record

    def at_fault(self, built: Any, step: int) -> None:
        raise NotImplementedError


class FlippedBit(_Wrapped):
    """The lowest bit of one weight, as memory without error correction flips it: no loss curve would show it."""

    def at_fault(self, built: Any, step: int) -> None:
        first = os.environ.get(env.ATTEMPT, str(self._recipe.context.config.attempt)) == "1"
        if step == STEP and first:
            plan = next(iter(built.optimizers.values()))
            *_, module = plan.modules.values()
            *_, weight = module.parameters()
            with torch.no_grad():
                weight.view(torch.int32).reshape(-1)[0] ^= 1


class Hooked(_Wrapped):
    """Does something to the gradients of its first module in the backward pass, before the ranks average them."""

    done = False

    def at_fault(self, built: Any, step: int) -> None:
        if not self.done:
            self.done = True
            module = next(iter(next(iter(built.optimizers.values())).modules.values()))
            next(module.parameters()).register_hook(self.change)

    def change(self, gradient: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class Slow(Hooked):
    """Every step takes 60 ms longer."""

    def change(self, gradient: torch.Tensor) -> torch.Tensor:
        time.sleep(0.06)
        return gradient


class Loud(Hooked):
    """Its own gradient is a thousand times too large."""

    def change(self, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * 1000


def flip_a_bit(recipe: Any) -> FlippedBit:
    """For SPEECHTRAIN_WRAP_RECIPE."""
    return FlippedBit(recipe)


def slow(recipe: Any) -> Slow:
    """For SPEECHTRAIN_WRAP_RECIPE."""
    return Slow(recipe)


def loud(recipe: Any) -> Loud:
    """For SPEECHTRAIN_WRAP_RECIPE, on the toy recipe."""
    return Loud(recipe)
