"""The operator's log: one JSON line at each decision, by the names of the contract. Called by controller and apply."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from speech_contract.events import MESSAGES, Event, log_line
from speech_contract.reasons import NO_SPEC, Reason

COMPONENT = "operator"
# What is told of a job under a reason that has an event of its own; under any other a condition changed.
_BY_REASON: Final = {
    reason.value: event
    for reason, event in (
        (Reason.SPEC_VALID, Event.JOB_ACCEPTED),
        *((reason, Event.JOB_REJECTED) for reason in NO_SPEC),
        (Reason.ATTEMPT_STARTED, Event.ATTEMPT_STARTED),
        (Reason.GANG_RESTART, Event.ATTEMPT_STARTED),
        (Reason.ATTEMPT_FAILED, Event.ATTEMPT_FAILED),
        (Reason.DEADLINE_EXCEEDED, Event.DEADLINE_EXCEEDED),
        (Reason.SUSPENDED, Event.JOB_SUSPENDED),
        (Reason.RESUMED, Event.JOB_RESUMED),
    )
}
_LOGGER = logging.getLogger("speech_operator")


def log(event: Event, level: int = logging.INFO, **fields: Any) -> None:
    """Log one event with its facts as fields; the message is the catalogue's."""
    _LOGGER.log(level, MESSAGES[event], extra={"event": event.value, "fields": fields})


def event_of(reason: str) -> Event:
    """The event under which a transition is logged that Kubernetes is told of with `reason`."""
    return _BY_REASON.get(reason, Event.CONDITION_CHANGED)


class JsonFormatter(logging.Formatter):
    """A log record as one JSON line."""

    def format(self, record: logging.LogRecord) -> str:
        """`ts, level, event, msg, component` and the event's fields."""
        given = getattr(record, "fields", {})
        fields = dict(given) if isinstance(given, Mapping) else {}
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        event, level = getattr(record, "event", record.name), record.levelname.lower()
        return log_line(record.created, level, event, record.getMessage(), COMPONENT, fields)
