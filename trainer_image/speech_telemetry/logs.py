"""JSON log events: one line at each decision a person would ask about. Used by the supervisor and the trainer.

Names and messages come from the closed catalogue `speech_contract.events`; what varies goes into fields.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any, TextIO

from speech_contract.codec import to_document
from speech_contract.events import MESSAGES, Event

INFO = "info"
WARNING = "warning"
ERROR = "error"


class EventLog:
    """Writes events of one component to one stream; `clock` gives epoch seconds.

    A stream that can't be written (a reader that left, a full disk) never stops the work: `lost` counts.
    """

    def __init__(
        self, component: str, stream: TextIO, clock: Callable[[], float], **base: Any
    ) -> None:
        self._base = {"component": component, **base}
        self._stream = stream
        self._clock = clock
        self._lock = threading.Lock()
        self.lost = 0

    def emit(self, event: Event, level: str = INFO, **fields: Any) -> None:
        """Write one line. Fields override the base fields of the same name; None leaves a field out."""
        fields = {name: value for name, value in fields.items() if value is not None}
        head = {"ts": round(self._clock(), 3), "level": level, "event": event.value}
        document = to_document({**head, "msg": MESSAGES[event], **self._base, **fields})
        line = json.dumps(document, ensure_ascii=False, allow_nan=False, default=str)
        with self._lock:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                self.lost += 1
