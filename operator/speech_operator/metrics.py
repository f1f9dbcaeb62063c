"""What Prometheus reads of the operator: jobs as their status has them, and the operator's own pulse.

Series of jobs are made anew for every scrape from what was last read, so they go with the job. Names and
labels are the contract's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from speech_contract import metrics as catalogue
from speech_contract.outcome import Cause
from speech_contract.progress import FindingStatus, Verdict
from speech_contract.reasons import State
from speech_contract.status import JobStatus, show_status
from speech_operator.cluster.base import JobKey
from speech_operator.ending import TAKEN

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
RESULTS: Final = ("done", "conflict", "refused", "failed")
OTHER: Final = "Other"
_CAUSES: Final = frozenset({cause.value for cause in Cause} | TAKEN)
_WAITING: Final = frozenset(
    state.value for state in (State.PENDING, State.REFUSED, State.STARTING, State.RESTARTING)
)
_HEALTHY: Final = {
    Verdict.HEALTHY: 1.0,
    Verdict.WARNING: 1.0,
    Verdict.CRITICAL: 0.0,
}


@dataclasses.dataclass(frozen=True)
class _Job:
    state: str
    reason: str
    attempt: int
    verdict: Verdict
    findings: tuple[tuple[str, str], ...]  # rule, severity; active ones


class OperatorMetrics:
    """A `Watcher` of the cluster, and the place where the process counts."""

    def __init__(self, queue_depth: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        self._jobs: dict[JobKey, _Job] = {}
        self._restarts = self._counter(catalogue.JOB_RESTARTS)
        self._reconciles = self._counter(catalogue.RECONCILES)
        duration = catalogue.RECONCILE_DURATION
        self._duration = Histogram(
            duration.name, duration.help, registry=self.registry, buckets=duration.buckets
        )
        depth, leader = catalogue.QUEUE_DEPTH, catalogue.LEADER
        Gauge(depth.name, depth.help, registry=self.registry).set_function(queue_depth)
        self.leader = Gauge(leader.name, leader.help, registry=self.registry)
        for cause in sorted(_CAUSES | {OTHER}):
            self._restarts.labels(cause)
        for result in RESULTS:
            self._reconciles.labels(result)
        self.registry.register(_JobCollector(self._jobs))

    def _counter(self, metric: catalogue.Metric) -> Counter:
        name = metric.name.removesuffix("_total")  # the library adds it again
        return Counter(name, metric.help, metric.labels, registry=self.registry)

    def render(self) -> bytes:
        """The exposition."""
        return generate_latest(self.registry)

    def passed(self, result: str, seconds: float) -> None:
        """One pass over a job ended."""
        self._reconciles.labels(result).inc()
        self._duration.observe(seconds)

    def read(self, key: JobKey, status: Mapping[str, Any] | None) -> None:
        """See `cluster.kubernetes.Watcher`."""
        if status is None:
            self._jobs.pop(key, None)
        else:
            self._jobs[key] = _job(show_status(status))

    def wrote(self, key: JobKey, status: Mapping[str, Any]) -> None:
        """Count a restart when the write opened an attempt after the first."""
        read = show_status(status)
        before, after = self._jobs.get(key), _job(read)
        if before is not None and 1 <= before.attempt < after.attempt:
            self._restarts.labels(_cause(read, before.attempt)).inc()
        self._jobs[key] = after


def _job(status: JobStatus) -> _Job:
    active = (f for f in status.health.findings if f.status is FindingStatus.ACTIVE)
    return _Job(
        state=status.state.value,
        reason=status.reason or "",
        attempt=status.attempt,
        verdict=status.health.verdict,
        findings=tuple(sorted({(f.rule.value, f.severity.value) for f in active})),
    )


def _cause(status: JobStatus, attempt: int) -> str:
    ended = next((a for a in status.attempts if a.number == attempt), None)
    cause = (ended.cause or ended.reason or "") if ended else ""
    return cause if cause in _CAUSES else OTHER


class _JobCollector(Collector):
    """Gauges of jobs, out of what was last read."""

    def __init__(self, jobs: Mapping[JobKey, _Job]) -> None:
        self._jobs = jobs

    def collect(self) -> Iterable[Metric]:
        """Four families."""
        jobs = list(self._jobs.items())
        yield _family(
            catalogue.JOB_STATE, ((key, (job.state,), 1.0) for key, job in jobs if job.state)
        )
        waiting = ((k, (j.reason,), 1.0) for k, j in jobs if j.reason and j.state in _WAITING)
        yield _family(catalogue.JOB_WAITING, waiting)
        healthy = ((key, (), _HEALTHY[j.verdict]) for key, j in jobs if j.verdict in _HEALTHY)
        yield _family(catalogue.JOB_HEALTHY, healthy)
        found = ((key, finding, 1.0) for key, job in jobs for finding in job.findings)
        yield _family(catalogue.JOB_HEALTH_FINDING, found)


def _family(
    metric: catalogue.Metric, rows: Iterable[tuple[JobKey, tuple[str, ...], float]] | Iterator[Any]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for key, labels, value in rows:
        family.add_metric([key.namespace, key.name, *labels], value)
    return family
