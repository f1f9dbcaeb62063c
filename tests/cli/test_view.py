"""A job document becomes a view: status strings, NaN, strange types, progress over status."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_cli.rendering.events import event_rows
from speech_cli.rendering.live import fact_rows, line, stage
from speech_cli.rendering.view import view_of
from speech_cli.rendering.why import Evidence, explain, lines
from speech_contract.findings import RankRow, Verdict

Make = dict[str, Callable[..., Any]]


def test_numbers_of_a_status_are_strings_and_may_be_nan(make: Make) -> None:
    view = view_of(make["nan"]())
    assert view.loss is not None
    assert math.isnan(view.loss)
    assert view.gradient_norm == math.inf
    assert (view.step, view.total_steps) == (15, 800)


def test_progress_is_newer_than_status(make: Make) -> None:
    document = make["job"](progress={"step": 90, "loss": "120.0", "learningRate": "0.5"})
    view = view_of(document, make["progress"]())
    assert (view.step, view.loss, view.learning_rate) == (120, 93.21, 0.001)


def test_the_runtime_is_named_by_status_and_why(make: Make) -> None:
    document = make["job"]()
    document["status"]["runtime"] = {
        "kind": "SpeechTrainingRuntime",
        "name": "team",
        "generation": 3,
    }
    told = ("runtime", "SpeechTrainingRuntime team, generation 3")
    assert told in list(fact_rows(view_of(document)))
    assert told in list(lines(explain(document, [], Evidence(), 0.0)))
    del document["status"]["runtime"]["generation"]  # of a local run
    assert ("runtime", "SpeechTrainingRuntime team") in list(fact_rows(view_of(document)))
    del document["status"]["runtime"]
    assert "runtime" not in dict(fact_rows(view_of(document)))


def test_what_progress_does_not_know_is_kept_from_the_status(make: Make) -> None:
    document = make["job"](progress={"step": 90, "lastCheckpointStep": 80})
    view = view_of(document, make["progress"](step=None))
    assert (view.step, view.checkpoint) == (90, 80)


def test_a_finished_job_has_the_verdict_of_its_status(make: Make) -> None:
    assert view_of(make["nan"](), make["progress"]()).verdict == "Critical"


def test_max_steps_means_nothing_to_a_custom_script(make: Make) -> None:
    document = make["job"]()
    assert view_of(document).total_steps == 800
    document["spec"]["recipe"] = {"custom": {}}
    assert view_of(document).total_steps is None


@pytest.mark.parametrize(
    ("conditions", "reason"),
    [
        ([{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}], "DeadlineExceeded"),
        ([{"type": "Failed", "status": "False", "reason": "DeadlineExceeded"}], ""),
        ([{"type": "Accepted", "status": "False", "reason": "InvalidSpec"}], "InvalidSpec"),
    ],
)
def test_the_reason_is_of_the_condition_that_holds(
    make: Make, conditions: list[dict[str, str]], reason: str
) -> None:
    assert view_of(make["job"](conditions=conditions)).reason == reason


def test_active_findings_stand_before_healed_and_critical_before_warning(make: Make) -> None:
    findings = [
        {"rule": "A", "severity": "critical", "status": "Healed"},
        {"rule": "B", "severity": "warning", "status": "Active"},
        {"rule": "C", "severity": "critical", "status": "Active"},
    ]
    view = view_of(make["job"](health={"findings": findings}))
    assert [finding.rule for finding in view.findings] == ["C", "B", "A"]


def test_skipped_samples_are_counted_from_a_number_and_from_reasons(make: Make) -> None:
    assert view_of(make["job"](progress={"samplesSkipped": 4})).skipped == 4
    view = view_of(make["job"](), make["progress"](samples_skipped={"EmptyText": 1, "Silent": 2}))
    assert (view.skipped, view.skipped_by_reason["Silent"]) == (3, 2)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["state", "attempt", "progress", "health", "conditions", "replicas", "restarts", "startup",
     "failure", "startTime", "goodput"]
)  # fmt: skip


@given(st.dictionaries(FIELDS, JSON), JSON)
def test_any_status_can_be_shown(status: dict[str, Any], metadata: Any) -> None:
    view = view_of({"metadata": metadata, "status": status})
    assert stage(view)
    assert line(view)
    assert all(value for _, value in fact_rows(view))


def test_the_line_shows_step_loss_gradient_norm_throughput_and_verdict(make: Make) -> None:
    view = view_of(make["job"](), make["progress"](samples_skipped={"Silent": 2}))
    assert line(view) == (
        "step 120/800 15% | loss 93.21 | gradient norm 12.3 | 31.4 audio s/s | ETA 2m31s | "
        "skipped 2 | Healthy"
    )


def test_the_line_before_the_first_step_says_the_phase(make: Make) -> None:
    document = make["job"]("Starting", startup={"phase": "Data"})
    assert line(view_of(document)) == "Starting (Data) | Unknown"


def test_a_later_attempt_is_named(make: Make) -> None:
    assert stage(view_of(make["job"](attempt=2))) == "attempt 2: Running"


def test_ranks_are_listed_when_there_are_several(make: Make) -> None:
    ranks = [RankRow(0, 0, 12), RankRow(1, 1, 11, phase_age=41.2)]
    rows = dict(fact_rows(view_of(make["job"](), make["progress"](ranks=ranks))))
    assert rows["rank 1"] == "worker-0, step 11, Starting for 41 s"
    assert "rank 0" not in dict(
        fact_rows(view_of(make["job"](), make["progress"](ranks=ranks[:1])))
    )


def test_between_two_attempts_status_speaks_and_not_the_ended_master(make: Make) -> None:
    document = make["job"]("Restarting", health={"verdict": "Critical", "findings": []})
    assert view_of(document, make["progress"](verdict=Verdict.HEALTHY)).verdict == "Critical"


def test_a_pod_that_did_its_part_is_not_missing(make: Make) -> None:
    document = make["job"]("Complete", replicas={"desired": 2, "ready": 1, "succeeded": 1})
    assert (view_of(document).ready, view_of(document).nodes) == (2, 2)


def test_how_the_numbers_come_is_a_row(make: Make) -> None:
    reads = {"form": "Lightning", "reports": 412, "parts": []}
    rows = dict(fact_rows(view_of(make["job"](progress={"step": 1, "reads": reads}))))
    assert rows["reads"] == "Lightning (stdout), 412 reports"


def test_readiness_probes_are_no_news() -> None:
    probe = {
        "type": "Warning",
        "reason": "Unhealthy",
        "message": "Readiness probe failed: HTTP probe 503",
    }
    other = {"type": "Warning", "reason": "Unhealthy", "message": "Liveness probe failed"}
    assert [row.message for row in event_rows([probe, other])] == ["Liveness probe failed"]
