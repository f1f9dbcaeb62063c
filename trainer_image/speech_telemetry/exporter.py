"""Prometheus series of one attempt, out of the catalogue in speech_contract.metrics. Used by the supervisor."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from speech_contract.progress import Progress
from speech_contract.wire import Datagram
from speech_health.samples import StepSample


class Exporter:
    """`update` after each batch of reports, `render` for each scrape."""

    def __init__(self, registry: CollectorRegistry | None = None, *, recipe: str = "") -> None:
        self._registry = registry if registry is not None else CollectorRegistry()

    def update(self, progress: Progress, *newest: Datagram | StepSample) -> None:
        """Take the progress document and every report that came since the last call."""

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self._registry)
