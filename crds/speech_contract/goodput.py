"""`status.goodput`: what a job's time went into. Written by the operator's `goodput`, read by command line and metrics.

Whole seconds; the parts add up to the time from the creation of the job to the mark, but for time suspended.
"""

from __future__ import annotations

import dataclasses
from typing import Final

from speech_contract.codec import READ
from speech_contract.values import Value, frozen


@frozen
class GoodputMark(Value):
    """How far time is counted, and where the attempt was then: what the next account goes on from."""

    __pydantic_config__ = READ
    time: str
    """Up to when time is counted, RFC 3339."""
    step: int | None = None
    """Step of the attempt at that time."""
    farthest_step: int | None = None
    """Farthest step that is trained: up to there training is recomputing. A roll-back lowers it."""
    productive_steps: int = 0
    """Steps that `productive_seconds` went into."""
    rollbacks: int = 0
    """Roll-backs of the attempt up to that time."""
    discarded_steps: int = 0
    """Steps of the attempt that were discarded up to that time."""
    checkpoint_seconds: int = 0
    """Seconds that the attempt saved up to that time."""


@frozen
class Goodput(Value):
    """What the job's time went into. Time suspended is in none of the parts."""

    __pydantic_config__ = READ
    ratio: str | None = None
    """Productive seconds over all but the queued ones: of the time with devices, the share that counts. Unset before
    the first step is known."""
    queued_seconds: int = 0
    """Waiting: for a queue, a run directory, or room for all pods."""
    startup_seconds: int = 0
    """From placed pods to the first step, and from the end of an attempt to the next one's pods."""
    productive_seconds: int = 0
    """Training steps that the run goes on from, its evaluations among them."""
    stalled_seconds: int = 0
    """Running without a step: while the rule Stalled says so, and from the last step to an attempt's end."""
    recomputed_seconds: int = 0
    """Training steps again that an earlier attempt had trained and not saved."""
    discarded_seconds: int = 0
    """Training steps that a roll-back left behind, by the mean time of a productive one."""
    checkpoint_seconds: int = 0
    """Saving, as the engine tells it, and stopping to save; of scripts that save by themselves the latter alone."""
    mark: GoodputMark | None = None
    """How far time is counted; for the operator."""


PARTS: Final = tuple(
    field.name for field in dataclasses.fields(Goodput) if field.name.endswith("_seconds")
)


def seconds_of(goodput: Goodput) -> dict[str, int]:
    """Part (`queued`, `startup` …) → its seconds, in the order of the fields."""
    return {part.removesuffix("_seconds"): getattr(goodput, part) for part in PARTS}


def held_seconds(goodput: Goodput) -> int:
    """Time with devices: all but the queue's."""
    return sum(seconds_of(goodput).values()) - goodput.queued_seconds
