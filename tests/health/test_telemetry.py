"""Rules TelemetryMissing and TelemetryStale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from speech_contract.findings import FindingStatus, Verdict
from speech_contract.phases import Phase
from speech_contract.progress import Rule, Severity
from speech_contract.thresholds import Stall


def test_missing_after_the_threshold_until_the_first_sample(
    run: Any, row: Callable[..., Any]
) -> None:
    mute = row(registered=False, phase=Phase.STARTING)
    run.tick(299.0, mute)
    assert run.rules == []
    run.tick(1.0, mute)
    finding = run.finding(Rule.TELEMETRY_MISSING)
    assert finding.severity is Severity.WARNING
    assert "300 s" in finding.evidence
    assert run.monitor.verdict is Verdict.UNKNOWN
    assert run.monitor.decision is None
    run.say(1, loss=1.0)
    run.tick(1.0, mute)
    assert run.finding(Rule.TELEMETRY_MISSING).status is FindingStatus.HEALED
    assert run.monitor.verdict is Verdict.HEALTHY


def test_a_rank_that_says_it_is_starting_is_not_missing(run: Any, row: Callable[..., Any]) -> None:
    run.tick(1.0, row(phase=Phase.DATA))
    run.tick(1000.0, row(phase=Phase.DATA, phase_age=1000.0))
    assert run.rules == []


def test_exit_without_a_sample_is_a_warning_and_no_decision(run: Any) -> None:
    run.now = 12.0
    run.monitor.finish(run.now, 0)
    assert run.rules == [Rule.TELEMETRY_MISSING]
    assert run.monitor.verdict is Verdict.UNKNOWN
    assert run.monitor.decision is None


def test_steps_without_a_loss_prove_nothing(run: Any) -> None:
    """A Hugging Face script below its first `logging_steps` shows a progress bar and nothing else."""
    run.say(1)
    run.say(2)
    assert run.monitor.verdict is Verdict.UNKNOWN
    run.monitor.finish(60.0, 0)
    assert "without one loss or gradient norm" in run.finding(Rule.TELEMETRY_MISSING).evidence
    assert run.monitor.verdict is Verdict.UNKNOWN


def test_a_gradient_norm_alone_can_be_judged(run: Any) -> None:
    run.say(1, gradient_norm=2.5)
    assert run.monitor.verdict is Verdict.HEALTHY


def test_a_crash_without_a_sample_is_only_a_crash(run: Any) -> None:
    run.monitor.finish(12.0, 1)
    assert run.rules == []


def test_stale_when_the_stamp_moves_and_samples_stopped(run: Any, row: Callable[..., Any]) -> None:
    for step in range(1, 11):
        run.step(step, gated=True)
        run.tick(0.0, row(step=step))
    for step in range(11, 130):
        run.tick(1.0, row(step=step, phase_age=0.2))
    assert run.rules == []
    run.tick(1.0, row(step=130, phase_age=0.2))
    finding = run.finding(Rule.TELEMETRY_STALE)
    assert "no sample for 120 s" in finding.evidence
    assert run.monitor.verdict is Verdict.UNKNOWN
    run.step(131, gated=True)
    run.tick(0.0, row(step=131))
    assert run.finding(Rule.TELEMETRY_STALE).status is FindingStatus.HEALED


def test_an_evaluation_is_not_staleness(run: Any, row: Callable[..., Any]) -> None:
    for step in range(1, 11):
        run.step(step, gated=True)
        run.tick(0.0, row(step=step))
    for _ in range(60):
        run.tick(10.0, row(step=10, phase=Phase.EVALUATION, phase_age=1.0))
    run.tick(1.0, row(step=10, phase_age=0.5))
    assert run.rules == []


def test_a_hang_is_a_stall_and_not_staleness(run: Any, row: Callable[..., Any]) -> None:
    for step in range(1, 11):
        run.step(step, gated=True)
        run.tick(0.0, row(step=step))
    run.tick(500.0, row(step=10, phase_age=500.0))
    assert run.rules == [Rule.STALLED]


def test_prints_do_not_stand_in_for_a_reporter_that_stopped(
    run: Any, row: Callable[..., Any]
) -> None:
    for step in range(1, 11):
        run.step(step, gated=True)
        run.tick(0.0, row(step=step))
    for step in range(11, 140):
        run.say(step, loss=1.0)
        run.tick(0.0, row(step=step, phase_age=0.2))
    assert run.rules == [Rule.TELEMETRY_STALE]


def test_a_stamp_that_stands_still_is_not_staleness(
    run_with: Callable[..., Any], row: Callable[..., Any]
) -> None:
    run = run_with(stall=Stall(floor_seconds=1000))
    for step in range(1, 11):
        run.step(step, gated=True)
        run.tick(0.0, row(step=step))
    run.tick(500.0, row(step=10, phase_age=500.0))
    assert run.rules == []


def test_healthy_is_earned_by_a_step(run):
    run.step(0, updates=0, total_steps=30)
    run.monitor.finish(9.0, 0)
    assert run.monitor.verdict is Verdict.UNKNOWN
    assert (
        "without one training step (0 of 30 planned)"
        in run.finding(Rule.TELEMETRY_MISSING).evidence
    )


@pytest.mark.parametrize(("last", "verdict"), [(14, Verdict.UNKNOWN), (20, Verdict.HEALTHY)])
def test_healthy_is_earned_by_coming_near_the_plan(run, last, verdict):
    for step in range(1, last + 1):
        run.step(step, loss=1.0 / step, total_steps=30)
    run.monitor.finish(run.now, 0)
    assert run.monitor.verdict is verdict


def test_much_talk_without_a_step_is_named(run):
    for line in range(13_000):
        run.monitor.hear_line(line / 40, 0)
    run.tick(301.0)
    evidence = run.finding(Rule.TELEMETRY_MISSING).evidence
    assert "13000 line(s) were printed (43.2 a second), none of a training step" in evidence
