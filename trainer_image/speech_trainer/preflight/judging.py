"""From measured trial steps to rows of the table. Pure decisions, no torch; called by `preflight.run`.

Thresholds are constants with their reason beside them; docs/preflight.md repeats them for people.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Final

from speech_contract.preflight import Check, CheckResult
from speech_trainer.engine.expectations import Expectations
from speech_trainer.preflight.rows import number, row, skipped, warning

TOTAL: Final = "total"
# `total` is summed in float32, in another order than here.
SUM_TOLERANCE: Final = 1e-3
# A correct step moves all of what float32 can move; bf16 weights at a fine-tuning rate a few per cent.
LEAST_MOVED: Final = 0.5
# Same batch, same random numbers: float32 noise of a repeated step is below 1e-6.
LEAST_FALL: Final = 1e-5
REMEDY_SWALLOWED: Final = (
    "look for a swallowed exception (except: continue) or a loss that is never added up"
)
REMEDY_FINITE: Final = (
    "look for log(0), a division by zero, or a spectrogram computed in half precision"
)


@dataclasses.dataclass(frozen=True)
class Trial:
    """One step that was measured and not committed. Every number is on the host."""

    step: int
    losses: dict[str, float]
    attached: tuple[str, ...]  # losses that still hold their graph
    norms: dict[str, float]  # module → gradient norm, of the parts active at this step
    weight: float
    samples: int


def initial_losses(trials: Sequence[Trial], expected: Expectations) -> list[CheckResult]:
    """Every component on every batch against its range, and `total` against the weighted sum."""
    used = [trial for trial in trials if trial.weight > 0]
    rows = [_total(used)]
    whole = [t for t in used if len(t.losses) == max(len(u.losses) for u in used)]
    for name, bounds in expected.components.items():
        values = [trial.losses[name] for trial in used if name in trial.losses]
        if not values:
            said = ", ".join(whole[0].losses) or "nothing"
            remedy = "the step leaves it out: look for another objective, or an early return"
            rows.append(row(Check.INITIAL_LOSS, name, False, f"not among {said}", bounds, remedy))
            continue
        outside = [value for value in values if not bounds.holds(value)]
        # One odd batch may be the data's fault: training gates it off and counts it.
        bad = len(outside) * 2 > len(values)
        remedy = _remedy_for(outside)
        shown = ", ".join(number(value) for value in values)
        make = row if bad or not outside else warning
        rows.append(make(Check.INITIAL_LOSS, name, not outside, shown, bounds, remedy))
    return [*rows, *_sums(used, expected)]


def _remedy_for(values: Sequence[float]) -> str:
    if any(not math.isfinite(value) for value in values):
        return REMEDY_FINITE
    if any(value == 0.0 for value in values):
        return REMEDY_SWALLOWED
    return "the loss is not what its formula says: look at reductions, masks and scales"


def _total(used: Sequence[Trial]) -> CheckResult:
    """Exactly 0 on any batch is nobody's loss; not finite on most of them is a fault, on one perhaps the data's."""
    values = [trial.losses.get(TOTAL, 0.0) for trial in used]
    zero = any(value == 0.0 for value in values)
    infinite = [value for value in values if not math.isfinite(value)]
    shown = ", ".join(number(value) for value in values)
    if zero or len(infinite) * 2 > len(values):
        remedy = REMEDY_SWALLOWED if zero else REMEDY_FINITE
        return row(Check.INITIAL_LOSS, TOTAL, False, shown, "finite, not 0", remedy)
    return warning(
        Check.INITIAL_LOSS, TOTAL, not infinite, shown, "finite, not 0", REMEDY_FINITE
    )  # fmt: skip


def _sums(used: Sequence[Trial], expected: Expectations) -> list[CheckResult]:
    for trial in used:
        known = {name: trial.losses[name] for name in expected.weights if name in trial.losses}
        summed = sum(expected.weights[name] * value for name, value in known.items())
        total = trial.losses.get(TOTAL, math.nan)
        if not (math.isfinite(summed) and math.isfinite(total) and known):
            continue  # named above
        if not math.isclose(summed, total, rel_tol=SUM_TOLERANCE, abs_tol=SUM_TOLERANCE):
            remedy = "what is trained is not what is shown: look at the weights of the losses"
            return [
                row(
                    Check.INITIAL_LOSS, "total as weighted sum", False, number(total),
                    f"{number(summed)} from its components", remedy,
                )
            ]  # fmt: skip
    return []


def unmoved(trials: Sequence[Trial]) -> dict[str, float]:
    """Components that said bit by bit the same of all batches, two at least, and what they said."""
    used = [trial for trial in trials if trial.weight > 0]
    same: dict[str, float] = {}
    for name in dict.fromkeys(name for trial in used for name in trial.losses):
        # 0 is a part that is off at this step.
        values = [value for trial in used if (value := trial.losses.get(name, 0.0)) != 0.0]
        if len(values) > 1 and len(set(values)) == 1 and not math.isinf(values[0]):
            same[name] = values[0]
    return same


def components(trials: Sequence[Trial]) -> list[CheckResult]:
    """A component that says bit by bit the same of different batches stands at a clamp."""
    used = [trial for trial in trials if trial.weight > 0]
    remedy = "look for a clamp, min() or max() round it: beyond the bound it has no gradient"
    expected = "another value for another batch"
    if len(used) < 2:
        return [skipped(Check.COMPONENTS, "fewer than two batches with a usable sample")]
    same = unmoved(trials)
    if not same:
        number_of = len({name for trial in used for name in trial.losses})
        return [row(Check.COMPONENTS, f"{number_of} components", True, "all vary", expected)]
    return [
        row(Check.COMPONENTS, name, False, f"{number(value)} each time", expected, remedy)
        for name, value in same.items()
    ]


def gradients(trials: Sequence[Trial]) -> list[CheckResult]:
    """Every trainable module gets a finite gradient other than 0, on every batch that has a usable sample."""
    used = [trial for trial in trials if trial.weight > 0]
    rows: list[CheckResult] = []
    for name in dict.fromkeys(name for trial in used for name in trial.norms):
        norms = [trial.norms[name] for trial in used if name in trial.norms]
        # On any batch: one that trains a module at one step and not at the next is a fault as well.
        nothing = any(norm == 0.0 for norm in norms)
        infinite = sum(not math.isfinite(norm) for norm in norms)
        remedy = REMEDY_FINITE if infinite else (
            "look for a missing backward(), a detached loss, or an objective that does not reach this module"
        )  # fmt: skip
        bad = nothing or infinite * 2 > len(norms)
        make = row if bad else warning
        shown = f"norm {', '.join(number(norm) for norm in norms)}"
        good = not (bad or infinite)
        rows.append(make(Check.GRADIENTS, name, good, shown, "finite, above 0", remedy))
    return rows


def weights(moved: Mapping[str, tuple[int, int]], rate: float) -> list[CheckResult]:
    """As many weights move at the planned peak rate as float32 allows."""
    rows = []
    for name, (count, able) in moved.items():
        if able == 0:
            remedy = "raise learningRate: it is below the last digit of every weight"
            rows.append(
                warning(
                    Check.WEIGHTS, name, False, f"none can at rate {number(rate)}",
                    "some weights move", remedy,
                )
            )  # fmt: skip
            continue
        share = count / able
        remedy = "look for weights kept in bf16 or fp16, or an optimizer over other parameters"
        rows.append(
            row(
                Check.WEIGHTS, name, share >= LEAST_MOVED, f"{share:.1%} of {able} moved",
                f"at least {LEAST_MOVED:.0%} of those that float32 can move at rate {number(rate)}", remedy,
            )
        )  # fmt: skip
    return rows


def loss_falls(objective: str, first: float, tried: Mapping[float, float]) -> CheckResult:
    """`tried`: rate of one update → the loss of the same batch after it."""
    fell = any(fallen(first, after) for after in tried.values())
    shown = ", ".join(f"{number(after)} at rate {number(rate)}" for rate, after in tried.items())
    return row(
        Check.LOSS_FALLS, objective, fell, f"{number(first)} → {shown}",
        "lower on the same batch after an update", "look for a lost sign, a wrong target, or gradients of another loss",
    )  # fmt: skip


def fallen(first: float, after: float) -> bool:
    """Whether the loss fell by more than noise."""
    return first - after > LEAST_FALL * abs(first)


def detached(trials: Sequence[Trial]) -> CheckResult:
    """Losses that hold their graph make memory grow with every step."""
    attached = sorted({name for trial in trials for name in trial.attached})
    shown = f"{', '.join(attached)} hold their graph" if attached else "all detached"
    remedy = "return loss.detach(): what holds its graph grows with every step"
    return row(Check.MEMORY, "losses", not attached, shown, "detached", remedy)
