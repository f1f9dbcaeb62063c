"""What any fool could do: alarms that need no rules, judged on the same curves, so that the figures mean something.

Used by make accept-health. Each says at which report it would raise an alarm.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

from curves import Curve
from silences import LATE, Attempt

from speech_health.samples import StepSample

FACTOR = 3.0  # of the fixed threshold, times the first loss


def always(curve: Curve) -> list[int]:
    """Raises an alarm at every report."""
    return list(range(len(curve.samples)))


def never(curve: Curve) -> list[int]:
    """Raises none."""
    return []


def fixed_threshold(curve: Curve) -> list[int]:
    """A loss that is 0, not finite, or above three times the first one."""
    first = next((s.headline for s in curve.samples if _finite(s)), None) or 0.0
    bound = FACTOR * abs(first)
    return [
        index
        for index, sample in enumerate(curve.samples)
        if sample.headline is not None
        and (not _finite(sample) or sample.headline == 0.0 or sample.headline > bound)
    ]


def _finite(sample: StepSample) -> bool:
    return sample.headline is not None and math.isfinite(sample.headline)


TRIVIAL: dict[str, Callable[[Curve], list[int]]] = {
    fool.__name__.replace("_", " "): fool for fool in (always, never, fixed_threshold)
}


# seconds; 300: HyperPod's documented example, 1800: torch's own on gloo
TIMERS = (60.0, 300.0, 1800.0)


def timer_misses(attempt: Attempt, seconds: float) -> bool:
    """A watchdog of so many seconds names the stop later than its limit."""
    return attempt.stopped is not None and seconds > attempt.limit + LATE


def timer_cries(attempt: Attempt, seconds: float) -> bool:
    """It ends a run that only takes its time."""
    times = [0.0, *(mark.at for mark in attempt.marks)]
    return any(later - at > seconds for at, later in itertools.pairwise(times))


def missed(curve: Curve, alarms: list[int]) -> bool:
    """No alarm from the plant on within its bound."""
    last = curve.planted + curve.within
    return curve.rule is not None and not any(curve.planted <= at < last for at in alarms)


def false(curve: Curve, alarms: list[int]) -> bool:
    """An alarm on a healthy curve or before the plant."""
    return any(curve.rule is None or at < curve.planted for at in alarms)
