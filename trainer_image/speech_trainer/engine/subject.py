"""What the engine hands to whoever checks a run before its first step.

`__main__` hands the room `preflight` in: the engine knows the shape of a check and imports none.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

from speech_contract.run_config import RunConfig
from speech_trainer.engine.distributed import World
from speech_trainer.engine.layout import Layout, Replicated
from speech_trainer.engine.recipe import Built, DataStream, Recipe
from speech_trainer.engine.reporting import Reporting
from speech_trainer.engine.state import Counters

Abort = Callable[[int, str], None]  # ends the process at once: exit code, sentence


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is checked. `counters`: all 0 in a run that starts. `digest`: of the effective configuration."""

    config: RunConfig
    recipe: Recipe
    built: Built
    stream: DataStream
    counters: Counters
    digest: str


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """Where it is checked, and who is told."""

    world: World
    reporting: Reporting
    show: Callable[[str], object]
    abort: Abort
    clock: Callable[[], float] = time.monotonic
    layout: Layout = dataclasses.field(default_factory=Replicated)


# Returns the stream to train on: nothing of it is used up. Raises PreflightFailed.
Preflight = Callable[[Subject, Surroundings], DataStream]


def unchecked(subject: Subject, around: Surroundings) -> DataStream:
    """No check at all: for tests of the engine."""
    return subject.stream
