"""How faithful a codec can be at a bit rate: a bound, not a forecast. Pure. Used by rule GoalUnreachable.

Reverse water-filling for Gaussian components is the bound of Shannon; the points below come from it, on real voices
at 24 kHz with a locally Gaussian model and free side information, so that no codec of speech can do better.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

# Signal-to-noise ratio in dB and the bits per second that it needs at the least.
POINTS = ((0.0, 0.0), (10.0, 900.0), (20.0, 5800.0), (30.0, 18000.0))


def distortion(variances: Sequence[float], bits: float) -> float:
    """Least mean squared error, summed over independent Gaussian components, at `bits` for all of them together.

    `variances` of the components, in any unit of power; `bits` ≥ 0. Raises ValueError for negative values.
    """
    if bits < 0.0 or any(not value >= 0.0 for value in variances):
        raise ValueError("variances and bits must not be negative")
    low, high = 0.0, max(variances, default=0.0)
    for _ in range(200):  # the water level, by bisection
        level = (low + high) / 2.0
        if level > 0.0 and _bits(variances, level) > bits:
            low = level
        else:
            high = level
    return sum(min(value, high) for value in variances)


def _bits(variances: Sequence[float], level: float) -> float:
    return sum(0.5 * math.log2(value / level) for value in variances if value > level)


def reachable_snr(bits_per_second: float) -> float:
    """The signal-to-noise ratio in dB that no codec of speech exceeds at this bit rate.

    Straight lines between POINTS, and on along the last one: what a bit buys only falls, so that this is above
    the bound beyond them.
    """
    rate = max(0.0, bits_per_second)
    pairs = list(itertools.pairwise(POINTS))
    (low, cheap), (high, dear) = next((p for p in pairs if rate <= p[1][1]), pairs[-1])
    return low + (high - low) * (rate - cheap) / (dear - cheap)
