"""Numbers, durations and states as short words. Used by every other module of `rendering`."""

from __future__ import annotations

import math
from collections.abc import Mapping

from speech_contract import spoken

NOTHING = "–"

# How a state or a verdict is painted; words carry the meaning, colour only helps.
STYLES: Mapping[str, str] = {
    "Complete": "green",
    "Healthy": "green",
    "Running": "cyan",
    "Starting": "cyan",
    "Restarting": "yellow",
    "Queued": "yellow",
    "Suspending": "yellow",
    "Suspended": "yellow",
    "Unknown": "yellow",
    "Warning": "yellow",
    "warning": "yellow",
    "Failed": "bold red",
    "OK": "green",
    "WARN": "yellow",
    "FAIL": "bold red",
    "SKIPPED": "dim",
    "Passed": "green",
    "Warned": "yellow",
    "Critical": "bold red",
    "critical": "bold red",
}


def style(word: str) -> str:
    """The rich style of a state, verdict or severity."""
    return STYLES.get(word, "")


def number(value: float | None, digits: int = 4) -> str:
    """Significant digits; NaN and infinities are said, never hidden."""
    if value is None:
        return NOTHING
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    if value == 0:
        return "0"
    if abs(value) >= 10**digits and abs(value) < 1e9:
        return f"{value:.0f}"
    return f"{value:.{digits}g}"


def duration(seconds: float | None) -> str:
    """`43s`, `2m31s`, `1h05m`, `3d04h`; a dash where it is not known."""
    return NOTHING if seconds is None or not math.isfinite(seconds) else spoken.duration(seconds)


def steps(step: int | None, total: int | None) -> str:
    """`120/800`, `120` when no goal is known, `–` before the first step."""
    if step is None:
        return NOTHING if total is None else f"0/{total}"
    return f"{step}/{total}" if total else str(step)


def tally(counts: Mapping[str, int]) -> str:
    """`3 DecodeError, 1 EmptyText`, largest first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {reason}" for reason, count in ordered if count)


def plural(count: int, noun: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
