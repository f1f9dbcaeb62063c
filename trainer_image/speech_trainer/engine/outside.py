"""What the engine gets from its surroundings. Filled by `speech_trainer.__main__`; tests pass recorders."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from speech_trainer.engine.cadence import StrategicWriter
from speech_trainer.engine.files import Files
from speech_trainer.engine.reporting import Events, Telemetry
from speech_trainer.engine.subject import Abort, Preflight, unchecked


@dataclasses.dataclass(frozen=True)
class Outside:
    """Who is told, where files lie, who checks the run before its first step."""

    telemetry: Telemetry
    events: Events
    strategic: StrategicWriter | None = None
    files: Files | None = None
    show: Callable[[str], object] = lambda text: None
    abort: Abort = lambda code, text: None
    preflight_only: bool = False
    preflight: Preflight = unchecked
