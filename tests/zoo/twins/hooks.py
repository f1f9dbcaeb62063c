"""Where twins take hold of a recipe: what it builds, what it draws, what it does in a step. Used by their modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from speech_trainer.engine.recipe import Built, StepRecord

R = TypeVar("R", bound=Any)  # a recipe


def after_build(recipe: R, change: Callable[[Built], Built]) -> R:
    """Change what it builds."""
    build = recipe.build
    recipe.build = lambda: change(build())
    return recipe


def each_batch(recipe: R, change: Callable[[Any], Any]) -> R:
    """Change every batch that it draws."""
    build = recipe.data

    def data() -> object:
        stream = build()
        draw = stream.next_batch
        stream.next_batch = lambda: change(draw())
        return stream

    recipe.data = data
    return recipe


def each_step(recipe: R, around: Callable[[Callable[[], StepRecord]], StepRecord]) -> R:
    """Put something round its step, which is called without arguments."""
    original = recipe.train_step
    recipe.train_step = lambda built, batch, step: around(lambda: original(built, batch, step))
    return recipe


def nothing() -> StepRecord:
    """What a loop reports that added nothing to its sum."""
    return StepRecord({name: torch.zeros(()) for name in ("total", "generator/mel")})
