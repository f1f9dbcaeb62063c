"""The zoo of curves: seeded generators of runs with one planted fault, and of runs that only look bad.

`FAULTS` and `HEALTHY` name every kind; `make(kind, seed)` builds one. Used by tests/zoo/test_curves.py with
fixed seeds and by benchmarks/accept_health.py with fresh ones. Generators draw scale, noise, length, decay and
cadence at random, so that no threshold can be fitted to one picture.
"""

from __future__ import annotations

from collections.abc import Iterator

from runs import WITHIN, Curve, Dice, base
from zoo_faults import FAULTS as CURVE_FAULTS
from zoo_healthy import HEALTHY as CURVE_HEALTHY
from zoo_outcomes import OUTCOME_FAULTS, OUTCOME_HEALTHY

__all__ = ["FAULTS", "HEALTHY", "WITHIN", "Curve", "draw", "make"]

FAULTS = CURVE_FAULTS | OUTCOME_FAULTS
HEALTHY = CURVE_HEALTHY | OUTCOME_HEALTHY


def make(kind: str, seed: int) -> Curve:
    """Build one curve; the same kind and seed give the same curve."""
    dice = Dice(f"{kind}/{seed}")
    run = base(dice)
    if kind in FAULTS:
        rule, planted = FAULTS[kind](run)
        return Curve(kind, run.samples(), rule, planted)
    HEALTHY[kind](run)
    return Curve(kind, run.samples())


def draw(number: int, seed: int) -> Iterator[Curve]:
    """`number` curves, every kind in turn, each with a seed of its own."""
    kinds = [*FAULTS, *HEALTHY]
    for index in range(number):
        yield make(kinds[index % len(kinds)], seed * 1_000_003 + index)
