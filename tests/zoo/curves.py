"""The zoo of curves: seeded generators of runs with one planted fault, and of runs that only look bad.

`FAULTS` and `HEALTHY` name every kind; `make(kind, seed)` builds one. Used by tests/zoo/test_curves.py with
fixed seeds and by benchmarks/accept_health.py with fresh ones. Generators draw scale, noise, length, decay and
cadence at random, so that no threshold can be fitted to one picture. The second hand drew its kinds and its own
base before it had read a rule. A rule brings its curves in a file of its own: `rule_*.py` here, with FAULTS and
HEALTHY, is found.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path

from runs import WITHIN, Curve, Dice, Run, base
from second_faults import SECOND_FAULTS
from second_healthy import SECOND_HEALTHY
from second_runs import second_base
from zoo_faults import FAULTS as FIRST_FAULTS
from zoo_faults import Spoil
from zoo_healthy import HEALTHY as FIRST_HEALTHY
from zoo_outcomes import OUTCOME_FAULTS, OUTCOME_HEALTHY

__all__ = ["FAULTS", "HEALTHY", "WITHIN", "Curve", "draw", "make"]

FAULTS: dict[str, Spoil] = FIRST_FAULTS | SECOND_FAULTS | OUTCOME_FAULTS
HEALTHY: dict[str, Callable[[Run], None]] = FIRST_HEALTHY | SECOND_HEALTHY | OUTCOME_HEALTHY
for _path in sorted(Path(__file__).parent.glob("rule_*.py")):
    _rule = importlib.import_module(_path.stem)
    FAULTS |= _rule.FAULTS
    HEALTHY |= _rule.HEALTHY
SECOND = SECOND_FAULTS.keys() | SECOND_HEALTHY.keys()


def make(kind: str, seed: int) -> Curve:
    """Build one curve; the same kind and seed give the same curve."""
    dice = Dice(f"{kind}/{seed}")
    run = second_base(dice) if kind in SECOND else base(dice)
    if kind in FAULTS:
        rule, planted = FAULTS[kind](run)
        return Curve(kind, run.samples(), rule, planted, run.within)
    HEALTHY[kind](run)
    return Curve(kind, run.samples())


def draw(number: int, seed: int) -> Iterator[Curve]:
    """`number` curves, every kind in turn, each with a seed of its own."""
    kinds = [*FAULTS, *HEALTHY]
    for index in range(number):
        yield make(kinds[index % len(kinds)], seed * 1_000_003 + index)
