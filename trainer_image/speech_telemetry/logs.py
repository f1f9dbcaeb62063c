"""JSON log events: one line at each decision a person would ask about. Used by the supervisor and the trainer.

Names and messages come from the closed catalogue `speech_contract.events`; what varies goes into fields.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final, TextIO

from speech_contract.events import MESSAGES, Event, log_line

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
        self._component, self._base = component, base
        self._stream = stream
        self._clock = clock
        self._lock = threading.Lock()
        self.lost = 0

    def emit(self, event: Event, level: str = INFO, **fields: Any) -> None:
        """Write one line. Fields override the base fields of the same name; None leaves a field out."""
        known = {name: value for name, value in fields.items() if value is not None}
        line = log_line(
            self._clock(), level, event.value, MESSAGES[event], self._component, self._base | known
        )
        with self._lock:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                self.lost += 1


_OF_EVERY_RECORD: Final = frozenset(vars(logging.makeLogRecord({})))


class RecordHandler(logging.Handler):
    """Turns what modules say through `logging` into events; `emit_event` is `EventLog.emit` or its like.

    A record with an `event` in its `extra` becomes that event with the rest of `extra` as fields; any other one
    becomes LIBRARY_MESSAGE. The exception goes along with its traceback.
    """

    def __init__(self, emit_event: Callable[..., object]) -> None:
        super().__init__(logging.WARNING)
        self._emit_event = emit_event

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        fields = {k: v for k, v in vars(record).items() if k not in _OF_EVERY_RECORD}
        name = fields.pop("event", None)
        if name is None:
            name = Event.LIBRARY_MESSAGE
            fields |= {"text": record.getMessage(), "logger": record.name}
        if record.exc_info and record.exc_info[1] is not None:
            fields["error"] = repr(record.exc_info[1])
            fields["traceback"] = logging.Formatter().formatException(record.exc_info)
        self._emit_event(Event(name), level=record.levelname.lower(), **fields)


@contextlib.contextmanager
def records_into(emit_event: Callable[..., object], logger: str) -> Iterator[None]:
    """While it lasts, warnings of `logger` and all below it become events."""
    handler, source = RecordHandler(emit_event), logging.getLogger(logger)
    source.addHandler(handler)
    try:
        yield
    finally:
        source.removeHandler(handler)
