"""The operator's log: one JSON line at each decision, by the names of the contract. Called by controller and apply."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from speech_contract.events import MESSAGES, Event

COMPONENT = "operator"
_LOGGER = logging.getLogger("speech_operator")


def log(event: Event, level: int = logging.INFO, **fields: Any) -> None:
    """Log one event with its facts as fields; the message is the catalogue's."""
    _LOGGER.log(level, MESSAGES[event], extra={"event": event.value, "fields": fields})


class JsonFormatter(logging.Formatter):
    """A log record as one JSON line."""

    def format(self, record: logging.LogRecord) -> str:
        """`ts, level, event, msg, component` and the event's fields."""
        line: dict[str, Any] = {
            "ts": round(record.created, 3),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", record.name),
            "msg": record.getMessage(),
            "component": COMPONENT,
        }
        fields = getattr(record, "fields", {})
        if isinstance(fields, Mapping):
            line.update(fields)
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)
