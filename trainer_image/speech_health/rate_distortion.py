"""How faithful a codec can be at a bit rate: a bound, not a forecast. Pure. Used by rule GoalUnreachable.

Reverse water-filling for Gaussian components is the bound of Shannon; the points below come from it, on real voices
at 24 kHz with a locally Gaussian model and free side information, so that no codec of speech can do better.
"""

from __future__ import annotations

import itertools

# Signal-to-noise ratio in dB and the bits per second that it needs at the least.
POINTS = ((0.0, 0.0), (10.0, 900.0), (20.0, 5800.0), (30.0, 18000.0))


def reachable_snr(bits_per_second: float) -> float:
    """The signal-to-noise ratio in dB that no codec of speech exceeds at this bit rate.

    Straight lines between POINTS, and on along the last one: what a bit buys only falls, so that this is above
    the bound beyond them.
    """
    rate = max(0.0, bits_per_second)
    pairs = list(itertools.pairwise(POINTS))
    (low, cheap), (high, dear) = next((p for p in pairs if rate <= p[1][1]), pairs[-1])
    return low + (high - low) * (rate - cheap) / (dear - cheap)
