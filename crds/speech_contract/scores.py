"""How to read a held-out score: which way is better, and its unit. Reported beside scores, kept in `result.json`."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from typing import Final

from speech_contract.values import Value, frozen

# Scores and trivial answers as people say them; anything else is shown by its own name.
TITLES: Final[Mapping[str, str]] = {
    "dtw_mel": "DTW-mel",
    "snr": "SNR",
    "si_sdr": "SI-SDR",
    "pesq": "PESQ",
    "stoi": "STOI",
    "constant_frame": "constant median frame",
}


def title(name: str) -> str:
    """A score's name for people: `dtw_mel` → `DTW-mel`, `length_ratio` → `length ratio`."""
    return TITLES.get(name, name.replace("_", " "))


class Better(str, enum.Enum):
    """Which way a score gets better."""

    LOWER = "Lower"
    HIGHER = "Higher"
    TARGET = "Target"  # the closer to `ScoreSpec.target`


@frozen
class ScoreSpec(Value):
    """How to read one score. `better` None: not known, so nothing is concluded from it."""

    better: Better | None = None
    unit: str = ""  # as people write it behind the number: "dB", "%"; empty: none
    target: float = 1.0  # of Better.TARGET

    def badness(self, value: float) -> float:
        """Lower is better, whatever the direction; NaN where there is none or the value is not finite."""
        if self.better is None or not math.isfinite(value):
            return math.nan
        if self.better is Better.TARGET:
            return abs(value - self.target)
        return value if self.better is Better.LOWER else -value

    def beats(self, value: float, other: float) -> bool:
        """Whether `value` is better than `other`; never where either is not finite or the direction unknown."""
        return self.badness(value) < self.badness(other)
