"""What a recipe says of itself before it trains, so that the preflight can measure whether it is so.

Returned by `Recipe.preflight_checks`; read by the room `preflight`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from speech_contract.preflight import CheckResult


@dataclasses.dataclass(frozen=True)
class Range:
    """Where a loss component lies before training. `formula` says why, for people."""

    low: float
    high: float
    formula: str

    def holds(self, value: float) -> bool:
        """Whether the value is finite and inside, ends included."""
        return math.isfinite(value) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g} ({self.formula})"


@dataclasses.dataclass(frozen=True)
class Setting:
    """A number that a user can set: `field` is its name in the manifest and in config.json."""

    field: str
    value: float


@dataclasses.dataclass(frozen=True)
class Expectations:
    """Everything measurable that the engine cannot know.

    `components`: every loss name that a step reports once all parts are active, with its range on the first batch.
    `weights`: `total` is the sum of these times their components. `objectives`: optimizer → the component that falls
    when it alone steps on one repeated batch. `learning_rates`: optimizer → its peak as the settings have it. `frozen`:
    names (`<model>.<name>`) of the parameters that are not meant to train, each by its own name, so that an adapter
    below a frozen module is no exception to make, and a module frozen by mistake is found. List them from what is
    meant ("all but the adapters"), not from `requires_grad`, which is what is checked.
    `data` looks at manifests, `inputs` at batches (on the host); both return rows of the table. `rehearsal`, of recipes
    with codebooks, lets them live through a few updates on such batches, and is called on every rank. `active_from`:
    the step from which every part is active, beside those that `OptimizerPlan.active_from` tells of.
    """

    components: Mapping[str, Range]
    weights: Mapping[str, float]
    objectives: Mapping[str, str]
    learning_rates: Mapping[str, Setting]
    data: Callable[[], list[CheckResult]]
    inputs: Callable[[Sequence[Any]], list[CheckResult]]
    frozen: Collection[str] = ()
    rehearsal: Callable[[Sequence[Any]], list[CheckResult]] | None = None
    active_from: int = 1
