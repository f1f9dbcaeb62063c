"""Healthy runs drawn by a second hand: other shapes, other noise, other habits of logging. Used by second_*.

`runs.base` falls exponentially with white noise. Here the fall is a power of the step, the noise remembers the last
report and has heavy tails, and the level is that of a known objective: characters, units, spectrograms, CTC.
"""

from __future__ import annotations

import math

from runs import Dice, Run

# Objective: loss at the first report, loss it settles at. Cross entropy over V starts at ln V; CTC sums over frames.
OBJECTIVES = {
    "codes": (math.log(1026), 3.6),
    "text": (math.log(128_256), 1.9),
    "mel": (1.9, 0.45),
    "ctc": (620.0, 38.0),
    "vits": (112.0, 31.0),
    "commitment": (0.08, 0.011),
}


def second_base(dice: Dice, reports: int = 0) -> Run:
    """A run that learns, as trainers report it."""
    reports = reports or dice.randint(150, 400)
    first, last = OBJECTIVES[dice.choice(sorted(OBJECTIVES))]
    power, offset = dice.uniform(0.25, 1.2), dice.uniform(1.0, 30.0)
    sigma, memory = dice.uniform(0.004, 0.12), dice.uniform(0.0, 0.9)
    norm, heavy = dice.scale(0.02, 60.0), dice.uniform(0.1, 0.35)
    every = dice.choice([1, 1, 1, 2, 10, 25, 50])
    batch, peak, warm = dice.choice([4, 16, 64]), dice.scale(1e-6, 3e-3), dice.randint(1, 60)
    wander, fields = 0.0, []
    for index in range(reports):
        share = (offset / (offset + index)) ** power
        wander = memory * wander + math.sqrt(1 - memory**2) * dice.gauss(0.0, sigma)
        loss = (last + (first - last) * share) * math.exp(wander)
        fields.append(
            {
                "losses": {"loss": loss},
                "gradient_norm": norm * (0.4 + 0.6 * share) * tailed(dice, heavy),
                "learning_rate": peak * rate(index, warm, reports),
                "updates": (index + 1) * every,
                "non_finite_steps": 0,
                "samples_total": (index + 1) * every * batch,
                "skipped": {},
            }
        )
    return Run(dice, fields, every)


def tailed(dice: Dice, sigma: float) -> float:
    """A factor round 1 that is now and then three times as far off."""
    return dice.noise(sigma * (3.0 if dice.random() < 0.03 else 1.0))


def rate(index: int, warm: int, reports: int) -> float:
    """Linear up, cosine down: exactly 0 never."""
    if index < warm:
        return (index + 1) / warm
    return 0.5 * (1.001 + math.cos(math.pi * (index - warm) / max(reports - warm, 1)))


def half(value: float, bits: int) -> float:
    """As a tensor with `bits` of mantissa holds it: 8 for bfloat16, 11 for float16."""
    mantissa, exponent = math.frexp(value)
    return math.ldexp(round(mantissa * 2**bits) / 2**bits, exponent)
