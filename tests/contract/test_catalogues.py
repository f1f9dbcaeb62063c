"""Names, metrics, events, phases and verdicts: closed lists that others build on."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_contract import metrics, names, phases
from speech_contract.errors import nearest, shorten
from speech_contract.events import MESSAGES, Event
from speech_contract.findings import Finding, FindingStatus, Verdict, verdict_of
from speech_contract.progress import Progress, Rule, Severity
from speech_contract.reasons import Reason
from speech_contract.report import Report


@pytest.mark.parametrize("metric", metrics.TRAINING_METRICS, ids=lambda metric: metric.name)
def test_a_metric_keeps_the_rules_of_its_kind(metric: metrics.Metric) -> None:
    assert re.fullmatch(r"speech_training_[a-z_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind is metrics.Kind.COUNTER)
    assert bool(metric.buckets) == (metric.kind is metrics.Kind.HISTOGRAM)
    assert metric.help
    assert not {"job", "job_name", "namespace", "step", "path"} & set(metric.labels)


def test_every_metric_of_the_module_is_in_the_catalogue_once() -> None:
    declared = [value for value in vars(metrics).values() if isinstance(value, metrics.Metric)]
    assert sorted(m.name for m in declared) == sorted(
        m.name for m in (*metrics.TRAINING_METRICS, *metrics.OPERATOR_METRICS)
    )
    assert len({m.name for m in declared}) == len(declared)


SOURCES = {f.name for cls in (Progress, Report) for f in dataclasses.fields(cls)}


@pytest.mark.parametrize("metric", metrics.TRAINING_METRICS, ids=lambda metric: metric.name)
def test_the_source_of_a_metric_is_a_field_on_the_wire(metric: metrics.Metric) -> None:
    assert not metric.source or metric.source.split(".")[0] in SOURCES


def test_every_event_has_one_constant_message() -> None:
    assert set(MESSAGES) == set(Event)
    assert len(set(MESSAGES.values())) == len(Event)
    assert all(event.value == event.name.lower() for event in Event)


ROOMS = [
    Path(str(importlib.util.find_spec(room).submodule_search_locations[0]))  # type: ignore[union-attr,index]
    for room in ("speech_operator", "speech_health", "speech_telemetry", "speech_trainer")
]
SOURCE = "\n".join(path.read_text() for room in ROOMS for path in sorted(room.rglob("*.py")))


@pytest.mark.parametrize("catalogue", [Event, Reason])
def test_what_is_in_a_catalogue_is_said_somewhere(catalogue: type[Event] | type[Reason]) -> None:
    """A name that nobody says promises a reader of logs or events something that never comes."""
    said = set(re.findall(rf"\b{catalogue.__name__}\.([A-Z_]+)\b", SOURCE))
    assert {member.name for member in catalogue} - said == set()


def test_phases_before_training_are_startup() -> None:
    assert phases.Phase.FIRST_STEP in phases.STARTUP
    assert phases.Phase.TRAINING not in phases.STARTUP
    assert not phases.STARTUP & phases.PAUSES


@pytest.mark.parametrize(
    ("rank", "pod"), [(0, "asr-master-0"), (1, "asr-worker-0"), (2, "asr-worker-1")]
)
def test_pods_are_named_as_pytorchjob_names_them(rank: int, pod: str) -> None:
    assert names.pod_name("asr", rank) == pod


@given(st.integers(1, 4096))
def test_no_child_is_longer_than_the_longest(nodes: int) -> None:
    longest = len(names.longest_child_name("a", nodes))
    assert all(
        len(names.pod_name("a", rank)) <= longest for rank in {0, 1, nodes - 1} if rank < nodes
    )


def finding(
    rule: Rule, severity: Severity, status: FindingStatus = FindingStatus.ACTIVE
) -> Finding:
    return Finding(rule, status, severity, "")


@pytest.mark.parametrize(
    ("findings", "sampled", "verdict"),
    [
        ([], False, Verdict.UNKNOWN),
        ([], True, Verdict.HEALTHY),
        ([finding(Rule.SKIPPED_SAMPLES, Severity.WARNING)], True, Verdict.WARNING),
        ([finding(Rule.TELEMETRY_STALE, Severity.WARNING)], True, Verdict.UNKNOWN),
        ([finding(Rule.NON_FINITE, Severity.CRITICAL)], False, Verdict.CRITICAL),
        ([finding(Rule.ZERO_LOSS, Severity.CRITICAL, FindingStatus.HEALED)], True, Verdict.HEALTHY),
        ([finding(Rule.STALLED, Severity.INFO)], True, Verdict.HEALTHY),
    ],
)
def test_findings_join_into_one_word(
    findings: list[Finding], sampled: bool, verdict: Verdict
) -> None:
    assert verdict_of(findings, sampled=sampled) is verdict


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("learningrate", "learningRate"), ("maxstep", "maxSteps"), ("zzz", None), ("", None)],
)
def test_the_nearest_name_is_found(typed: str, meant: str | None) -> None:
    assert nearest(typed, ["learningRate", "maxSteps", "seed"]) == meant


def test_a_huge_value_does_not_fill_the_log() -> None:
    assert len(shorten("x" * 10_000)) == 80
