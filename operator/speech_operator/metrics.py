"""What Prometheus reads of the operator: jobs as their status has them, and the operator's own pulse.

Series of jobs are made anew for every scrape from what was last read, so they go with the job. A status is parsed when
a scrape first shows it: most are written over before. Names and labels are the contract's.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from speech_contract import metrics as catalogue
from speech_contract import names
from speech_contract.findings import FindingStatus, Verdict
from speech_contract.outcome import Cause
from speech_contract.reasons import State
from speech_contract.status import JobStatus, show_status
from speech_operator.cluster.base import JobKey
from speech_operator.ending import TAKEN
from speech_operator.timestamps import to_epoch

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
RESULTS: Final = ("done", "conflict", "refused", "failed")
OTHER: Final = "Other"
_CAUSES: Final = frozenset({cause.value for cause in Cause} | TAKEN)
_WAITING: Final = frozenset(
    {State.PENDING, State.REFUSED, State.QUEUED, State.STARTING, State.RESTARTING}
)
_HEALTHY: Final = {
    Verdict.HEALTHY: 1.0,
    Verdict.WARNING: 1.0,
    Verdict.CRITICAL: 0.0,
}
_FINISHED: Final = frozenset({State.COMPLETE, State.FAILED})


@dataclasses.dataclass(frozen=True)
class _Owner:
    """What people wrote on the job."""

    team: str = ""
    seen: bool = False


@dataclasses.dataclass(frozen=True)
class _Job:
    state: State
    reason: str
    attempt: int
    verdict: Verdict
    findings: tuple[tuple[str, str], ...]  # rule, severity; active ones
    goodput: float | None
    ended: float | None  # epoch seconds
    owner: _Owner


class _Told:
    """What was last read or written of a job. Its status is kept as text: dicts take some eight times the room.

    `attempt`: 0 where none was begun.
    """

    def __init__(self, status: Any, owner: _Owner) -> None:
        self._text = json.dumps(status)
        self._owner = owner
        attempt = status.get("attempt") if isinstance(status, Mapping) else None
        self.attempt: int = attempt if isinstance(attempt, int) else 0

    @functools.cached_property
    def job(self) -> _Job:
        """As a scrape shows it."""
        return _job(show_status(json.loads(self._text)), self._owner)

    def follows(self, before: _Told | None) -> _Told:
        """The one before where nothing is new: it may have been shown already."""
        if before is None or (before._text, before._owner) != (self._text, self._owner):
            return self
        return before

    def written(self, status: Any) -> _Told:
        """The same job under another status."""
        return _Told(status, self._owner)


class OperatorMetrics:
    """A `Watcher` of the cluster, and the place where the process counts."""

    def __init__(self, queue_depth: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        self._jobs: dict[JobKey, _Told] = {}
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

    def read(self, key: JobKey, job: Mapping[str, Any] | None) -> None:
        """See `cluster.kubernetes.Watcher`."""
        if job is None or not _ours(job):
            self._jobs.pop(key, None)
            return
        told = _Told(job.get("status"), _owner(job))
        self._jobs[key] = told.follows(self._jobs.get(key))

    def wrote(self, key: JobKey, status: Mapping[str, Any]) -> None:
        """Count a restart when the write opened an attempt after the first."""
        before = self._jobs.get(key)
        after = _Told(status, _Owner()) if before is None else before.written(status)
        if before is not None and 1 <= before.attempt < after.attempt:
            self._restarts.labels(_cause(show_status(status), before.attempt)).inc()
        self._jobs[key] = after


def _ours(job: Mapping[str, Any]) -> bool:
    """Whether it is for this operator: of another's job it writes no status, and knows no state."""
    policy = (job.get("spec") or {}).get("runPolicy") or {}
    return str(policy.get("managedBy", names.MANAGED_BY)) == names.MANAGED_BY


def _owner(job: Mapping[str, Any]) -> _Owner:
    metadata = job.get("metadata") or {}
    team = (metadata.get("labels") or {}).get(names.LABEL_TEAM, "")
    return _Owner(str(team), bool((metadata.get("annotations") or {}).get(names.ANNOTATION_SEEN)))


def _job(status: JobStatus, owner: _Owner) -> _Job:
    active = (f for f in status.health.findings if f.status is FindingStatus.ACTIVE)
    return _Job(
        state=status.state,
        reason=status.reason or "",
        attempt=status.attempt,
        verdict=status.health.verdict,
        findings=tuple(sorted({(f.rule.value, f.severity.value) for f in active})),
        goodput=_ratio(status.goodput.ratio),
        ended=_ended(status),
        owner=owner,
    )


def _ended(status: JobStatus) -> float | None:
    if status.state not in _FINISHED or status.completion_time is None:
        return None
    try:
        return to_epoch(status.completion_time)
    except ValueError:  # somebody else's hand: a scrape must not fail for it
        return None


def _ratio(text: str | None) -> float | None:
    try:
        value = float(text or "nan")
    except ValueError:  # likewise
        return None
    return value if math.isfinite(value) else None


def _cause(status: JobStatus, attempt: int) -> str:
    ended = next((a for a in status.attempts if a.number == attempt), None)
    cause = (ended.cause or ended.reason or "") if ended else ""
    return cause if cause in _CAUSES else OTHER


class _JobCollector(Collector):
    """Gauges of jobs, out of what was last read."""

    def __init__(self, jobs: Mapping[JobKey, _Told]) -> None:
        self._jobs = jobs

    def collect(self) -> Iterable[Metric]:
        """Eight families."""
        jobs = [(key, told.job) for key, told in self._jobs.items()]
        state = ((key, job, (job.state.value,), 1.0) for key, job in jobs)
        yield _family(catalogue.JOB_STATE, state)
        waiting = ((k, j, (j.reason,), 1.0) for k, j in jobs if j.reason and j.state in _WAITING)
        yield _family(catalogue.JOB_WAITING, waiting)
        healthy = (
            (k, job, (), _HEALTHY[job.verdict]) for k, job in jobs if job.verdict in _HEALTHY
        )
        yield _family(catalogue.JOB_HEALTHY, healthy)
        found = ((key, job, finding, 1.0) for key, job in jobs for finding in job.findings)
        yield _family(catalogue.JOB_HEALTH_FINDING, found)
        begun = ((key, job, (), float(job.attempt)) for key, job in jobs if job.attempt >= 1)
        yield _family(catalogue.JOB_ATTEMPT, begun)
        ratios = ((key, job, (), job.goodput) for key, job in jobs if job.goodput is not None)
        yield _family(catalogue.JOB_GOODPUT, ratios)
        ended = ((key, job, (), job.ended) for key, job in jobs if job.ended is not None)
        yield _family(catalogue.JOB_ENDED, ended)
        seen = ((k, job, (), 1.0) for k, job in jobs if job.owner.seen and job.state in _FINISHED)
        yield _family(catalogue.JOB_SEEN, seen)


def _family(
    metric: catalogue.Metric, rows: Iterable[tuple[JobKey, _Job, tuple[str, ...], float]]
) -> GaugeMetricFamily:
    """Rows: job, its labels beyond the common ones, and the value."""
    family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for key, job, labels, value in rows:
        family.add_metric([key.namespace, key.name, job.owner.team, *labels], value)
    return family
