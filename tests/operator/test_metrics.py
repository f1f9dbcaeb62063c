"""The operator's series: jobs as their status has them, gone with the job; restarts counted once."""

from __future__ import annotations

import math
from typing import Any

from speech_contract.metrics import OPERATOR_METRICS, Kind
from speech_operator.cluster.base import JobKey
from speech_operator.metrics import RESULTS, OperatorMetrics

KEY = JobKey("speech", "asr")
LABELS = {"namespace": "speech", "job_name": "asr", "team": ""}
NAMES = {key: LABELS[key] for key in ("namespace", "job_name")}


def status(state: str = "Running", attempt: int = 1, **more: Any) -> dict[str, Any]:
    return {"state": state, "attempt": attempt, **more}


def job(status: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"metadata": metadata, "status": status}


def value(metrics: OperatorMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"speech_operator_{name}", labels)


def test_the_registry_and_the_catalogue_name_the_same_families() -> None:
    metrics = OperatorMetrics(lambda: 0.0)
    metrics.read(KEY, job(status()))
    families = {family.name: family.type for family in metrics.registry.collect()}
    for metric in OPERATOR_METRICS:
        name = metric.name.removesuffix("_total") if metric.kind is Kind.COUNTER else metric.name
        assert families.pop(name) == metric.kind.value
    assert not families


def test_a_job_shows_its_one_state_and_goes_whole() -> None:
    metrics = OperatorMetrics(lambda: 0.0)
    findings = [
        {"rule": "NonFinite", "severity": "critical", "status": "Active"},
        {"rule": "LossSpike", "severity": "warning", "status": "Healed"},
    ]
    health = {"verdict": "Critical", "findings": findings}
    metrics.read(KEY, job(status("Running")))
    metrics.read(KEY, job(status("Failed", health=health)))
    assert value(metrics, "job_state", **LABELS, state="Failed") == 1.0
    assert value(metrics, "job_state", **LABELS, state="Running") is None
    assert value(metrics, "job_healthy", **LABELS) == 0.0
    found = {**LABELS, "rule": "NonFinite", "severity": "critical"}
    assert value(metrics, "job_health_finding", **found) == 1.0
    healed = {**LABELS, "rule": "LossSpike", "severity": "warning"}
    assert value(metrics, "job_health_finding", **healed) is None
    metrics.read(KEY, None)
    assert b'job_name="asr"' not in metrics.render()


def test_an_unknown_verdict_is_neither_healthy_nor_ill() -> None:
    metrics = OperatorMetrics(lambda: 0.0)
    metrics.read(KEY, job(status(health={"verdict": "Unknown"})))
    assert value(metrics, "job_healthy", **LABELS) is None


def test_a_restart_is_counted_once_by_its_cause() -> None:
    metrics = OperatorMetrics(lambda: 0.0)
    ended = [{"number": 1, "cause": "SegmentationFault"}, {"number": 2}]
    metrics.read(KEY, job({}))
    metrics.wrote(KEY, status(attempt=1))
    assert value(metrics, "job_restarts_total", reason="SegmentationFault") == 0.0
    metrics.read(KEY, job(status(attempt=1)))
    metrics.wrote(KEY, status(attempt=2, attempts=ended))
    metrics.read(KEY, job(status(attempt=2, attempts=ended)))
    metrics.wrote(KEY, status(attempt=2, attempts=ended))
    assert value(metrics, "job_restarts_total", reason="SegmentationFault") == 1.0


def test_a_cause_that_nobody_lists_makes_no_series() -> None:
    metrics = OperatorMetrics(lambda: 0.0)
    metrics.read(KEY, job(status(attempt=1)))
    metrics.wrote(KEY, status(attempt=2, attempts=[{"number": 1, "cause": "x" * 100}]))
    assert value(metrics, "job_restarts_total", reason="Other") == 1.0


def test_counters_are_there_from_the_start_and_the_queue_is_asked() -> None:
    metrics = OperatorMetrics(lambda: 7.0)
    assert all(value(metrics, "reconcile_total", result=result) == 0.0 for result in RESULTS)
    assert value(metrics, "queue_depth") == 7.0
    metrics.passed("done", 0.2)
    assert value(metrics, "reconcile_total", result="done") == 1.0
    assert value(metrics, "reconcile_duration_seconds_count") == 1.0


def test_a_status_of_any_shape_is_read() -> None:
    metrics = OperatorMetrics(lambda: 0.0)
    metrics.read(KEY, job({"attempt": math.nan, "health": None, "state": None}))
    assert metrics.render()
    metrics.read(KEY, {"metadata": None, "spec": None, "status": "x"})
    assert metrics.render()


def test_the_team_of_a_job_stands_on_each_of_its_series_and_outlives_a_write() -> None:
    metrics = OperatorMetrics(lambda: 0.0)
    labels = {**NAMES, "team": "asr-core"}
    metrics.read(KEY, job(status(), labels={"speechtrain.dev/team": "asr-core"}))
    assert value(metrics, "job_state", **labels, state="Running") == 1.0
    metrics.wrote(KEY, status(attempt=2))
    assert value(metrics, "job_attempt", **labels) == 2.0
    assert b'team=""' not in metrics.render()


def test_a_finished_job_tells_since_when_and_whether_somebody_saw_it() -> None:
    metrics = OperatorMetrics(lambda: 0.0)
    ended = status("Failed", completionTime="2026-01-31T10:00:00Z")
    metrics.read(KEY, job(ended))
    assert value(metrics, "job_ended_timestamp_seconds", **LABELS) == 1769853600.0
    assert value(metrics, "job_seen", **LABELS) is None
    metrics.read(KEY, job(ended, annotations={"speechtrain.dev/seen": ""}))
    assert value(metrics, "job_seen", **LABELS) is None
    metrics.read(KEY, job(ended, annotations={"speechtrain.dev/seen": "by Asha"}))
    assert value(metrics, "job_seen", **LABELS) == 1.0


def test_goodput_is_a_series_once_a_step_counted() -> None:
    metrics = OperatorMetrics(lambda: 0.0)
    for goodput, told in (({}, None), ({"ratio": "0.913"}, 0.913), ({"ratio": "much"}, None)):
        metrics.read(KEY, job(status(goodput=goodput)))
        assert value(metrics, "job_goodput_ratio", **LABELS) == told


def test_a_running_job_is_never_seen_nor_ended() -> None:
    """An annotation in the manifest must not mute a job that is yet to fail."""
    metrics = OperatorMetrics(lambda: 0.0)
    running = status("Running", completionTime="2026-01-31T10:00:00Z")
    metrics.read(KEY, job(running, annotations={"speechtrain.dev/seen": "yes"}))
    assert value(metrics, "job_seen", **LABELS) is None
    assert value(metrics, "job_ended_timestamp_seconds", **LABELS) is None


def test_a_time_that_is_none_costs_no_scrape() -> None:
    metrics = OperatorMetrics(lambda: 0.0)
    metrics.read(KEY, job(status("Failed", completionTime="yesterday")))
    assert value(metrics, "job_ended_timestamp_seconds", **LABELS) is None
    assert value(metrics, "job_state", **LABELS, state="Failed") == 1.0


def test_of_a_job_that_another_manages_nothing_is_said() -> None:
    """Its status is not ours to write: Pending would be no news of it."""
    metrics = OperatorMetrics(lambda: 0.0)
    theirs = {"runPolicy": {"managedBy": "kueue.x-k8s.io/multikueue"}}
    metrics.read(KEY, {**job({}), "spec": theirs})
    assert b'job_name="asr"' not in metrics.render()
