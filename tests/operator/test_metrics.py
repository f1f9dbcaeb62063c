"""The operator's series: jobs as their status has them, gone with the job; restarts counted once."""

from __future__ import annotations

import math
from typing import Any

from speech_contract.metrics import OPERATOR_METRICS, Kind
from speech_operator.cluster.base import JobKey
from speech_operator.metrics import RESULTS, OperatorMetrics

KEY = JobKey("speech", "asr")
LABELS = {"namespace": "speech", "job_name": "asr"}


def status(state: str = "Running", attempt: int = 1, **more: Any) -> dict[str, Any]:
    return {"state": state, "attempt": attempt, **more}


def value(metrics: OperatorMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"speech_operator_{name}", labels)


def test_the_registry_and_the_catalogue_name_the_same_families() -> None:
    metrics = OperatorMetrics(lambda: 0.0)
    metrics.read(KEY, status())
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
    metrics.read(KEY, status("Running"))
    metrics.read(KEY, status("Failed", health=health))
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
    metrics.read(KEY, status(health={"verdict": "Unknown"}))
    assert value(metrics, "job_healthy", **LABELS) is None


def test_a_restart_is_counted_once_by_its_cause() -> None:
    metrics = OperatorMetrics(lambda: 0.0)
    ended = [{"number": 1, "cause": "SegmentationFault"}, {"number": 2}]
    metrics.read(KEY, {})
    metrics.wrote(KEY, status(attempt=1))
    assert value(metrics, "job_restarts_total", reason="SegmentationFault") == 0.0
    metrics.read(KEY, status(attempt=1))
    metrics.wrote(KEY, status(attempt=2, attempts=ended))
    metrics.read(KEY, status(attempt=2, attempts=ended))
    metrics.wrote(KEY, status(attempt=2, attempts=ended))
    assert value(metrics, "job_restarts_total", reason="SegmentationFault") == 1.0


def test_a_cause_that_nobody_lists_makes_no_series() -> None:
    metrics = OperatorMetrics(lambda: 0.0)
    metrics.read(KEY, status(attempt=1))
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
    metrics.read(KEY, {"attempt": math.nan, "health": None, "state": None})
    assert metrics.render()
