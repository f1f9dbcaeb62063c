"""A healthy run with its dice: what every curve of the zoo is made from. Used by zoo_faults and zoo_healthy."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar

from speech_contract.progress import Rule
from speech_health.samples import Source, StepSample

KindT = TypeVar("KindT", bound=FunctionType)
NAN = math.nan
WITHIN = 20  # reports after the plant in which its rule must have spoken


@dataclasses.dataclass
class Curve:
    """One run. `planted` indexes the first bad report; `rule` is the one that must name it."""

    kind: str
    samples: list[StepSample]
    rule: Rule | None = None
    planted: int = 0
    within: int = WITHIN  # reports; more for a fault that grows


def named(*kinds: KindT) -> dict[str, KindT]:
    """Generators by the names of their functions, in words."""
    return {kind.__name__.replace("_", " "): kind for kind in kinds}


class Dice(random.Random):
    """Draws that curves are made of."""

    def scale(self, low: float, high: float) -> float:
        """Log-uniform."""
        return math.exp(self.uniform(math.log(low), math.log(high)))

    def noise(self, sigma: float) -> float:
        """A positive factor round 1."""
        return math.exp(self.gauss(0.0, sigma))


@dataclasses.dataclass
class Run:
    """A healthy run that each kind then spoils or decorates: per report its fields, and its cadence."""

    dice: Dice
    fields: list[dict[str, Any]]
    every: int
    seconds: float = 1.0
    source: Source = Source.REPORTER
    gated: bool = False
    within: int = WITHIN  # reports in which a planted fault must be named

    def samples(self) -> list[StepSample]:
        """Steps and times are filled in where the kind set none."""
        made, now = [], 0.0
        for number, fields in enumerate(self.fields, start=1):
            now += fields.pop("after", self.seconds * self.every)
            fields.setdefault("step", number * self.every)
            made.append(
                StepSample(
                    time=now, now=now, rank=0, source=self.source, gated=self.gated, **fields
                )
            )
        return made

    def __len__(self) -> int:
        return len(self.fields)

    def loss(self, index: int, change: Callable[[float], float]) -> None:
        """Change the headline (and the component behind it) of one report."""
        losses = self.fields[index]["losses"]
        for name in ("total", "loss", "generator/mel"):
            if name in losses:
                losses[name] = change(losses[name])

    def norm(self, index: int, change: Callable[[float], float]) -> None:
        """Change the gradient norm of one report."""
        self.fields[index]["gradient_norm"] = change(self.fields[index]["gradient_norm"])


def base(dice: Dice, reports: int = 0) -> Run:
    """A run that learns: losses fall with noise, the norm is noisier, the rate warms up and decays."""
    reports = reports or dice.randint(150, 400)
    gan, every = dice.random() < 0.5, dice.choice([1, 1, 1, 1, 5, 10])
    top, floor = dice.scale(0.5, 150.0), dice.uniform(0.1, 0.6)
    speed, sigma = dice.uniform(5.0, 80.0), dice.uniform(0.01, 0.15)
    norm, norm_sigma = dice.scale(0.05, 200.0), dice.uniform(0.1, 0.5)
    rate, warm = dice.scale(1e-5, 1e-2), dice.randint(1, 40)
    fields = []
    for index in range(reports):
        level = top * (floor + (1 - floor) * math.exp(-index / speed))
        loss = level * dice.noise(sigma)
        fields.append(
            {
                "losses": components(dice, loss) if gan else {"loss": loss},
                "gradient_norm": norm * math.sqrt(level / top) * dice.noise(norm_sigma),
                "learning_rate": rate * min(1.0, (index + 1) / warm) * (1 - 0.5 * index / reports),
                "updates": (index + 1) * every,
                "non_finite_steps": 0,
                "samples_total": (index + 1) * every * 16,
                "skipped": {},
            }
        )
    return Run(dice, fields, every)


def components(dice: Dice, mel: float) -> dict[str, float]:
    kl, adversarial = dice.uniform(0.5, 2.0), 2.0 * dice.noise(0.3)
    return {
        "total": 45.0 * mel + kl + adversarial,
        "generator/mel": mel,
        "generator/kl": kl,
        "generator/adversarial": adversarial,
        "discriminator/loss": 2.0 * dice.noise(0.4),
    }
