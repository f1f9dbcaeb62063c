"""Kubernetes Events as `why` shows them: those of the job, and the warnings of its pods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from speech_cli.rendering.view import mapping, moment, whole
from speech_contract.values import Value, frozen

WARNING = "Warning"


@frozen
class EventRow(Value):
    """One Event; `at` as the API server has it, `pod` empty for the job's own."""

    kind: str
    reason: str
    message: str
    at: str = ""
    count: int = 1
    pod: str = ""

    @property
    def text(self) -> str:
        """`Warning FailedScheduling voice-master-0 ×3: 0/1 nodes are available`."""
        about = f" {self.pod}" if self.pod else ""
        times = f" ×{self.count}" if self.count > 1 else ""
        return f"{self.kind} {self.reason}{about}{times}: {self.message}"


def event_rows(events: Iterable[Mapping[str, Any]]) -> list[EventRow]:
    """Oldest first, without what readiness probes say.

    Both forms are read: `count` and `lastTimestamp`, or `series` and `eventTime`.
    """
    rows = [_row(event) for event in events if not _readiness(event)]
    return sorted(rows, key=lambda row: moment(row.at) or 0.0)


def _readiness(event: Mapping[str, Any]) -> bool:
    """A pod that starts, or is done, is not ready: that is no fault, and every job has it."""
    message = str(event.get("message") or "")
    return event.get("reason") == "Unhealthy" and message.startswith("Readiness probe")


def _row(event: Mapping[str, Any]) -> EventRow:
    about, series = mapping(event, "involvedObject"), mapping(event, "series")
    times = (
        series.get("lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        mapping(event, "metadata").get("creationTimestamp"),
    )
    return EventRow(
        kind=str(event.get("type") or "Normal"),
        reason=str(event.get("reason") or ""),
        message=" ".join(str(event.get("message") or "").split()),
        at=next((str(time) for time in times if time), ""),
        count=whole(series.get("count")) or whole(event.get("count")) or 1,
        pod=str(about.get("name") or "") if about.get("kind") == "Pod" else "",
    )
